"""Check a request as strictly as Anthropic does, for tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

from roost.stub.dialects.checks import as_dict, as_list, need

_ID = re.compile(r"[A-Za-z0-9_-]+")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_KEYS = {
    "model", "max_tokens", "messages", "system", "tools", "tool_choice", "stream", "stop_sequences", "thinking",
    "output_config", "cache_control", "metadata", "service_tier", "speed", "inference_geo", "container",
}  # fmt: skip
_BETAS = {"context_management": "context-management-", "mcp_servers": "mcp-client-"}
"""Fields that are accepted when the header `anthropic-beta` names their beta."""
_MIDWAY = "mid-conversation-system-"
"""The beta that accepts messages of the role system after the user's first one."""
_ALWAYS = re.compile(r"claude-(opus-5-5|sonnet-5-5|fable-5)")
"""Models that always think."""
_USER = {"text", "image", "document", "tool_result"}
_ASSISTANT = {"text", "thinking", "redacted_thinking", "tool_use"}
_UNMARKED = {"thinking", "redacted_thinking"}

NEWEST, OLDER = "2026-10-21", "2023-06-01"
_SAMPLING = {"temperature", "top_p", "top_k"}
"""Settings that the newest protocol version refuses."""

Signed = Callable[[str], str]


def check_anthropic_request(
    body: dict[str, Any], signed: Signed | None = None, *, version: str = NEWEST, betas: str = ""
) -> None:
    """Raise `AssertionError` with the reason. `signed`: returns the signature that reasoning must have. `betas`: the
    header of that name."""
    need(version in (NEWEST, OLDER), f"anthropic-version: {version!r} is not a valid version")
    known = _KEYS if version == NEWEST else _KEYS | _SAMPLING
    known = known | {field for field, beta in _BETAS.items() if beta in betas}
    need(not set(body) - known, f"{sorted(set(body) - known)}: extra inputs are not permitted")
    need(isinstance(body.get("model"), str) and bool(body["model"]), "model: field required")
    need(isinstance(body.get("max_tokens"), int) and body["max_tokens"] > 0, "max_tokens: field required")
    system = body.get("system", "-")
    need(bool(system), "system: it is empty")
    for block in _blocks(system):
        need(block.get("type") == "text" and bool(str(block.get("text", "")).strip()), "system: a block is empty")
    _check_tools(body)
    _check_thinking(body)
    messages = as_list(body.get("messages"))
    if _MIDWAY in betas:
        messages = messages[:1] + [one for one in messages[1:] if as_dict(one).get("role") != "system"]
    _check_messages(messages, signed)
    need(_marks(body) <= 4, f"a maximum of 4 blocks with cache_control may be provided, found {_marks(body)}")


def _check_tools(body: dict[str, Any]) -> None:
    tools = _blocks(body.get("tools"))
    names = [str(tool.get("name")) for tool in tools]
    need(len(names) == len(set(names)), "tools: tool names must be unique")
    for tool in tools:
        need(_NAME.fullmatch(str(tool.get("name"))) is not None, f"tools: the name {tool.get('name')!r} is invalid")
        # Tools of a dated type (`web_search_20250305`, `bash_20250124`) are the server's, which knows their schema.
        own = str(tool.get("type", "custom")) != "custom"
        whole = own or as_dict(tool.get("input_schema")).get("type") == "object"
        need(whole, "tools: input_schema.type must be object")
    need(bool(tools) or "tool_choice" not in body, "tool_choice: may only be specified while providing tools")
    kind = as_dict(body.get("tool_choice", {"type": "auto"})).get("type")
    forced = kind in ("any", "tool") and _ALWAYS.match(str(body.get("model"))) is not None
    need(not forced, "tool_choice: this model always thinks, and thinking may not be combined with a forced tool")
    need(kind in ("auto", "any", "none", "tool"), "tool_choice: unknown type")
    for node in _objects(as_dict(as_dict(body.get("output_config")).get("format")).get("schema")):
        closed = node.get("additionalProperties") is False
        need(closed, "output_config.format.schema: for 'object' type, 'additionalProperties' must be set to false")


def _check_thinking(body: dict[str, Any]) -> None:
    thinking = as_dict(body.get("thinking"))
    kind = thinking.get("type")
    need(kind in (None, "enabled", "adaptive", "disabled"), "thinking.type: unknown")
    if kind in (None, "disabled"):
        return
    forced = as_dict(body.get("tool_choice")).get("type") in ("any", "tool")
    need(not forced, "thinking may not be enabled when tool_choice forces tool use")
    need(body.get("temperature") in (None, 1), "temperature may only be set to 1 when thinking is enabled")
    if kind == "enabled":
        budget = thinking.get("budget_tokens")
        need(isinstance(budget, int) and budget >= 1024, "thinking.budget_tokens: at least 1024")
        need(cast(int, budget) < body["max_tokens"], "max_tokens must be greater than thinking.budget_tokens")


def _check_messages(messages: list[Any], signed: Signed | None) -> None:
    need(bool(messages), "messages: at least one message is required")
    open_calls: set[str] = set()
    seen: set[str] = set()
    for at, message in enumerate(map(as_dict, messages)):
        where, role = f"messages.{at}", message.get("role")
        need(role in ("user", "assistant"), f"{where}: unexpected role {role!r}")
        need(at > 0 or role == "user", f"{where}: the first message must use the user role")
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else _blocks(content)
        need(bool(blocks), f"{where}: content must not be empty")
        if role == "assistant":
            need(not open_calls, f"{where}: `tool_use` ids were found without `tool_result` blocks: {open_calls}")
            open_calls = _check_assistant(blocks, seen, signed, where)
        else:
            _check_user(blocks, open_calls, where)
            open_calls = set()
    need(not open_calls, f"`tool_use` ids were found without `tool_result` blocks: {open_calls}")
    need(as_dict(messages[-1]).get("role") == "user", "the conversation must end with a user message")


def _check_user(blocks: list[dict[str, Any]], open_calls: set[str], where: str) -> None:
    left, results = set(open_calls), True
    for block in blocks:
        kind = block.get("type")
        need(kind in _USER, f"{where}: unexpected block {kind!r}")
        if kind != "tool_result":
            results = False
            _check_block(block, where)
            continue
        call = str(block.get("tool_use_id"))
        need(results, f"{where}: `tool_result` blocks must come first")
        need(call in left, f"{where}: unexpected `tool_use_id` {call!r}, or a second result for it")
        left.discard(call)
        for inner in _blocks(block.get("content")):
            need(inner.get("type") in ("text", "image", "document"), f"{where}: unexpected block in a result")
            _check_block(inner, where)
    need(not left, f"{where}: `tool_use` ids were found without `tool_result` blocks: {left}")


def _check_assistant(blocks: list[dict[str, Any]], seen: set[str], signed: Signed | None, where: str) -> set[str]:
    calls: set[str] = set()
    for block in blocks:
        kind = block.get("type")
        need(kind in _ASSISTANT, f"{where}: unexpected block {kind!r}")
        need(kind not in _UNMARKED or "cache_control" not in block, f"{where}: cache_control on thinking")
        if kind == "tool_use":
            name = str(block.get("id"))
            need(_ID.fullmatch(name) is not None, f"{where}: the id {name!r} should match '^[a-zA-Z0-9_-]+$'")
            need(name not in seen, f"{where}: `tool_use` ids must be unique")
            need(_NAME.fullmatch(str(block.get("name"))) is not None, f"{where}: the tool's name is invalid")
            need(isinstance(block.get("input"), dict), f"{where}: input should be an object")
            seen.add(name)
            calls.add(name)
        elif kind == "thinking":
            proof, text = block.get("signature"), block.get("thinking")
            fine = isinstance(text, str) and bool(proof) and (signed is None or proof == signed(text))
            need(fine, f"{where}: invalid `signature` in `thinking` block")
        else:
            _check_block(block, where)
    need(blocks[-1].get("type") not in _UNMARKED, f"{where}: the final block cannot be `thinking`")
    return calls


def _check_block(block: dict[str, Any], where: str) -> None:
    match block.get("type"):
        case "text":
            need(bool(str(block.get("text", "")).strip()), f"{where}: text content blocks must contain text")
        case "image" | "document":
            source = as_dict(block.get("source"))
            whole = {"base64": ("media_type", "data"), "url": ("url",)}.get(str(source.get("type")), ("type_",))
            need(all(source.get(key) for key in whole), f"{where}: the source is not whole")
        case "redacted_thinking":
            need(bool(block.get("data")), f"{where}: data: field required")
        case _:
            pass


def _marks(node: Any) -> int:
    if isinstance(node, list):
        return sum(map(_marks, cast("list[Any]", node)))
    if not isinstance(node, dict):
        return 0
    inner = cast("dict[str, Any]", node)
    return ("cache_control" in inner) + sum(
        _marks(inner[key]) for key in ("system", "messages", "tools", "content") if key in inner
    )


def _objects(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [schema_object for item in cast("list[Any]", schema) for schema_object in _objects(item)]
    node = as_dict(schema)
    inner = [schema_object for value in node.values() for schema_object in _objects(value)]
    return [node, *inner] if node.get("type") == "object" else inner


def _blocks(value: Any) -> list[dict[str, Any]]:
    return [as_dict(item) for item in as_list(value)]
