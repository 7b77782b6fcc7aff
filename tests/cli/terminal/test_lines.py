"""Widths and wrapping."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.cli.terminal.lines import Span, clusters, cut, cut_rows, drawn, line_width, plain, text_of, width, wrap


@pytest.mark.parametrize(
    ("text", "wide"),
    [("abc", 3), ("日本", 4), ("e\u0301", 1), ("👍", 2), ("", 0), ("한글", 4), ("ｱ", 1), ("→", 1), ("\u200b", 0)],
)
def test_width(text: str, wide: int) -> None:
    assert width(text) == wide


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("abc", ["a", "b", "c"]),
        ("e\u0301a", ["e\u0301", "a"]),
        ("👩\u200d👩\u200d👧!", ["👩\u200d👩\u200d👧", "!"]),
        ("🇩🇪🇫🇷", ["🇩🇪", "🇫🇷"]),
        ("❤\ufe0fx", ["❤\ufe0f", "x"]),
        ("👍🏽", ["👍🏽"]),
    ],
)
def test_clusters(text: str, wanted: list[str]) -> None:
    assert list(clusters(text)) == wanted


def test_words_wrap_whole_and_styles_stay_with_their_words() -> None:
    rows = wrap((Span("one two "), Span("three", "1"), Span("four five")), 12)
    assert [text_of(row) for row in rows] == ["one two", "threefour", "five"]
    assert rows[1][0] == Span("three", "1")


def test_a_hanging_indent_begins_every_row_but_the_first() -> None:
    rows = wrap((Span("- one two three four"),), 11, hang=(Span("  "),))
    assert [text_of(row) for row in rows] == ["- one two", "  three", "  four"]


def test_a_word_wider_than_a_row_is_cut() -> None:
    assert [text_of(row) for row in wrap((Span("x" * 25),), 10)] == ["x" * 10, "x" * 10, "x" * 5]
    assert [text_of(row) for row in wrap((Span("a" + "日" * 6),), 5)] == ["a日日", "日日", "日日"]


_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=80)


@given(_TEXT, st.integers(4, 30))
def test_no_row_is_wider_than_asked_and_no_word_is_lost(text: str, columns: int) -> None:
    rows = wrap((Span(text),), columns)
    for row in rows:
        clump = max((width(cluster) for cluster in clusters(text_of(row))), default=0)
        assert line_width(row) <= max(columns, clump)
    assert "".join(text_of(row) for row in rows).replace(" ", "") == text.replace(" ", "")


@given(_TEXT, st.integers(4, 30))
def test_code_keeps_its_spaces(text: str, columns: int) -> None:
    assert "".join(text_of(row) for row in cut_rows((Span(text),), columns)) == text


@given(_TEXT, st.integers(2, 30))
def test_a_cut_line_fits(text: str, columns: int) -> None:
    assert line_width(cut((Span(text),), columns)) <= columns


def test_text_from_outside_moves_no_cursor() -> None:
    line = plain("a\x1b[2Jb\x07\tc\nd\u202ee")
    assert "\x1b" not in drawn(line, colour=False)
    assert text_of(line) == "ab    c ⏎ de"
