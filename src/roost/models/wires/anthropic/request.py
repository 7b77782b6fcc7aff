"""The body of an Anthropic message."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from roost.log.content import (
    AssistantMessage,
    Audio,
    File,
    Image,
    Media,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    UserMessage,
    Video,
)
from roost.models.knobs import knobs_of, turn
from roost.models.profile import Knob, Profile
from roost.models.prompt import Prompt
from roost.models.wire_body import MUST_CALL, Json, call_id, json_object, named, takes, tool_name
from roost.models.wires.assembly import origin_of

NAME = "anthropic"
_ADAPTIVE = {"type": "adaptive", "display": "summarized"}
KNOBS = {
    "effort": Knob(
        values={
            "off": {"thinking": {"type": "disabled"}},
            **{
                level: {"thinking": _ADAPTIVE, "output_config": {"effort": level}}
                for level in ("low", "medium", "high", "max")
            },
        }
    ),
    "speed": Knob(field="speed"),
    "cache": Knob(field="cache_control", default={"type": "ephemeral"}),
}
"""Knobs of the newest models: they accept no temperature, and think as much as the effort allows. The default of
`cache` is the mark at the end of the stable part."""
LEAST_BUDGET = 1_024
VERSION, SAMPLING_VERSION = "2026-10-21", "2023-06-01"
"""Protocol versions: the newest, and the last that accepts the settings of `SAMPLING`, which only older models have."""
SAMPLING = ("temperature", "top_p", "top_k")
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server's deviations from Anthropic's own. version: None takes the newest that supports the request."""

    version: str | None = None
    betas: tuple[str, ...] = ()
    bearer: bool = False
    """Send the key in `Authorization` instead of `x-api-key`."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Deviations of another wire, named `wire`, that shares the protocol. media: the kinds of parts that have a
    block."""

    wire: str = NAME
    knobs: Mapping[str, Knob] = msgspec.field(default_factory=lambda: KNOBS)
    media: tuple[type[Media], ...] = (Image, File)
    thinks_alone: bool = True
    """A request with thinking must not have settings of `SAMPLING`."""


OWN = Terms()


def body_of(prompt: Prompt, model: str, profile: Profile, *, stream: bool, terms: Terms = OWN) -> Json:
    knobs = knobs_of(profile, terms.knobs)
    cache = knobs.pop("cache", None)
    if prompt.tool_choice == "required" and profile.thinks == "always" and terms.thinks_alone:
        # A model refuses a forced call while it thinks, so one that always thinks is asked in words.
        prompt = msgspec.structs.replace(prompt, tool_choice="auto", system=(*prompt.system, MUST_CALL))
    body: Json = {"model": model, "max_tokens": prompt.max_output or profile.max_output}
    if stream:
        body["stream"] = True
    if prompt.system:
        body["system"] = [{"type": "text", "text": block} for block in prompt.system]
    if prompt.tools:
        body["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.schema} for tool in prompt.tools
        ]
        body["tool_choice"] = {"type": "any" if prompt.tool_choice == "required" else prompt.tool_choice}
    if prompt.output_schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": _closed(prompt.output_schema)}}
    if stops := [stop for stop in prompt.stop if stop.strip()]:
        body["stop_sequences"] = stops
    turn(body, knobs, prompt.knobs)
    messages, places = compile_messages(prompt.messages, profile, terms)
    body["messages"] = messages
    _allow(body, prompt, terms)
    if cache is not None and cache.default is not None:
        _mark(body, prompt, places, cache.default)
    return body


def compile_messages(messages: Sequence[Message], profile: Profile, terms: Terms = OWN) -> tuple[list[Json], list[int]]:
    """Return the messages of the body, and for each given message the index of the one that contains it.

    Results and the user's following messages become one user message, results first, as in the conversation. Reasoning
    is sent back only if this family signed it.
    """
    origin = origin_of(terms.wire, profile)
    wire: list[Json] = []
    places: list[int] = []
    for message in messages:
        role = "assistant" if isinstance(message, AssistantMessage) else "user"
        if not wire or wire[-1]["role"] != role:
            wire.append({"role": role, "content": []})
        content: list[Json] = wire[-1]["content"]
        match message:
            case UserMessage():
                content += _blocks(message.parts, profile, terms) or [_text("(empty)")]
            case AssistantMessage():
                content += _assistant(message, origin) or [_text("(no answer)")]
            case ToolMessage():
                content.append(_result(message, profile, terms))
        places.append(len(wire) - 1)
    return wire, places


def _assistant(message: AssistantMessage, origin: str) -> list[Json]:
    blocks: list[Json] = []
    for part in message.parts:
        match part:
            case Text() if part.text.strip():
                blocks.append(_text(part.text))
            case Thinking() if part.signature and part.origin == origin:
                blocks.append(_thinking(part))
            case ToolCall():
                blocks.append(_call(part))
            case Image() | Audio() | Video():
                blocks.append(_text(named(part)))
            case _:
                pass
    # Reasoning alone is not a valid message; text or a call must follow it.
    return blocks if any(block["type"] in ("text", "tool_use") for block in blocks) else []


def _call(call: ToolCall) -> Json:
    arguments = msgspec.Raw(json_object(call.arguments).encode())
    return {"type": "tool_use", "id": call_id(call.id, _ID), "name": tool_name(call.name), "input": arguments}


def _thinking(part: Thinking) -> Json:
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.signature}
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _result(message: ToolMessage, profile: Profile, terms: Terms) -> Json:
    blocks = _blocks(message.parts, profile, terms) or [_text("(no output)")]
    result: Json = {"type": "tool_result", "tool_use_id": call_id(message.call, _ID), "content": blocks}
    return {**result, "is_error": True} if message.error else result


def _blocks(parts: Sequence[Text | Media], profile: Profile, terms: Terms) -> list[Json]:
    blocks: list[Json] = []
    for part in parts:
        if isinstance(part, Text):
            if part.text.strip():
                blocks.append(_text(part.text))
        elif isinstance(part, terms.media) and takes(profile, part):
            blocks.append(_media(part))
        else:
            blocks.append(_text(named(part)))
    return blocks


def _media(part: Media) -> Json:
    if not isinstance(part, File):
        return {"type": "video" if isinstance(part, Video) else "image", "source": _source(part)}
    title = {"title": part.name} if part.name else {}
    return {"type": "document", "source": _source(part), **title}


def _source(part: Media) -> Json:
    if part.url is not None and not part.data:
        return {"type": "url", "url": part.url}
    return {"type": "base64", "media_type": part.media_type, "data": part.data}


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _allow(body: Json, prompt: Prompt, terms: Terms) -> None:
    """Remove thinking where the server would refuse it, and make room for its budget."""
    thinking: Json = body.get("thinking") or {}
    if thinking.get("type") not in ("enabled", "adaptive"):
        return
    forced = bool(prompt.tools) and prompt.tool_choice == "required"
    # With a budget, the running turn must start with thinking of this family.
    unsigned = thinking["type"] == "enabled" and _calls_unthought(body["messages"])
    if forced or unsigned:
        del body["thinking"]
        return
    budget = thinking.get("budget_tokens")
    if budget is not None and budget >= body["max_tokens"]:
        if body["max_tokens"] <= LEAST_BUDGET:
            del body["thinking"]
        else:
            thinking["budget_tokens"] = max(LEAST_BUDGET, body["max_tokens"] // 2)
    if body.get("thinking") and terms.thinks_alone:
        for knob in SAMPLING:
            body.pop(knob, None)


def _calls_unthought(messages: list[Json]) -> bool:
    for message in reversed(messages):
        kinds = [block["type"] for block in message["content"]]
        if message["role"] == "user" and "tool_result" not in kinds:
            return False
        if message["role"] == "assistant" and "tool_use" in kinds and "thinking" not in kinds[0]:
            return True
    return False


def _mark(body: Json, prompt: Prompt, places: list[int], mark: Any) -> None:
    """Set cache marks: after the stable system blocks (which also covers the tools before them), and after the last two
    stable user messages, so that the mark of the previous request is found."""
    system: list[Json] = body.get("system") or []
    tools: list[Json] = body.get("tools") or []
    if 0 < prompt.stable_system <= len(system):
        system[prompt.stable_system - 1]["cache_control"] = mark
    elif tools:
        tools[-1]["cache_control"] = mark
    if not prompt.stable:
        return
    messages: list[Json] = body["messages"]
    whole = places[prompt.stable - 1]
    if prompt.stable < len(places) and places[prompt.stable] == whole:
        # The message continues after the stable part.
        whole -= 1
    users = [message for message in messages[: whole + 1] if message["role"] == "user"]
    for message in users[-2:]:
        message["content"][-1]["cache_control"] = mark


def _closed(schema: Any) -> Any:
    """Return the schema with its objects closed, which the server requires."""
    if isinstance(schema, list):
        return [_closed(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    node = {key: _closed(value) for key, value in cast("Json", schema).items()}
    if isinstance(node.get("properties"), dict) and "additionalProperties" not in node:
        node["additionalProperties"] = False
    return node
