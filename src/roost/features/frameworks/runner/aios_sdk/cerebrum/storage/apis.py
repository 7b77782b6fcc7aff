"""Calls of the storage."""

from __future__ import annotations

from typing import Any

from ..utils.communication import Query, aios_kernel_url, send_request


class StorageQuery(Query):
    query_class = "storage"


def _ask(agent_name: str, operation: str, **params: Any) -> dict[str, Any]:
    return send_request(agent_name, StorageQuery(operation_type=operation, params=params))


def mount(agent_name: str, root_dir: str, base_url: str = aios_kernel_url) -> dict[str, Any]:
    return _ask(agent_name, "mount", root_dir=root_dir)


def retrieve_file(
    agent_name: str, query_text: str, n: int, keywords: list[str] | None = None, base_url: str = aios_kernel_url
) -> dict[str, Any]:
    return _ask(agent_name, "retrieve", query_text=query_text, n=n, keywords=keywords)


def create_file(agent_name: str, file_path: str, base_url: str = aios_kernel_url) -> dict[str, Any]:
    return _ask(agent_name, "create_file", file_path=file_path)


def create_dir(agent_name: str, dir_path: str, base_url: str = aios_kernel_url) -> dict[str, Any]:
    return _ask(agent_name, "create_dir", dir_path=dir_path)


def write_file(agent_name: str, file_path: str, content: str, base_url: str = aios_kernel_url) -> dict[str, Any]:
    return _ask(agent_name, "write", file_path=file_path, content=content)


def rollback_file(agent_name: str, file_path: str, n: int, base_url: str = aios_kernel_url) -> dict[str, Any]:
    return _ask(agent_name, "rollback", file_path=file_path, n=n)


def share_file(agent_name: str, file_path: str, base_url: str = aios_kernel_url) -> dict[str, Any]:
    return _ask(agent_name, "share", file_path=file_path)
