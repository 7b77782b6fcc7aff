"""Check a Responses request as strictly as OpenAI does, for tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

from roost.stub.dialects.checks import need, need_dict, need_list

_KEYS = {
    "background", "client_metadata", "context_management", "conversation", "include", "input", "instructions",
    "max_output_tokens", "max_tool_calls", "metadata", "model", "parallel_tool_calls", "previous_response_id",
    "prompt", "prompt_cache_key", "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store",
    "stream", "stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation",
    "user",
}  # fmt: skip
_ITEMS: dict[str, tuple[set[str], set[str]]] = {
    "message": ({"role", "content"}, {"type", "id", "status", "phase"}),
    "reasoning": ({"type", "summary"}, {"id", "encrypted_content", "content", "status"}),
    "function_call": ({"type", "call_id", "name", "arguments"}, {"id", "status", "namespace", "caller"}),
    "function_call_output": ({"type", "call_id", "output"}, {"id", "status"}),
}
"""Required fields of an item, and optional ones."""
_PARTS = {
    "user": {"input_text", "input_image", "input_file"},
    "system": {"input_text"},
    "developer": {"input_text"},
    "assistant": {"output_text", "refusal"},
}
_HOSTED = {
    "apply_patch", "code_interpreter", "computer", "computer_use_preview", "file_search", "image_generation",
    "local_shell", "mcp", "namespace", "shell", "tool_search", "web_search", "web_search_preview",
}  # fmt: skip
"""Tools of the server itself, or that contain others; those of `custom` accept any text."""
_SERVED = {
    "additional_tools", "agent_message", "apply_patch_call", "code_interpreter_call", "compaction",
    "compaction_trigger", "computer_call", "computer_call_output", "custom_tool_call", "custom_tool_call_output",
    "file_search_call", "image_generation_call", "item_reference", "local_shell_call", "local_shell_call_output",
    "mcp_approval_request", "mcp_approval_response", "mcp_call", "mcp_list_tools", "shell_call", "shell_call_output",
    "apply_patch_call_output", "tool_search_call", "tool_search_output", "web_search_call",
}  # fmt: skip
"""Items of these tools; their fields are not checked."""
_EFFORTS = {"none", "minimal", "low", "medium", "high", "xhigh", "max"}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FILE = re.compile(r"data:[^;,]+;base64,.+", re.DOTALL)

Signed = Callable[[str], str]


def check_responses_request(body: dict[str, Any], signed: Signed | None = None) -> None:
    """Raise `AssertionError` with the reason. `signed`: returns the encrypted content of a summary's text."""
    need(not set(body) - _KEYS, f"Unknown parameter: {sorted(set(body) - _KEYS)}")
    need(isinstance(body.get("model"), str) and bool(body["model"]), "Missing required parameter: 'model'")
    limit = body.get("max_output_tokens")
    need(limit is None or (isinstance(limit, int) and limit >= 16), "'max_output_tokens': expected at least 16")
    need(body.get("instructions", "-") != "", "'instructions': it is empty")
    effort = need_dict(body.get("reasoning")).get("effort")
    need(effort is None or effort in _EFFORTS, f"'reasoning.effort': unsupported value {effort!r}")
    _check_tools(body)
    _check_format(need_dict(need_dict(body.get("text")).get("format", {"type": "text"})))
    items = body.get("input")
    need(isinstance(items, str) or bool(need_list(items)), "Missing required parameter: 'input'")
    if not isinstance(items, str):
        _check_items([need_dict(item) for item in need_list(items)], signed, stored=body.get("store", True))


def _check_tools(body: dict[str, Any]) -> None:
    tools = [need_dict(tool) for tool in need_list(body.get("tools", []))]
    tools = [tool for tool in tools if tool.get("type") not in _HOSTED]
    for tool in tools:
        if tool.get("type") == "custom":
            need(_NAME.fullmatch(str(tool.get("name"))) is not None, "'tools': the name of a custom tool is invalid")
            continue
        need(tool.get("type") == "function", "'tools': type must be function")
        need(_NAME.fullmatch(str(tool.get("name"))) is not None, f"'tools': the name {tool.get('name')!r} is invalid")
        schema = need_dict(tool.get("parameters"))
        need(schema.get("type") == "object", "'tools': parameters must be of type object")
        need(not tool.get("strict", True) or closed(schema), "'tools': invalid schema for a strict function")
    names = [tool["name"] for tool in tools]
    need(len(names) == len(set(names)), "'tools': names must be unique")
    choice = body.get("tool_choice", "auto")
    need(isinstance(choice, dict) or choice in ("auto", "none", "required"), "'tool_choice': unknown")
    need(choice != "required" or bool(tools), "'tool_choice': required without tools")


def _check_format(form: dict[str, Any]) -> None:
    if form.get("type") != "json_schema":
        need(form.get("type") in ("text", "json_object"), "'text.format.type': unknown")
        return
    need(_NAME.fullmatch(str(form.get("name"))) is not None, "'text.format.name': invalid")
    need(not form.get("strict") or closed(need_dict(form.get("schema"))), "'text.format.schema': invalid when strict")


def _check_items(items: list[dict[str, Any]], signed: Signed | None, *, stored: bool) -> None:
    open_calls: set[str] = set()
    seen: set[str] = set()
    for at, item in enumerate(items):
        kind = str(item.get("type", "message"))
        where = f"input[{at}]"
        if kind in _SERVED:
            need(stored or kind != "item_reference", f"{where}: item with id {item.get('id')!r} not found")
            continue
        need(kind in _ITEMS, f"{where}: invalid type {kind!r}")
        needed, more = _ITEMS[kind]
        need(needed <= set(item), f"{where}: missing {needed - set(item)}")
        need(set(item) <= needed | more, f"{where}: unknown parameter {set(item) - needed - more}")
        # An id alone refers to an item that the server stores; beside the content it is only a name.
        lost = kind == "reasoning" and "id" in item and not item.get("encrypted_content")
        need(stored or not lost, f"{where}: item with id {item.get('id')!r} not found: it is not stored")
        match kind:
            case "message":
                _check_content(item["content"], _PARTS.get(str(item["role"]), set()), where)
                need(not open_calls, f"No tool output found for function calls {open_calls}")
            case "reasoning":
                _check_reasoning(item, items[at + 1 :], signed, where)
            case "function_call":
                need(_NAME.fullmatch(str(item["call_id"])) is not None, f"{where}.call_id: invalid or too long")
                need(item["call_id"] not in seen, f"{where}: duplicate call_id")
                need(_NAME.fullmatch(str(item["name"])) is not None, f"{where}.name: invalid")
                need(isinstance(item["arguments"], str), f"{where}.arguments: expected a string")
                seen.add(item["call_id"])
                open_calls.add(item["call_id"])
            case _:
                need(item["call_id"] in open_calls, f"No tool call found for output with call_id {item['call_id']}")
                open_calls.discard(item["call_id"])
                _check_content(item["output"], _PARTS["user"], where)
    need(not open_calls, f"No tool output found for function calls {open_calls}")


def _check_reasoning(item: dict[str, Any], later: list[dict[str, Any]], signed: Signed | None, where: str) -> None:
    following = next((other for other in later if other.get("type") != "reasoning"), cast("dict[str, Any]", {}))
    fits = following.get("type") == "function_call" or following.get("role") == "assistant"
    need(fits, f"{where}: 'reasoning' was provided without its required following item")
    text = "\n\n".join(str(need_dict(part).get("text")) for part in need_list(item["summary"]))
    proof = item.get("encrypted_content")
    fine = isinstance(proof, str) and bool(proof) and (not text or signed is None or proof == signed(text))
    need(fine, f"{where}: the encrypted content could not be verified")


def _check_content(content: Any, kinds: set[str], where: str) -> None:
    need(bool(kinds), f"{where}.role: invalid")
    if isinstance(content, str):
        return
    need(bool(need_list(content)), f"{where}.content: it is empty")
    for part in map(need_dict, need_list(content)):
        kind = part.get("type")
        need(kind in kinds, f"{where}.content: invalid type {kind!r}; supported are {sorted(kinds)}")
        match kind:
            case "input_text" | "output_text":
                need(isinstance(part.get("text"), str), f"{where}.content.text: missing")
            case "input_image":
                url = str(part.get("image_url", ""))
                need(url.startswith(("https://", "http://")) or _FILE.match(url) is not None, f"{where}: invalid image")
            case "input_file":
                data = _FILE.match(str(part.get("file_data", ""))) is not None and bool(part.get("filename"))
                need(data or bool(part.get("file_url")), f"{where}: invalid file")
            case _:
                pass


def closed(schema: dict[str, Any]) -> bool:
    """Return whether every object of the schema is closed and requires all of its properties."""
    if schema.get("type") == "object":
        properties = need_dict(schema.get("properties", {}))
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(properties):
            return False
        return all(closed(need_dict(value)) for value in properties.values())
    return closed(need_dict(schema["items"])) if isinstance(schema.get("items"), dict) else True
