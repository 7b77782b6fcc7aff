"""Read requests of the Managed Agents API, and write what all its answers share: times, pages, metadata."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope

from roost.doors.anthropic.errors import request_id
from roost.doors.requested import Answered
from roost.errors import Invalid
from roost.log.records import Page, R, Records
from roost.server.request_body import decode_body, has_body, header, read_body
from roost.server.responses import Reply, json
from roost.server.validation_messages import said

T = TypeVar("T")
BODY_BYTES = 32 * 1024 * 1024
"""Most bytes of a request: messages may hold images and documents."""
_PAIRS, _KEY, _VALUE = 16, 64, 512
_LIMIT, _MOST = 20, 100
_AGAIN_SECONDS = 600.0
_LARGE = 1_000_000
"""Bytes of a request that is read beside the event loop."""

Metadata = dict[str, str]
MetadataPatch = dict[str, str | None]


class Asking(msgspec.Struct, forbid_unknown_fields=True):
    """Base of request bodies: an unknown field is refused, since nobody would do what it asks for."""


class Query:
    """The query of a request. `given` is for options that the route knows; an unknown one is refused."""

    def __init__(self, scope: Scope, known: Iterable[str]) -> None:
        self._given: dict[str, list[str]] = {}
        for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
            self._given.setdefault(name.removesuffix("[]"), []).append(value)
        if unknown := self._given.keys() - {*known, "beta"}:
            raise Invalid(f"{sorted(unknown)[0][:64]}: there is no such option here")

    def text(self, name: str, default: str = "") -> str:
        return self._given.get(name, [default])[-1]

    def many(self, name: str) -> list[str]:
        return self._given.get(name, [])

    def number(self, name: str, default: int, most: int, least: int = 1) -> int:
        given = self.text(name, str(default))
        if not (given.isascii() and given.isdigit() and len(given) < 10 and least <= int(given) <= most):
            raise Invalid(f"{name}: give a number from {least} to {most}, not {given[:20]!r}")
        return int(given)

    def flag(self, name: str) -> bool:
        given = self.text(name, "false")
        if given not in ("true", "false"):
            raise Invalid(f"{name}: true or false, not {given[:20]!r}")
        return given == "true"

    def one_of(self, name: str, *allowed: str) -> str:
        """Return a value of `allowed`, or empty."""
        given = self.text(name)
        if given and given not in allowed:
            raise Invalid(f"{name}: one of {', '.join(allowed)}, not {given[:64]!r}")
        return given

    def span(self, name: str) -> tuple[float, float]:
        """Return the earliest and the latest time that can pass the test of `times`."""
        given = {way: self.text(f"{name}[{way}]") for way in _COMPARE}
        limits = {way: seconds_of(text, f"{name}[{way}]") for way, text in given.items() if text}
        since = [limit for way, limit in limits.items() if way in ("gt", "gte")]
        until = [limit for way, limit in limits.items() if way in ("lt", "lte")]
        return max(since, default=float("-inf")), min(until, default=float("inf"))

    def times(self, name: str) -> Callable[[float], bool]:
        """Return a test for times by the options NAME[gt], NAME[gte], NAME[lt] and NAME[lte]."""
        given = {way: self.text(f"{name}[{way}]") for way in _COMPARE}
        tests = [(way, seconds_of(text, f"{name}[{way}]")) for way, text in given.items() if text]
        return lambda at: all(_COMPARE[way](at, limit) for way, limit in tests)


_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "gt": lambda at, limit: at > limit,
    "gte": lambda at, limit: at >= limit,
    "lt": lambda at, limit: at < limit,
    "lte": lambda at, limit: at <= limit,
}
TIMES = tuple(f"created_at[{way}]" for way in _COMPARE)


class Cursor(NamedTuple):
    """A place in a list: the id that a page begins behind, or with `back` ends before."""

    id: str = ""
    back: bool = False


def cursor_of(query: Query) -> Cursor:
    if not (page := query.text("page")):
        return Cursor()
    way, _, id = opened(page).partition(":")
    if way not in ("next", "prev") or not id:
        raise Invalid("page: give the next_page of an earlier answer")
    return Cursor(id, way == "prev")


def opened(page: str) -> str:
    """Return what `sealed` made into a cursor. Raises `Invalid`."""
    try:
        return base64.urlsafe_b64decode(page.removeprefix("page_").encode() + b"==").decode()
    except (binascii.Error, ValueError):
        raise Invalid("page: give the next_page of an earlier answer") from None


def sealed(place: str) -> str:
    return "page_" + base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


async def page_of(
    records: Records[R],
    query: Query,
    show: Callable[[R], dict[str, Any]],
    *,
    owner: str | None,
    key: tuple[str, str] | None = None,
    fits: Callable[[R], bool] = lambda _: True,
    most: int = _MOST,
) -> Reply:
    """Answer with a page of records, by the options `limit`, `page`, `include_archived` and `created_at`."""
    archived, times = query.flag("include_archived"), query.times("created_at")
    cursor = cursor_of(query)
    page = await records.page(
        owner=owner,
        key=key,
        fits=lambda one: (archived or one.archived is None) and times(one.created) and fits(one),
        cursor=cursor.id,
        back=cursor.back,
        newest=query.one_of("order", "asc", "desc") != "asc",
        limit=query.number("limit", _LIMIT, most),
    )
    return listed([show(one) for one in page.found], page, lambda one: one.id)


def listed(data: list[dict[str, Any]], page: Page[Any], id: Callable[[Any], str]) -> Reply:
    found = page.found
    after = sealed(f"next:{id(found[-1])}") if found and page.after else None
    before = sealed(f"prev:{id(found[0])}") if found and page.before else None
    return answer({"data": data, "next_page": after, "prev_page": before})


def answer(value: Any, status: int = 200) -> Reply:
    return json(status, value, headers=[request_id()])


async def body_of(scope: Scope, receive: Receive, decoder: msgspec.json.Decoder[T]) -> T:
    """Read a body. A request without one is an empty object. Raises `RoostError`."""
    if not has_body(scope):
        try:
            return decoder.decode(b"{}")
        except msgspec.ValidationError as error:
            raise Invalid(said(error, "the body")) from None
    data = await read_body(scope, receive, limit=BODY_BYTES)
    if len(data) > _LARGE:
        return await asyncio.to_thread(decode_body, scope, data, decoder)
    return decode_body(scope, data, decoder)


def repeated(scope: Scope) -> bool:
    """Whether the client's library sends the request again because it saw no answer."""
    return (header(scope, b"x-stainless-retry-count") or "0") != "0"


async def made_by(records: Records[R], owner: str | None, request: str, answered: Answered) -> R | None:
    """Return the newest record that a request made whose answer may be lost. request: its digest, a key of the
    records. owner: who sends it; None is the home."""
    since = time.time() - _AGAIN_SECONDS
    page = await records.page(
        owner=owner or "",
        key=("request", request),
        fits=lambda one: one.created > since and answered.may_be_lost(one.id),
        limit=1,
    )
    return page.found[0] if page.found else None


def stamp(seconds: float) -> str:
    at = datetime.fromtimestamp(seconds, UTC)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def maybe_stamp(seconds: float | None) -> str | None:
    return None if seconds is None else stamp(seconds)


def seconds_of(given: str, name: str) -> float:
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise Invalid(f"{name}: give a time such as 2026-11-23T10:00:00Z, not {given[:40]!r}") from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def metadata_of(given: Mapping[str, str] | None) -> Metadata:
    """Check metadata. Raises `Invalid`."""
    found = dict(given or {})
    if len(found) > _PAIRS:
        raise Invalid(f"metadata: at most {_PAIRS} pairs, not {len(found)}")
    for key, value in found.items():
        if not 1 <= len(key) <= _KEY or len(value) > _VALUE:
            raise Invalid(f"metadata: a key has 1 to {_KEY} characters and a value at most {_VALUE}: {key[:_KEY]!r}")
    return found


def patched(metadata: Metadata, patch: MetadataPatch | msgspec.UnsetType | None) -> Metadata:
    """Apply a change of metadata: a key with null is removed, others stay; null for all removes all."""
    if patch is msgspec.UNSET:
        return metadata
    if patch is None:
        return {}
    both = {**metadata, **patch}
    return metadata_of({key: value for key, value in both.items() if value is not None})


def text_within(value: str, name: str, most: int, least: int = 1) -> str:
    """Check the length of a text. Raises `Invalid`."""
    if not least <= len(value) <= most:
        raise Invalid(f"{name}: between {least} and {most} characters, not {len(value)}")
    return value
