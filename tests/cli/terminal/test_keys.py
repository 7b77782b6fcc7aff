"""Bytes of terminals as keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.cli.terminal.keys import Key, KeyParser, Paste, Report


def keys(data: bytes) -> list[object]:
    parser = KeyParser()
    return [*parser.feed(data), *parser.flush()]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\r", "enter"), (b"\n", "ctrl-j"), (b"\x03", "ctrl-c"), (b"\x7f", "backspace"), (b"\t", "tab"),
        (b"\x1b[A", "up"), (b"\x1bOB", "down"), (b"\x1b[1;5C", "ctrl-right"), (b"\x1b[3~", "delete"),
        (b"\x1b[Z", "shift-tab"), (b"\x1b", "escape"), (b"\x1b\r", "alt-enter"), (b"\x1bb", "alt-b"),
        (b"\x1b[13;2u", "shift-enter"), (b"\x1b[27;2;13~", "shift-enter"), (b"\x1b[99;5u", "ctrl-c"),
        (b"\x1b[27u", "escape"), (b"\x1b\x7f", "alt-backspace"), (b"\x1f", "ctrl-_"), (b"\x12", "ctrl-r"),
        (b"\x1b[H", "home"), (b"\x1b[1;3D", "alt-left"), (b"\x1b[112;3u", "alt-p"),
    ],
)  # fmt: skip
def test_a_key(data: bytes, name: str) -> None:
    assert keys(data) == [Key(name)]


def test_text_comes_as_it_was_typed_even_in_pieces() -> None:
    parser = KeyParser()
    found = [event for piece in (b"a\xe6", b"\x97", b"\xa5b") for event in parser.feed(piece)]
    assert "".join(event.text for event in found if isinstance(event, Key)) == "a日b"


def test_a_paste_is_one_event_whatever_it_holds() -> None:
    data = b"x\x1b[200~one\r\ntwo\x03\x1b[A three\x1b[201~y\r"
    assert keys(data) == [Key("text", "x"), Paste("one\ntwo\x03\x1b[A three"), Key("text", "y"), Key("enter")]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_sequences_may_come_in_any_pieces(size: int) -> None:
    data = b"a\x1b[1;5C\x1b[200~p\x1b[20q\n\x1b[201~\x1b[13;2u\x1bOA"
    parser = KeyParser()
    found = [event for at in range(0, len(data), size) for event in parser.feed(data[at : at + size])]
    assert found == [Key("text", "a"), Key("ctrl-right"), Paste("p\x1b[20q\n"), Key("shift-enter"), Key("up")]


def test_answers_of_the_terminal_are_no_keys() -> None:
    found = keys(b"\x1b[?0u\x1b[?62;22c\x1b[12;40R\x1b]11;rgb:00/00/00\x07\x1bP>|tmux 3.3a\x1b\\a")
    assert found == [Report("keyboard", (0,)), Report("c", (62, 22)), Report("position", (12, 40)), Key("text", "a")]


def test_a_released_key_and_keys_without_text_are_nothing() -> None:
    assert keys(b"\x1b[97;1:3u\x1b[57358;1u") == []


@given(st.binary(max_size=200))
def test_no_bytes_stop_it(data: bytes) -> None:
    parser = KeyParser()
    parser.feed(data)
    parser.flush()
    parser.feed(b"\x1b[201~")
    parser.flush()
    last = parser.feed(b"z")[-1]
    assert not isinstance(last, Report)
    assert str(last.text).endswith("z")
