"""The body of a GLM chat completion.

Facts from docs.z.ai and docs.bigmodel.cn (Chat Completion, Thinking Mode, Tool Streaming), read in November 2026:
`tool_choice` only auto, `response_format` only JSON without a schema, one stop word, no stream options.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from roost.log.content import File, Media
from roost.models.knobs import knobs_of
from roost.models.profile import Knob, Profile, ThinkingBack
from roost.models.prompt import Prompt
from roost.models.wire_body import Json, in_words
from roost.models.wires.openai_chat import request as chat

NAME = "glm"
MOST_STOP_WORDS, PLACES = 1, 2
"""Limits of a request: stop words, and decimal places of sampling settings."""
_THINKS = {"type": "enabled"}
KNOBS = {
    "temperature": Knob(field="temperature", low=0, high=1),
    "top_p": Knob(field="top_p", low=0.01, high=1),
    "effort": Knob(
        values={
            "off": {"thinking": {"type": "disabled"}},
            **{level: {"thinking": _THINKS, "reasoning_effort": level} for level in ("high", "max")},
        }
    ),
    "clear_thinking": Knob(field="thinking.clear_thinking"),
}
"""Knobs of GLM-5.2. clear_thinking: False makes the server keep the reasoning of earlier turns, which every request
then sends."""


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"asynchronous": "async"}):
    """async: a request without `stream` is submitted as a task and its answer fetched when ready. poll: the longest
    wait between two status requests, in seconds. wait: the longest total wait in seconds. tool_stream: arguments of
    calls come in pieces; models before GLM-4.6 do not support this."""

    asynchronous: bool = False
    poll: float = 2.0
    wait: float = 900.0
    tool_stream: bool = True


def media_part(part: Media) -> Json | None:
    """Return the part. A document is sent only by URL."""
    if not isinstance(part, File):
        return chat.media_part(part)
    return {"type": "file_url", "file_url": {"url": part.url}} if part.url and not part.data else None


TERMS = chat.Terms(wire=NAME, knobs=KNOBS, part=media_part, thought=chat.reasoning_if_any)
_CHAT = chat.Quirks(stream_usage=False)


def body_of(prompt: Prompt, model: str, profile: Profile, quirks: Quirks, *, stream: bool) -> Json:
    schema, may_call = prompt.output_schema, prompt.tool_choice != "none"
    asked = msgspec.structs.replace(
        prompt,
        system=prompt.system if schema is None else (*prompt.system, in_words(schema)),
        tools=prompt.tools if may_call else (),
        tool_choice="auto",
        output_schema=None,
        stop=prompt.stop[:MOST_STOP_WORDS],
    )
    back = msgspec.structs.replace(profile, thinking_back=_back(prompt, profile))
    body = chat.body_of(asked, model, back, _CHAT, stream=stream, terms=TERMS)
    if schema is not None:
        body["response_format"] = {"type": "json_object"}
    if stream and "tools" in body and quirks.tool_stream:
        body["tool_stream"] = True
    for name in body.keys() & {"temperature", "top_p"}:
        if isinstance(body[name], float):
            body[name] = round(body[name], PLACES)
    _settle(body)
    return body


def _back(prompt: Prompt, profile: Profile) -> ThinkingBack:
    """Return all reasoning if the server is told to keep it; else the profile's setting, or that of the running turn,
    which tool calls require."""
    knob = knobs_of(profile, KNOBS).get("clear_thinking")
    kept: Literal[False] | None = None
    if knob is not None:
        kept = prompt.knobs.get("clear_thinking", knob.default)
    return "all" if kept is False else profile.thinking_back or "turn"


def _settle(body: Json) -> None:
    thinking: Json | None = body.get("thinking")
    if thinking is None:
        return
    if thinking.setdefault("type", "enabled") == "disabled":
        thinking.pop("clear_thinking", None)
