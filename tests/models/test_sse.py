from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.models.http import HttpOversized
from roost.models.sse import SSEEvent, SSEParser

STREAM = (
    "\ufeff: hello\n\n"
    'data: {"a": "é😀"}\n\n'
    "event: note\ndata: one\ndata: two\nid: 7\nretry: 10\n\n"
    "data:no space\n\n"
    "data\n\n"
    "unknown: field\n\n"
    "data: [DONE]\n\n"
)
EVENTS = [
    SSEEvent('{"a": "é😀"}'.encode()),
    SSEEvent(b"one\ntwo", b"note"),
    SSEEvent(b"no space"),
    SSEEvent(b""),
    SSEEvent(b"[DONE]"),
]


def parse(pieces: list[bytes]) -> list[SSEEvent]:
    parser = SSEParser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.finish()


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@given(cuts=st.lists(st.integers(0, 220), max_size=30))
def test_any_split_gives_the_same_events(ending: str, cuts: list[int]) -> None:
    data = STREAM.replace("\n", ending).encode()
    edges = [0, *sorted(cuts), len(data)]
    assert parse([data[a:b] for a, b in itertools.pairwise(edges)]) == EVENTS


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_byte_by_byte(ending: str) -> None:
    data = STREAM.replace("\n", ending).encode()
    assert parse([data[at : at + 1] for at in range(len(data))]) == EVENTS


def test_events_come_as_soon_as_they_are_whole() -> None:
    parser = SSEParser()
    assert parser.feed(b"data: 1\r\n\r") == [SSEEvent(b"1")]
    assert parser.feed(b"\ndata: 2\n\n") == [SSEEvent(b"2")]


def test_the_last_event_may_lack_its_blank_line() -> None:
    parser = SSEParser()
    assert parser.feed(b"data: [DONE]") == []
    assert parser.finish() == [SSEEvent(b"[DONE]")]
    assert SSEParser().finish() == []


@pytest.mark.parametrize("line", [b"x" * 100, b"data: y\n" * 20])
def test_one_event_is_capped(line: bytes) -> None:
    parser = SSEParser(max_event=1000)
    assert parser.feed(line) == []
    with pytest.raises(HttpOversized, match="1000 bytes"):
        parser.feed(line * 60)


def test_many_small_events_are_not_capped() -> None:
    parser = SSEParser(max_event=1000)
    assert sum(len(parser.feed(b"data: " + b"z" * 400 + b"\n\n")) for _ in range(50)) == 50


def test_a_cap_holds_for_a_long_line_in_pieces_up_to_the_cap() -> None:
    parser = SSEParser(max_event=1000)
    assert parser.feed(b"data: " + b"z" * 500) == []
    assert parser.feed(b"z" * 400 + b"\n\n") == [SSEEvent(b"z" * 900)]


LINES = st.sampled_from(
    ["", "", "data: 1", "data:2", "data", "event: a", "event: ", "event:b", ": hm", "data: x: y", "id: 1"]
)


@given(st.lists(LINES, max_size=30), st.lists(st.integers(0, 200), max_size=4))
def test_whole_events_at_once_are_what_they_are_byte_by_byte(lines: list[str], cuts: list[int]) -> None:
    data = "\n".join(lines).encode()
    edges = [0, *sorted(cuts), len(data)]
    assert parse([data[a:b] for a, b in itertools.pairwise(edges)]) == parse(
        [data[at : at + 1] for at in range(len(data))]
    )
