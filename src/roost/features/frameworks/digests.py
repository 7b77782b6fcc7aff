"""Digests of requests: what a recorded answer is found by."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

import msgspec

from roost.models.request import Request

_VOLATILE = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"  # a UUID
    r"|\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?"  # a date, or a date with a time
    r"|\b\d{2}:\d{2}:\d{2}(\.\d+)?\b"
    r"|\b1[6-9]\d{8}(\d{3})?(\.\d+)?\b"  # seconds, or milliseconds, since 1970
)
_encode = msgspec.json.Encoder(order="sorted").encode


class Digests(NamedTuple):
    """whole: of all that the model gets. masked: the same, with dates, times and random ids of the instructions left
    out."""

    whole: str
    masked: str


def digests_of(request: Request) -> Digests:
    """Return the digests of a request. It has no ids of items, headers or metadata: they differ each time."""
    rest = (
        *(request.messages, request.tools, request.tool_choice, request.output_schema, request.max_output),
        *(request.temperature, request.stop, request.effort, request.knobs),
    )
    body = _encode(rest)
    texts = (request.instruction, *request.context, *request.constraints, request.output_hint or "")
    return Digests(_digest(body, texts), _digest(body, tuple(_VOLATILE.sub("*", text) for text in texts)))


def _digest(body: bytes, texts: tuple[str, ...]) -> str:
    digest = hashlib.blake2b(body, digest_size=12)
    for text in texts:
        digest.update(b"\0" + text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
