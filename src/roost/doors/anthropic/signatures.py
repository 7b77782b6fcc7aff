"""Signatures of reasoning for clients, which send them back as they are.

Only the model that signed reasoning can read it again, so a client's signature says who did. Anthropic's own signatures
stay as they are: a conversation may come from Anthropic, or go there."""

from __future__ import annotations

import base64
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from roost.log.content import Thinking

_OWN = "anthropic/anthropic"
_MARK = "roost_"
Kind: TypeAlias = Literal["whole", "late", "void"]


class Signature(NamedTuple):
    """kind: of the block that it came with. late: it has no text, and signs the reasoning before it. void: the model
    began anew, and this reasoning is no part of its answer."""

    signature: str | None
    origin: str | None
    kind: Kind


def sealed(signature: str | None, origin: str | None, kind: Kind = "whole") -> str:
    """Return the signature for the client. Reasoning that is not signed has one, too: clients drop a block without."""
    if signature and origin == _OWN and kind == "whole":
        return signature
    body = msgspec.json.encode(Signature(signature, origin, kind))
    return _MARK + base64.urlsafe_b64encode(body).decode()


def opened(sent: str) -> Signature:
    """Return what `sealed` was given. What it did not make is Anthropic's."""
    if not sent.startswith(_MARK):
        return Signature(sent, _OWN, "whole")
    try:
        body = base64.urlsafe_b64decode(sent.removeprefix(_MARK))
        return msgspec.json.decode(body, type=Signature)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return Signature(None, None, "whole")


def add_thinking(parts: list[Thinking | object], text: str, sent: str | None, *, redacted: bool = False) -> None:
    """Add a block of reasoning to the parts of its message."""
    signature, origin, kind = opened(sent) if sent else Signature(None, None, "whole")
    if kind == "void":
        return
    part = Thinking(text, signature, origin if signature else None, redacted)
    if kind == "late":
        for at in range(len(parts) - 1, -1, -1):
            if isinstance(before := parts[at], Thinking) and before.signature is None:
                parts[at] = msgspec.structs.replace(part, text=before.text)
                return
    if part.text or part.signature:
        parts.append(part)
