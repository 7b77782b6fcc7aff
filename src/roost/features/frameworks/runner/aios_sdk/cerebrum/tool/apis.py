"""Calls of tools."""

from __future__ import annotations

from typing import Any

from ..utils.communication import Query, aios_kernel_url, send_request


class ToolQuery(Query):
    query_class = "tool"


def call_tool(agent_name: str, tool_calls: list[dict[str, Any]], base_url: str = aios_kernel_url) -> dict[str, Any]:
    return send_request(agent_name, ToolQuery(tool_calls=tool_calls))
