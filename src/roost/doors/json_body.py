"""JSON from clients that need not say that it is JSON, and inside texts of others."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from starlette.types import Receive, Scope

from roost.errors import Invalid
from roost.server.problems import Refused
from roost.server.request_body import check_values, read_body
from roost.server.validation_messages import said

T = TypeVar("T")


async def json_of(
    scope: Scope, receive: Receive, decoder: msgspec.json.Decoder[T], *, limit: int, empty: bytes = b""
) -> T:
    """Read a JSON body, whatever its `Content-Type`. empty: stands for a body that has nothing. Raises `Refused` (not
    JSON, too large), and `Invalid` (JSON of another shape)."""
    body = await read_body(scope, receive, limit=limit)
    check_values(body)
    try:
        return decoder.decode(body if body.strip() else empty)
    except msgspec.ValidationError as error:
        raise Invalid(said(error, "the body")) from None
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        why = str(error) if body.strip() else "it is empty"
        raise Refused(400, "invalid_json", f"the body is not JSON: {why}") from None
    except RecursionError:
        raise Invalid("the body is nested too deeply") from None


def embedded(text: str) -> msgspec.Raw | None:
    """Return a text as a part of JSON in one line, exactly as it says; None if it is no JSON."""
    try:
        return msgspec.Raw(msgspec.json.format(text.encode(errors="replace"), indent=-1))
    except (msgspec.DecodeError, RecursionError):
        return None
