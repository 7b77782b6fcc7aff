"""GLM's error responses, by its own error numbers.

From docs.z.ai and docs.bigmodel.cn (Errors), read in November 2026. Only the message says when a limit ends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from roost.log.content import ErrorData
from roost.models.wire_body import encode
from roost.models.wires.errors import Verdict, classify, describe, http_error, judged, stream_error, verdicts

_NUMBER = re.compile(r"\b1\d{3}\b")


CODES: dict[int, Verdict] = {
    **verdicts((1000, 1001, 1002, 1003, 1004, 1005, 1110, 1111, 1112, 1121, 1220, 1311, 1315), "auth"),
    **verdicts((1113, 1304, 1308, 1309, 1310, 1313, 1314, *range(1316, 1322)), "quota"),
    1261: ("context_overflow", False),
    **verdicts((1300, 1301), "refused"),
    **verdicts((1302, 1303), "rate_limited", True),
    **verdicts((1120, 1200, 1230, 1234, 1305, 1312), "overloaded", True),
}
"""1113 is an account without money. 1308 to 1321 are plans that are used up or lack
the model; they have status 429 like rate limits, which recover by themselves. 1210 to 1222 are invalid requests, whose
messages say more."""


def glm_error(status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData:
    """Return the error of a non-2xx response."""
    return judged(http_error(status, headers, body, where=where), CODES.get(_number(body)), headers)


def glm_stream_error(error: Any, *, where: str) -> ErrorData:
    """Return the error of an `error` object inside a 200 response."""
    body = encode({"error": error})
    number = _number(body)
    invalid = classify(400, describe(body)[0]) if 1210 <= number < 1230 else None
    return judged(stream_error(error, where=where), CODES.get(number, invalid))


def _number(body: bytes) -> int:
    number = _NUMBER.search(describe(body)[1])
    return int(number[0]) if number else 0
