"""Roost's own format: a header, a line for each event as it is stored, a line for each checkpoint.

    {"roost":"session","version":1,"format":4,"id":"ses_…","agent":"clerk",…,"events":3,"checkpoints":1}
    {"seq":1,"event":{"type":"session.created",…}}
    {"seq":2,"event":{…}}
    {"seq":3,"event":{…}}
    {"checkpoint":{"seq":2,"label":"before","made_at":1.5,"cause":"manual"}}

A field may be added; a reader leaves out those that it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from roost.errors import Invalid, UnknownEvent
from roost.features.exchange.json_lines import decoded, mapping, raw_lines
from roost.features.exchange.line_errors import wrong_line
from roost.log import events as ev

VERSION = 1
CHECKPOINTS = 256
"""Most checkpoints in a file: each is stored as a whole state."""
_HEADER = 'the header of a session, {"roost":"session","version":1,"id":...,"agent":...,"events":...}'
_EVENT = 'an event, {"seq":3,"event":{"type":...,"at":...}}'
_CHECKPOINT = 'a checkpoint, {"checkpoint":{"seq":3,"label":...,"made_at":...,"cause":...}}'


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """`format`: the newest kind of event that may follow. Times are wall clock, seconds since 1970."""

    roost: Literal["session"] = "session"
    version: int = VERSION
    format: int = ev.FORMAT
    id: str
    agent: str
    created_at: float
    exported_at: float
    title: str | None = None
    labels: dict[str, str] = {}
    events: int
    checkpoints: int = 0


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint. Its files and its memory are not in the file."""

    seq: int
    label: str | None = None
    made_at: float
    cause: str


class _Logged(msgspec.Struct, forbid_unknown_fields=True):
    seq: int
    event: msgspec.Raw


class _Marked(msgspec.Struct, forbid_unknown_fields=True):
    checkpoint: Mark


_header = msgspec.json.Decoder(Header)
_logged = msgspec.json.Decoder(_Logged)
_marked = msgspec.json.Decoder(_Marked)
_encode = msgspec.json.Encoder().encode


def header_line(header: Header) -> bytes:
    return _encode(header) + b"\n"


def event_line(seq: int, body: bytes) -> bytes:
    return b'{"seq":%d,"event":%b}\n' % (seq, body)


def mark_line(mark: Mark) -> bytes:
    return _encode({"checkpoint": mark}) + b"\n"


def is_own(line: bytes) -> bool:
    return line.startswith(b"{") and b'"roost"' in line[:200] and b'"session"' in line[:200]


def header_of(path: Path) -> Header:
    """Read the header. Raises `Invalid`, also for a file of a newer Roost."""
    number, line, whole = next(raw_lines(path), (1, b"", True))
    try:
        header = _header.decode(line)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise wrong_line(number, line, error, expected=_HEADER, whole=whole) from None
    if header.version > VERSION or header.format > ev.FORMAT:
        raise Invalid(
            f"line 1: a newer Roost wrote this (version {header.version}, format {header.format}; this one reads up to"
            f" {VERSION} and {ev.FORMAT}): update, then import it",
            code="newer_format",
        )
    return header


def events_of(path: Path) -> Iterator[tuple[int, ev.Event]]:
    """Yield (line, event), each checked: they are numbered from 1 without gaps, and begin with the only
    `session.created`. Raises `Invalid` with the line's number, and `TooLarge`."""
    header, seq = header_of(path), 0
    for number, line, whole in _after_header(path):
        if line.startswith(b'{"checkpoint"'):
            break
        try:
            logged = _logged.decode(line)
            event = ev.decode_event(bytes(logged.event))
        except (msgspec.MsgspecError, RecursionError) as error:
            raise wrong_line(number, line, error, expected=_EVENT, whole=whole) from None
        except UnknownEvent as error:
            raise _wrong_event(number, line, error) from None
        seq += 1
        if logged.seq != seq:
            raise Invalid(f"line {number} is event {logged.seq}, where event {seq} follows", code="bad_line")
        if isinstance(event, ev.SessionCreated) != (seq == 1):
            raise Invalid(f"line {number}: `session.created` is the first event, and no other", code="bad_line")
        yield number, event
    if seq != header.events or not seq:
        raise Invalid(f"the file has {seq} events, and its header says {header.events}: it is cut off", code="cut_off")


def marks_of(path: Path) -> list[Mark]:
    """Read the checkpoints. Raises `Invalid` with the line's number."""
    header, marks = header_of(path), list[Mark]()
    for number, line, whole in _after_header(path):
        if not line.startswith(b'{"checkpoint"'):
            if marks:
                raise Invalid(f"line {number}: nothing follows the checkpoints but more of them", code="bad_line")
            continue
        try:
            mark = _marked.decode(line).checkpoint
        except (msgspec.MsgspecError, RecursionError) as error:
            raise wrong_line(number, line, error, expected=_CHECKPOINT, whole=whole) from None
        if not 1 <= mark.seq <= header.events or len(marks) == CHECKPOINTS:
            raise Invalid(
                f"line {number}: a checkpoint is of an event of the file, and there are {CHECKPOINTS} at most",
                code="bad_line",
            )
        marks.append(mark)
    if len(marks) != header.checkpoints:
        raise Invalid(
            f"the file has {len(marks)} checkpoints, and its header says {header.checkpoints}: it is cut off",
            code="cut_off",
        )
    return marks


def _wrong_event(number: int, line: bytes, error: UnknownEvent) -> Invalid:
    """Make the error for an event of an unknown kind, or with a missing field."""
    cause = error.__cause__ if isinstance(error.__cause__, msgspec.MsgspecError) else error
    try:
        kind = mapping(decoded(line).get("event")).get("type")
    except (ValueError, RecursionError) as mistake:
        return wrong_line(number, line, mistake, expected=_EVENT)
    if not isinstance(kind, str):
        return wrong_line(number, line, cause, expected=_EVENT)
    if any(kind == ev.event_type(one) for one in ev.event_types()):
        return wrong_line(number, line, cause, expected=f"the event {kind!r} as the API has it (/openapi.json)")
    return Invalid(
        f"line {number} is an event of the kind {kind[:80]!r}, which this Roost does not know: if a newer one wrote it,"
        " update, then import it",
        code="bad_line",
    )


def _after_header(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    lines = raw_lines(path)
    next(lines, None)
    return lines
