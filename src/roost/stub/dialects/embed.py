"""The common part of embeddings protocols, from the server's side."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Protocol, cast

import msgspec

from roost.log.content import Usage
from roost.stub.dialects.base import Asked
from roost.stub.script import Reply

Json = dict[str, Any]

_TOKEN = re.compile(r"\w{1,6}|[^\w\s]")
_OTHER = 32
"""Size of the vectors of an unknown model."""


class Embeds(Protocol):
    """Most of a `Dialect`: no stream, and usage by the request. Of a reply only fault and delay matter. Subclasses add
    `body`, `error` and the rest."""

    def key(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("authorization", "").removeprefix("Bearer ")

    def frames(self, reply: Reply, asked: Asked, *, finish: bool = True) -> list[bytes]:
        return [self.document(reply, asked)]

    def document(self, reply: Reply, asked: Asked) -> bytes:
        return msgspec.json.encode(self.body(asked, [message["content"] for message in asked.messages]))

    def usage(self, asked: Asked) -> Usage:
        return Usage(input=sum(tokens(message["content"]) for message in asked.messages))

    def error_frame(self, status: int, message: str) -> bytes:
        return msgspec.json.encode(self.error(status, message))

    def body(self, asked: Asked, texts: list[str]) -> Json: ...

    def error(self, status: int, message: str, code: str | None = None) -> Json: ...


def texts_asked(model: str, texts: list[str], body: Json) -> Asked:
    return Asked(model, False, [{"role": "user", "content": text} for text in texts], body)


def tokens(text: str) -> int:
    """Count tokens as the stub does: up to six letters, or one sign."""
    return len(_TOKEN.findall(text)) or 1


def vector(text: str, size: int) -> list[float]:
    """Return numbers within -1 and 1 that depend on the text alone; the length of the vector is not 1."""
    raw = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(size * 2)
    return [int.from_bytes(raw[at : at + 2], "little", signed=True) / 32768 for at in range(0, size * 2, 2)]


def size_for(model: str, sizes: Mapping[str, int]) -> int:
    return next((size for name, size in sizes.items() if model.startswith(name)), _OTHER)


def only(body: Json, *known: str) -> None:
    assert not (unknown := set(body) - set(known)), f"unknown fields: {', '.join(sorted(unknown))}"


def check_texts(texts: Any, count: int) -> list[str]:
    assert isinstance(texts, list), "the texts are not an array"
    every = cast("list[Any]", texts)
    assert every, "there is no text"
    assert len(every) <= count, f"too many texts: at most {count} inputs are allowed"
    assert all(isinstance(text, str) for text in every), "a text is not a string"
    assert all(every), "a text is empty"
    return every
