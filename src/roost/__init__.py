"""Roost: a runtime for AI agents.

>>> from roost import Agent, Runtime, tool
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roost.agent.definition import Agent as Agent
    from roost.agent.definition import Limits as Limits
    from roost.agent.options import Compaction
    from roost.client.async_client import Client as Client
    from roost.client.sync_client import SyncClient as SyncClient
    from roost.errors import RoostError as RoostError
    from roost.features.approvals.answering import Approval, ApprovalNeeded
    from roost.features.client_tools.answer_types import AnswerInvalid
    from roost.kernel.config import KernelConfig as KernelConfig
    from roost.runtime import Runtime, SessionHandle, TurnFailed
    from roost.tools.base import Tool as Tool
    from roost.tools.base import ToolContext as ToolContext
    from roost.tools.base import ToolResult as ToolResult
    from roost.tools.errors import ToolError
    from roost.tools.function import tool as tool

__all__ = [
    "Agent",
    "AnswerInvalid",
    "Approval",
    "ApprovalNeeded",
    "Client",
    "Compaction",
    "KernelConfig",
    "Limits",
    "RoostError",
    "Runtime",
    "SessionHandle",
    "SyncClient",
    "Tool",
    "ToolContext",
    "ToolError",
    "ToolResult",
    "TurnFailed",
    "tool",
]

_WHERE = {
    "Agent": "roost.agent.definition",
    "Compaction": "roost.agent.options",
    "Limits": "roost.agent.definition",
    "Client": "roost.client.async_client",
    "SyncClient": "roost.client.sync_client",
    "RoostError": "roost.errors",
    "AnswerInvalid": "roost.features.client_tools.answer_types",
    "Approval": "roost.features.approvals.answering",
    "ApprovalNeeded": "roost.features.approvals.answering",
    "KernelConfig": "roost.kernel.config",
    "Runtime": "roost.runtime",
    "SessionHandle": "roost.runtime",
    "TurnFailed": "roost.runtime",
    "Tool": "roost.tools.base",
    "ToolContext": "roost.tools.base",
    "ToolError": "roost.tools.errors",
    "ToolResult": "roost.tools.base",
    "tool": "roost.tools.function",
}


def __getattr__(name: str) -> Any:
    """Import a public name at first use, so that `import roost` costs almost nothing."""
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'roost' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(where), name)


def __dir__() -> list[str]:
    return sorted(__all__)
