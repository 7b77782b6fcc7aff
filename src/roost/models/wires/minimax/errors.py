"""MiniMax's error responses, by its own error numbers, in `base_resp` or at the end of an error message.

From platform.minimax.io and platform.minimaxi.com (Error Codes, Text Generation), read in November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from roost.log.content import ErrorData
from roost.models.wire_body import encode
from roost.models.wires.errors import (
    MAX_MESSAGE,
    Verdict,
    classify,
    describe,
    http_error,
    judged,
    stream_error,
    verdicts,
)

_NUMBER = re.compile(r"\((\d{4})\)\s*$")


class BaseResp(msgspec.Struct):
    """The end of every answer; a `status_code` other than 0 is an error, whatever the HTTP status."""

    status_code: int = 0
    status_msg: str = ""


class _Refusal(msgspec.Struct):
    base_resp: BaseResp | None = None


_decoder = msgspec.json.Decoder(_Refusal)


UNKNOWN = 1000
CODES: dict[int, Verdict] = {
    **verdicts((UNKNOWN, 1013, 1024, 1033), "overloaded", True),
    1001: ("timeout", True),
    **verdicts((1002, 1039, 1041, 2045), "rate_limited", True),
    **verdicts((1004, 2049, 2061), "auth"),
    **verdicts((1008, 1028, 1030, 2056), "quota"),
    **verdicts((1026, 1027), "refused"),
    1042: ("bad_request", False),
}
"""1039 is a limit of tokens per minute, 2056 one of five hours, 2061 a plan without
the model. 2013 is a request that is invalid or exceeds the window, as its message says."""


def minimax_error(status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData:
    """Return the error of a non-2xx response."""
    if (base := _base_resp(body)) is not None:
        document = {"error": {"message": f"{base.status_msg} ({base.status_code})"}}
        body = encode(document)
    number = _number(describe(body)[0])
    # For an unknown error the HTTP status is more precise.
    verdict = None if number == UNKNOWN else CODES.get(number)
    return judged(http_error(status, headers, body, where=where), verdict, headers)


def minimax_stream_error(error: Any, *, where: str) -> ErrorData:
    """Return the error of an `error` object inside a 200 response."""
    text = describe(encode({"error": error}))[0]
    return judged(stream_error(error, where=where), _known(_number(text), text))


def base_error(base: BaseResp, *, where: str) -> ErrorData:
    message = f"{where} refused: {base.status_msg or 'no explanation'} ({base.status_code})"
    code, retryable = _known(base.status_code, base.status_msg) or classify(500, base.status_msg)
    return ErrorData(code, message[:MAX_MESSAGE], retryable)


def _number(text: str) -> int:
    number = _NUMBER.search(text)
    return int(number[1]) if number else 0


def _known(number: int, text: str) -> Verdict | None:
    return classify(400, text) if number == 2013 else CODES.get(number)


def _base_resp(body: bytes) -> BaseResp | None:
    try:
        return _decoder.decode(body).base_resp
    except (ValueError, RecursionError):
        return None
