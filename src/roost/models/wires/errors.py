"""Convert a server's error responses to data with stable codes. For all wires."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, cast

import msgspec

from roost.log.content import ErrorData
from roost.models.wire_body import encode

MAX_MESSAGE = 1_000
Verdict: TypeAlias = tuple[str, bool]
"""A code, and whether a retry may help."""

_OVERFLOW = re.compile(
    r"context[ _-]?(length|window|size|limit)|maximum (context|prompt|input)|prompt is too long|input is too long"
    r"|too many (input )?tokens|reduce the length|request too large|exceeds? the (available|model'?s) ",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"content[ _-]?(filter|policy|management)|moderation|safety system|flagged", re.IGNORECASE)
_QUOTA = re.compile(
    r"insufficient[ _-]?(quota|credit|balance|fund)|exceeded your current quota"
    r"|credit balance is too low|billing_error",
    re.IGNORECASE,
)

_WRONG = re.compile(
    r"(does|do) not exist|not found|no such|not supported|unsupported|invalid|not valid|must be|is required|unknown"
    r" (model|parameter|name)|missing required",
    re.IGNORECASE,
)
"""Phrases of permanent errors, which a retry would repeat."""
_MESSAGE_FIELDS = ("error", "message", "detail", "msg", "error_msg", "errorMessage")
"""The fields in which servers put their messages."""


def http_error(status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData:
    """Return the error of a non-2xx response. where: names the model in the message."""
    text, codes = describe(body)
    code, retryable = classify(status, f"{codes} {text}")
    if headers.get("x-should-retry", "").strip().lower() == "false":
        retryable = False
    message = f"{where} answered {status}: {text or 'no explanation'}{_hint(code, status)}"
    return ErrorData(code, message[:MAX_MESSAGE], retryable, retry_after(headers) if retryable else None)


def stream_error(error: Any, *, where: str) -> ErrorData:
    """Return the error of an `error` object inside a 200 stream."""
    text, codes = describe(encode({"error": error}))
    code, retryable = classify(_status(codes, text), f"{codes} {text}")
    return ErrorData(code, f"{where} broke off: {text or 'no explanation'}"[:MAX_MESSAGE], retryable)


def body_error(body: bytes, *, where: str) -> ErrorData | None:
    """Return the error of a document sent with status 200 in place of an answer, such as `{"code": 20012, "message":
    "Model does not exist"}` or `{"detail": ...}`; None if it is no error."""
    try:
        read = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    top = cast("dict[str, Any]", read) if isinstance(read, dict) else {}
    has_message = any(isinstance(top.get(field), str) and top[field] for field in _MESSAGE_FIELDS)
    if not has_message and not isinstance(top.get("error"), dict):
        return None
    return stream_error(top.get("error") or top, where=where)


def verdicts(numbers: Iterable[int], code: str, retryable: bool = False) -> dict[int, Verdict]:
    """Return the same verdict for each of a server's error numbers."""
    return dict.fromkeys(numbers, (code, retryable))


def judged(error: ErrorData, verdict: Verdict | None, headers: Mapping[str, str] | None = None) -> ErrorData:
    """Return `error` with the code and retryability that `verdict` (from the server's own error number) gives; None
    changes nothing."""
    if verdict is None:
        return error
    code, retryable = verdict
    return ErrorData(code, error.message, retryable, retry_after(headers) if retryable and headers else None)


def describe(body: bytes) -> tuple[str, str]:
    """Return (message for people, codes) of an error body of any common shape."""
    try:
        data = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return " ".join(re.sub(r"<[^>]*>", " ", body.decode("utf-8", "replace")).split())[:MAX_MESSAGE], ""
    if isinstance(data, list):
        data = next(iter(cast("list[Any]", data)), "")
    if not isinstance(data, dict):
        return body.decode("utf-8", "replace")[:MAX_MESSAGE], ""
    top = cast("dict[str, Any]", data)
    inner = top.get("error") or top
    if not isinstance(inner, dict):
        return str(inner)[:MAX_MESSAGE], ""
    error = cast("dict[str, Any]", inner)
    message = next((error[field] for field in _MESSAGE_FIELDS[1:] if error.get(field)), error)
    codes = " ".join(str(error[key]) for key in ("code", "type", "status") if error.get(key))
    return (message if isinstance(message, str) else msgspec.json.encode(message).decode())[:MAX_MESSAGE], codes


def _status(codes: str, text: str) -> int:
    if number := re.search(r"\b[45]\d\d\b", codes):
        return int(number[0])
    known = {
        "rate_limit": 429,
        "authentication": 401,
        "apikey": 401,
        "api_key": 401,
        "unauthorized": 401,
        "permission": 403,
        "invalid_request": 400,
        "not_found": 404,
        "too_large": 413,
        "timeout": 408,
    }
    return next(
        (status for word, status in known.items() if word in codes.lower()), 400 if _WRONG.search(text) else 500
    )


def classify(status: int, text: str) -> Verdict:
    """Return (code, whether a retry may help) for a status and the server's message."""
    if status == 402 or _QUOTA.search(text):
        return "quota", False
    if status == 429:
        return "rate_limited", True
    if status in (401, 407) or (status == 403 and not _REFUSED.search(text)):
        return "auth", False
    if status == 408:
        return "timeout", True
    if status == 413 or (status in (400, 422, 500) and _OVERFLOW.search(text)):
        return "context_overflow", False
    if status in (400, 403, 422) and _REFUSED.search(text):
        return "refused", False
    if status in (409, 425) or status >= 500:
        return "overloaded", True
    return "bad_request", False


def _hint(code: str, status: int) -> str:
    if code == "auth":
        return ". Check the key of this account"
    if status == 404:
        return ". Check the model's name and the base URL"
    if 300 <= status < 400:
        return ". The base URL redirects: use the address that it leads to"
    return ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return seconds from now, from `Retry-After-Ms`, or `Retry-After` in seconds or as a date."""
    milliseconds, value = headers.get("Retry-After-Ms"), headers.get("Retry-After")
    try:
        if milliseconds:
            return _seconds(float(milliseconds) / 1000)
        return _seconds(float(value)) if value else None
    except ValueError:
        pass
    from email.utils import parsedate_to_datetime

    try:
        return _seconds(max(0.0, parsedate_to_datetime(value or "").timestamp() - time.time()))
    except ValueError:
        return None


def _seconds(value: float) -> float | None:
    return value if math.isfinite(value) and value >= 0 else None
