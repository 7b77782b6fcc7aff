"""Thought signatures for clients, which send them back as they are, on the part that they came with.

Only the model that signed reasoning can read it again, so a client's signature says who did, and has the reasoning
itself: clients of this protocol do not send thoughts back. A signature that was not made here is Gemini's own."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec

from roost.log.content import Thinking
from roost.models.wires.gemini.request import UNSIGNED

_MARK = b'["roost",'
_GEMINI = "gemini/default"


class _Sealed(msgspec.Struct, array_like=True):
    mark: str
    parts: list[tuple[str, str, str, bool]]


def sealed(thoughts: Sequence[Thinking]) -> str:
    """Return the signature of a part that follows this reasoning, all of it signed."""
    parts = [(one.text, one.signature or "", one.origin or "", one.redacted) for one in thoughts]
    return base64.b64encode(msgspec.json.encode(_Sealed("roost", parts))).decode()


def opened(sent: str) -> list[Thinking]:
    """Return the reasoning that a client's signature stands for; none for one that says that there is none."""
    try:
        body = base64.b64decode(sent.replace("-", "+").replace("_", "/"))
    except ValueError:
        return []
    if not body.startswith(_MARK):
        foreign = sent == UNSIGNED or body.startswith(UNSIGNED.encode())
        return [] if foreign or not sent else [Thinking("", sent, _GEMINI)]
    try:
        found = msgspec.json.decode(body, type=_Sealed)
    except (msgspec.MsgspecError, RecursionError):
        return []
    return [Thinking(text, signature, origin, redacted) for text, signature, origin, redacted in found.parts]
