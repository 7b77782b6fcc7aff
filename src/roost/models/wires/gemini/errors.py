"""Gemini's error responses, where they differ from the common ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from roost.log.content import ErrorData
from roost.models.wire_body import encode
from roost.models.wires.errors import http_error, stream_error

_OVERFLOW = re.compile(r"token count .*exceeds", re.IGNORECASE)
_KEY = re.compile(r"API_KEY_INVALID|API key (not valid|expired|not found)", re.IGNORECASE)
_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")


def gemini_error(status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData:
    """Return the error of a non-2xx response."""
    return _read(http_error(status, headers, body, where=where), status, body)


def gemini_stream_error(error: Any, *, where: str) -> ErrorData:
    """Return the error of an `error` object inside a 200 response."""
    status = cast("dict[str, Any]", error).get("code") if isinstance(error, dict) else None
    body = encode({"error": error})
    return _read(stream_error(error, where=where), status if isinstance(status, int) else 500, body)


def _read(error: ErrorData, status: int, body: bytes) -> ErrorData:
    text = body.decode("utf-8", "replace")
    if status == 400 and _KEY.search(text):
        # Gemini reports a wrong key as a bad request.
        hint = "" if error.code == "auth" else ". Check the key of this account"
        return ErrorData("auth", error.message + hint)
    if status == 400 and _OVERFLOW.search(text):
        return ErrorData("context_overflow", error.message)
    wait = _wait(body)
    if status == 429 and wait is not None and "PerDay" not in text:
        # Gemini also calls the limit per minute a quota; it recovers by itself.
        return ErrorData("rate_limited", error.message, True, error.retry_after or wait)
    if error.retryable and error.retry_after is None and wait is not None:
        return msgspec.structs.replace(error, retry_after=wait)
    return error


def _wait(body: bytes) -> float | None:
    """Return the seconds of the `RetryInfo` among the details."""
    try:
        data = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    inner: Any = cast("dict[str, Any]", data).get("error") if isinstance(data, dict) else None
    details: Any = cast("dict[str, Any]", inner).get("details") if isinstance(inner, dict) else None
    for detail in cast("list[Any]", details) if isinstance(details, list) else ():
        delay = cast("dict[str, Any]", detail).get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and (seconds := _DELAY.fullmatch(delay)):
            return float(seconds[1])
    return None
