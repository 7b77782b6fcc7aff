"""Read lines of JSON with their numbers; parse times; read media from data URLs."""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from roost.errors import TooLarge
from roost.features.exchange.conversation_items import LINE_BYTES, Report
from roost.features.exchange.line_errors import wrong_line

OBJECT = "one JSON object a line"
CUT_OFF = "a last line that is cut off"
_DATA_URL = re.compile(r"data:([\w.+/-]+);base64,(.*)", re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def raw_lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Yield (number, line, whether it ends with a line break), except empty lines. Raises `TooLarge` for a line beyond
    `LINE_BYTES`."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LINE_BYTES + 1):
            number += 1
            if len(line) > LINE_BYTES:
                raise TooLarge(f"line {number} has more than {LINE_BYTES} bytes", code="line_too_large")
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if text := line.strip():
                yield number, text, line.endswith(b"\n")


def objects(path: Path, report: Report | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each line as an object. An unfinished last line is counted in the `report`. Raises `Invalid` with the
    number of a line that is no object, and `TooLarge`."""
    for number, line, whole in raw_lines(path):
        try:
            yield number, decoded(line)
        except ValueError as error:
            if whole:
                raise wrong_line(number, line, error, expected=OBJECT) from None
            if report is not None:
                report.leave_out(CUT_OFF)
        except RecursionError as error:
            raise wrong_line(number, line, error, expected=OBJECT) from None


def decoded(line: bytes) -> dict[str, Any]:
    """Parse an object. Raises `ValueError`. Lone surrogates, which UTF-8 cannot express, become question marks."""
    found: Any = json.loads(line, parse_constant=_refuse)
    if not isinstance(found, dict):
        raise ValueError("it is something else")
    if _SURROGATE.search(line):
        found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    return cast("dict[str, Any]", found)


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def encoded(line: dict[str, Any]) -> bytes:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def seconds(stamp: Any, otherwise: float) -> float:
    """Parse an RFC 3339 time to wall time."""
    if isinstance(stamp, str):
        try:
            found = datetime.datetime.fromisoformat(stamp)
        except ValueError:
            return otherwise
        return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()
    return otherwise


def stamp(at: float) -> str:
    """Format wall time as RFC 3339, to the millisecond."""
    moment = datetime.datetime.fromtimestamp(round(at * 1000) / 1000, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def count(value: Any) -> int:
    """Read another program's number of tokens; 0 if invalid."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0


def words(value: Any) -> str:
    return value if isinstance(value, str) else ""


def mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def dicts(value: Any) -> list[dict[str, Any]]:
    found = cast("list[Any]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", one) for one in found if isinstance(one, dict)]


def of_data_url(url: str) -> tuple[str, str] | None:
    """Return the media type and base64 of a `data:` URL; None for another URL or a damaged one."""
    found = _DATA_URL.fullmatch(url)
    if found is None or not is_base64(found[2]):
        return None
    return found[1], found[2]


def is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
