"""Check a Responses request as strictly as OpenAI does, for tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

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
    _need(not set(body) - _KEYS, f"Unknown parameter: {sorted(set(body) - _KEYS)}")
    _need(isinstance(body.get("model"), str) and bool(body["model"]), "Missing required parameter: 'model'")
    limit = body.get("max_output_tokens")
    _need(limit is None or (isinstance(limit, int) and limit >= 16), "'max_output_tokens': expected at least 16")
    _need(body.get("instructions", "-") != "", "'instructions': it is empty")
    effort = _dict(body.get("reasoning")).get("effort")
    _need(effort is None or effort in _EFFORTS, f"'reasoning.effort': unsupported value {effort!r}")
    _check_tools(body)
    _check_format(_dict(_dict(body.get("text")).get("format", {"type": "text"})))
    items = body.get("input")
    _need(isinstance(items, str) or bool(_list(items)), "Missing required parameter: 'input'")
    if not isinstance(items, str):
        _check_items([_dict(item) for item in _list(items)], signed, stored=body.get("store", True))


def _check_tools(body: dict[str, Any]) -> None:
    tools = [_dict(tool) for tool in _list(body.get("tools", []))]
    tools = [tool for tool in tools if tool.get("type") not in _HOSTED]
    for tool in tools:
        if tool.get("type") == "custom":
            _need(_NAME.fullmatch(str(tool.get("name"))) is not None, "'tools': the name of a custom tool is invalid")
            continue
        _need(tool.get("type") == "function", "'tools': type must be function")
        _need(_NAME.fullmatch(str(tool.get("name"))) is not None, f"'tools': the name {tool.get('name')!r} is invalid")
        schema = _dict(tool.get("parameters"))
        _need(schema.get("type") == "object", "'tools': parameters must be of type object")
        _need(not tool.get("strict", True) or closed(schema), "'tools': invalid schema for a strict function")
    names = [tool["name"] for tool in tools]
    _need(len(names) == len(set(names)), "'tools': names must be unique")
    choice = body.get("tool_choice", "auto")
    _need(isinstance(choice, dict) or choice in ("auto", "none", "required"), "'tool_choice': unknown")
    _need(choice != "required" or bool(tools), "'tool_choice': required without tools")


def _check_format(form: dict[str, Any]) -> None:
    if form.get("type") != "json_schema":
        _need(form.get("type") in ("text", "json_object"), "'text.format.type': unknown")
        return
    _need(_NAME.fullmatch(str(form.get("name"))) is not None, "'text.format.name': invalid")
    _need(not form.get("strict") or closed(_dict(form.get("schema"))), "'text.format.schema': invalid when strict")


def _check_items(items: list[dict[str, Any]], signed: Signed | None, *, stored: bool) -> None:
    open_calls: set[str] = set()
    seen: set[str] = set()
    for at, item in enumerate(items):
        kind = str(item.get("type", "message"))
        where = f"input[{at}]"
        if kind in _SERVED:
            _need(stored or kind != "item_reference", f"{where}: item with id {item.get('id')!r} not found")
            continue
        _need(kind in _ITEMS, f"{where}: invalid type {kind!r}")
        needed, more = _ITEMS[kind]
        _need(needed <= set(item), f"{where}: missing {needed - set(item)}")
        _need(set(item) <= needed | more, f"{where}: unknown parameter {set(item) - needed - more}")
        # An id alone refers to an item that the server stores; beside the content it is only a name.
        lost = kind == "reasoning" and "id" in item and not item.get("encrypted_content")
        _need(stored or not lost, f"{where}: item with id {item.get('id')!r} not found: it is not stored")
        match kind:
            case "message":
                _check_content(item["content"], _PARTS.get(str(item["role"]), set()), where)
                _need(not open_calls, f"No tool output found for function calls {open_calls}")
            case "reasoning":
                _check_reasoning(item, items[at + 1 :], signed, where)
            case "function_call":
                _need(_NAME.fullmatch(str(item["call_id"])) is not None, f"{where}.call_id: invalid or too long")
                _need(item["call_id"] not in seen, f"{where}: duplicate call_id")
                _need(_NAME.fullmatch(str(item["name"])) is not None, f"{where}.name: invalid")
                _need(isinstance(item["arguments"], str), f"{where}.arguments: expected a string")
                seen.add(item["call_id"])
                open_calls.add(item["call_id"])
            case _:
                _need(item["call_id"] in open_calls, f"No tool call found for output with call_id {item['call_id']}")
                open_calls.discard(item["call_id"])
                _check_content(item["output"], _PARTS["user"], where)
    _need(not open_calls, f"No tool output found for function calls {open_calls}")


def _check_reasoning(item: dict[str, Any], later: list[dict[str, Any]], signed: Signed | None, where: str) -> None:
    following = next((other for other in later if other.get("type") != "reasoning"), cast("dict[str, Any]", {}))
    fits = following.get("type") == "function_call" or following.get("role") == "assistant"
    _need(fits, f"{where}: 'reasoning' was provided without its required following item")
    text = "\n\n".join(str(_dict(part).get("text")) for part in _list(item["summary"]))
    proof = item.get("encrypted_content")
    fine = isinstance(proof, str) and bool(proof) and (not text or signed is None or proof == signed(text))
    _need(fine, f"{where}: the encrypted content could not be verified")


def _check_content(content: Any, kinds: set[str], where: str) -> None:
    _need(bool(kinds), f"{where}.role: invalid")
    if isinstance(content, str):
        return
    _need(bool(_list(content)), f"{where}.content: it is empty")
    for part in map(_dict, _list(content)):
        kind = part.get("type")
        _need(kind in kinds, f"{where}.content: invalid type {kind!r}; supported are {sorted(kinds)}")
        match kind:
            case "input_text" | "output_text":
                _need(isinstance(part.get("text"), str), f"{where}.content.text: missing")
            case "input_image":
                url = str(part.get("image_url", ""))
                _need(
                    url.startswith(("https://", "http://")) or _FILE.match(url) is not None, f"{where}: invalid image"
                )
            case "input_file":
                data = _FILE.match(str(part.get("file_data", ""))) is not None and bool(part.get("filename"))
                _need(data or bool(part.get("file_url")), f"{where}: invalid file")
            case _:
                pass


def closed(schema: dict[str, Any]) -> bool:
    """Return whether every object of the schema is closed and requires all of its properties."""
    if schema.get("type") == "object":
        properties = _dict(schema.get("properties", {}))
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(properties):
            return False
        return all(closed(_dict(value)) for value in properties.values())
    return closed(_dict(schema["items"])) if isinstance(schema.get("items"), dict) else True


def _dict(value: Any) -> dict[str, Any]:
    _need(value is None or isinstance(value, dict), "an object was expected")
    return cast("dict[str, Any]", value) or {}


def _list(value: Any) -> list[Any]:
    _need(isinstance(value, list), "an array was expected")
    return cast("list[Any]", value)


def _need(fine: bool, reason: str) -> None:
    if not fine:
        raise AssertionError(reason)
