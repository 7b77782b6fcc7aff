"""Reasoning that a chat completions server wants back: its forms, their storage, and how they are sent back.

There are three forms. Plain text (`reasoning_content`) is stored as the text of a `Thinking` part. OpenRouter sends
`reasoning_details`, a list of objects that may hold signatures or encrypted data: it is stored as JSON in the signature
of the `Thinking` part and sent back on the message. Google's compatible endpoint signs each call in `extra_content`:
that is stored as JSON in the signature of an empty `Thinking` part directly before the call, and sent back on the
call.
"""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import urlsplit

import msgspec

from roost.log.content import AssistantMessage, Thinking, ToolCall
from roost.models.profile import ThinkingBack
from roost.models.wire import Endpoint
from roost.models.wire_body import Json, clean, encode

Unsigned: TypeAlias = Literal["google", "openrouter"]
"""How to mark a call that Google did not sign, so that its models accept it: in Google's form or in OpenRouter's."""

SKIP = "skip_thought_signature_validator"
"""The value that Google's guide to thought signatures gives for calls made by another model."""
_DETAILS, _EXTRA = "reasoning_details", "extra_content"
_GROWING = ("text", "summary")
"""Fields of a detail that a stream sends in pieces."""

BACK: tuple[tuple[re.Pattern[str], ThinkingBack], ...] = (
    (re.compile(r"deepseek-?(v[4-9]|flash|pro)"), "all"),
    (re.compile(r"kimi-?k(2.*(thinking|code)|2[.p][5-9]|[3-9])"), "all"),
    (re.compile(r"minimax-?m[2-9]"), "all"),
    (re.compile(r"glm-?(4[.p][5-9]|[5-9])"), "turn"),
)
"""Models that must be sent their own reasoning, by name pattern; the first match counts.

DeepSeek's guide to its thinking mode and Kimi's to preserved thinking require the reasoning of every earlier tool call,
and refuse a request without the field (400). GLM requires that of the running turn, and drops older reasoning
itself.
"""


def back_of(model: str) -> ThinkingBack:
    """Return which reasoning a model of this name must be sent again."""
    name = model.lower().replace("_", "-")
    for pattern, back in BACK:
        if pattern.search(name):
            return back
    return "none"


def vendor(model: str) -> str:
    """Return the first word of the model's own name: `gemini` for `google/gemini-3.5-flash`."""
    prefix = re.match(r"[a-z]+", model.lower().rpartition("/")[2])
    return prefix[0] if prefix else ""


def reasoning_origin(wire: str, endpoint: Endpoint, model: str) -> str:
    """Return the reader of a signature: one vendor's models behind one server."""
    return f"{wire}/{urlsplit(endpoint.base_url).netloc.lower().rpartition('@')[2]}/{vendor(model)}"


class Details:
    """Collects the `reasoning_details` of one answer. Pieces of one detail are joined; the rest is kept unchanged."""

    def __init__(self) -> None:
        self._all: list[Json] = []

    def add(self, details: Any) -> str:
        """Take the details of a frame and return their readable text."""
        shown = ""
        for one in cast("list[Any]", details) if isinstance(details, list) else ():
            if isinstance(one, dict):
                detail = cast("Json", one)
                shown += "".join(str(detail.get(field) or "") for field in _GROWING)
                self._take(detail)
        return shown

    def _take(self, detail: Json) -> None:
        last = self._all[-1] if self._all else None
        if last is None or not _continues(last, detail):
            self._all.append(dict(detail))
            return
        for field, value in detail.items():
            if field in _GROWING and isinstance(value, str):
                last[field] = str(last.get(field) or "") + value
            elif value is not None:
                last[field] = value

    def signature(self) -> str | None:
        return encode({_DETAILS: self._all}).decode() if self._all else None


def _continues(last: Json, detail: Json) -> bool:
    kind = detail.get("type")
    if kind not in ("reasoning.text", "reasoning.summary") or last.get("type") != kind:
        return False
    ids = {last.get("id"), detail.get("id")} - {None}
    # A signature ends its block, even if the server gives no index.
    return last.get("index") == detail.get("index") and len(ids) < 2 and not last.get("signature")


def call_signature(extra: Any) -> str | None:
    """Return the part of a call's `extra_content` to store."""
    return encode({_EXTRA: extra}).decode() if isinstance(extra, dict) and extra else None


def kept(message: AssistantMessage, origin: str | None) -> tuple[list[Json], dict[str, Json]]:
    """Return the data that `origin` sent with this message: the details of its reasoning, and the extra content of its
    calls by their ids."""
    details: list[Json] = []
    extras: dict[str, Json] = {}
    waiting: Json | None = None
    for part in message.parts:
        if isinstance(part, Thinking) and part.signature and part.origin == origin:
            signed = _read(part.signature)
            details += cast("list[Json]", signed.get(_DETAILS) or [])
            waiting = signed.get(_EXTRA)
            continue
        if isinstance(part, ToolCall) and waiting:
            extras[part.id] = waiting
        waiting = None
    return details, extras


def mark_unsigned(message: Json, how: Unsigned) -> None:
    """Mark the first call of a message that Google's models did not sign, as Google and OpenRouter document it."""
    if how == "google":
        sent: list[Json] = message["tool_calls"]
        if not any(_EXTRA in call for call in sent):
            sent[0][_EXTRA] = {"google": {"thought_signature": SKIP}}
        return
    details: list[Json] = message.get(_DETAILS) or []
    if not any(detail.get("type") == "reasoning.encrypted" for detail in details):
        made = {"type": "reasoning.encrypted", "data": SKIP, "id": message["tool_calls"][0]["id"]}
        message[_DETAILS] = [*details, {**made, "format": "google-gemini-v1", "index": len(details)}]


def _read(signature: str) -> Json:
    try:
        read = msgspec.json.decode(signature)
    except (ValueError, RecursionError):
        return {}
    return cast("Json", clean(read)) if isinstance(read, dict) else {}
