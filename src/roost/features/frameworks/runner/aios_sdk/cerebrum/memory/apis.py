"""Calls of the memory."""

from __future__ import annotations

from typing import Any

from ..utils.communication import Query, aios_kernel_url, send_request

Metadata = dict[str, Any] | None


class MemoryQuery(Query):
    query_class = "memory"


def _ask(agent_name: str, operation: str, **params: Any) -> dict[str, Any]:
    return send_request(agent_name, MemoryQuery(operation_type=operation, params=params))


def create_memory(
    agent_name: str, content: str, metadata: Metadata = None, base_url: str = aios_kernel_url
) -> dict[str, Any]:
    return _ask(agent_name, "add_memory", content=content, metadata=metadata or {})


def create_agentic_memory(
    agent_name: str, content: str, metadata: Metadata = None, base_url: str = aios_kernel_url
) -> dict[str, Any]:
    return _ask(agent_name, "add_agentic_memory", content=content, metadata=metadata or {})


def get_memory(agent_name: str, memory_id: str, base_url: str = aios_kernel_url) -> dict[str, Any]:
    return _ask(agent_name, "get_memory", memory_id=memory_id)


def update_memory(
    agent_name: str,
    memory_id: str,
    content: str | None = None,
    metadata: Metadata = None,
    base_url: str = aios_kernel_url,
) -> dict[str, Any]:
    return _ask(agent_name, "update_memory", memory_id=memory_id, content=content, metadata=metadata)


def delete_memory(agent_name: str, memory_id: str, base_url: str = aios_kernel_url) -> dict[str, Any]:
    return _ask(agent_name, "remove_memory", memory_id=memory_id)


def search_memories(agent_name: str, query: str, k: int = 5, base_url: str = aios_kernel_url) -> dict[str, Any]:
    return _ask(agent_name, "retrieve_memory", content=query, k=k)
