"""Calls of the session's model."""

from __future__ import annotations

import importlib
from typing import Any

from ..utils.communication import Query, aios_kernel_url, send_request

Messages = list[dict[str, Any]]
Tools = list[dict[str, Any]] | None


class LLMQuery(Query):
    query_class = "llm"


def list_available_llms() -> list[dict[str, Any]]:
    return importlib.import_module("roost_bridge.aios_kernel").models()


def _ask(agent_name: str, action: str, **data: Any) -> dict[str, Any]:
    return send_request(agent_name, LLMQuery(action_type=action, **data))


def llm_chat(
    agent_name: str, messages: Messages, base_url: str = aios_kernel_url, llms: Tools = None
) -> dict[str, Any]:
    return _ask(agent_name, "chat", messages=messages, llms=llms)


def llm_chat_with_json_output(
    agent_name: str,
    messages: Messages,
    base_url: str = aios_kernel_url,
    llms: Tools = None,
    response_format: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return _ask(agent_name, "chat_with_json_output", messages=messages, llms=llms, response_format=response_format)


def llm_chat_with_tool_call_output(
    agent_name: str, messages: Messages, tools: Tools, base_url: str = aios_kernel_url, llms: Tools = None
) -> dict[str, Any]:
    return _ask(agent_name, "chat_with_tool_call_output", messages=messages, tools=tools, llms=llms)


def llm_call_tool(
    agent_name: str, messages: Messages, tools: Tools, base_url: str = aios_kernel_url, llms: Tools = None
) -> dict[str, Any]:
    return _ask(agent_name, "call_tool", messages=messages, tools=tools, llms=llms)


def llm_operate_file(
    agent_name: str, messages: Messages, tools: Tools = None, base_url: str = aios_kernel_url, llms: Tools = None
) -> dict[str, Any]:
    return _ask(agent_name, "operate_file", messages=messages, tools=tools, llms=llms)
