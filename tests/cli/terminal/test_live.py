"""The renderer, against an emulator: what is committed stands in the scrollback exactly once."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("pyte", reason="the terminal emulator of the tests is not installed")

from roost.cli.terminal.layout import footer
from roost.cli.terminal.lines import Line, Span, line_width, text_of, wrap
from roost.cli.terminal.live import Live
from tests.harness.emulator import Emulator

SIZES = [(100, 30), (60, 20), (20, 5), (40, 12), (110, 40)]


def lines(*texts: str) -> list[Line]:
    return [(Span(text),) for text in texts]


def live_on(emulator: Emulator, **more: bool) -> Live:
    return Live(
        lambda text: emulator.feed(text.encode()),
        columns=emulator.screen.columns,
        rows=emulator.screen.lines,
        reflows=False,
        **more,
    )


def test_a_frame_draws_what_is_live_below_what_is_committed() -> None:
    emulator = Emulator(40, 8)
    emulator.feed(b"$ roost\r\n")
    live = live_on(emulator)
    live.frame(lines("> ", "footer"), cursor=(0, "> "))
    assert emulator.shown[:3] == ["$ roost", ">", "footer"]
    assert emulator.cursor == (1, 2)
    live.frame(lines("> hello", "footer"), cursor=(0, "> he"))
    assert emulator.cursor == (1, 4)
    live.frame(lines("> ", "footer"), commit=lines("one", "two"), cursor=(0, "> "))
    assert emulator.shown[:5] == ["$ roost", "one", "two", ">", "footer"]


def test_nothing_is_written_when_nothing_changed() -> None:
    written: list[str] = []
    live = Live(written.append, columns=40, rows=10)
    live.frame(lines("> a", "footer"), cursor=(0, "> a"))
    before = len(written)
    live.frame(lines("> a", "footer"), cursor=(0, "> a"))
    assert len(written) == before


def test_only_changed_rows_are_written() -> None:
    written: list[str] = []
    live = Live(written.append, columns=80, rows=24)
    live.frame(lines("one row", "> a", "footer"), cursor=(1, "> a"))
    live.frame(lines("one row", "> ab", "footer"), cursor=(1, "> ab"))
    assert "> ab" in written[-1]
    assert "one row" not in written[-1]
    assert "footer" not in written[-1]


def test_no_screen_or_scrollback_is_ever_erased_whole() -> None:
    written: list[str] = []
    live = Live(written.append, columns=30, rows=6)
    for number in range(30):
        live.frame(lines(*(f"row {at}" for at in range(number % 9 + 1))), commit=lines(f"line {number}"))
        live.resize(20 + number, 5 + number % 3)
    text = "".join(written)
    assert not any(code in text for code in ("\x1b[2J", "\x1b[3J", "\x1b[H", "?1049"))


@pytest.mark.parametrize("seed", range(20))
def test_every_committed_line_stands_once_whatever_the_sizes(seed: int) -> None:
    chance = random.Random(seed)
    emulator = Emulator(*SIZES[seed % len(SIZES)])
    emulator.feed(b"earlier\r\n")
    live = live_on(emulator)
    for number in range(60):
        wide = f"<{number:02}> " + "words " * chance.randrange(2)
        rows = wrap((Span(wide.strip()),), live.width)
        live.frame(
            lines("open line " * chance.randrange(3), *(f"row{at}" for at in range(chance.randrange(4))), "> draft"),
            commit=rows,
        )
        if chance.random() < 0.2:
            size = chance.choice(SIZES)
            emulator.resize(*size)
            live.resize(*size)
            live.frame(lines("> draft"))
    shown = [line[1:3] for line in emulator.lines if line.startswith("<")]
    assert shown == [f"{number:02}" for number in range(60)]
    assert emulator.lines[0] == "earlier"[: len(emulator.lines[0]) or None]
    assert emulator.shown[[bool(row) for row in emulator.shown].index(True) :]
    assert [row for row in emulator.shown if row][-1] == "> draft"


def test_a_live_area_higher_than_the_screen_shows_its_end() -> None:
    emulator = Emulator(40, 6)
    live = live_on(emulator)
    live.frame(lines(*(f"row {at}" for at in range(50)), "> here"), cursor=(50, "> here"))
    assert emulator.history == []
    assert [row for row in emulator.shown if row][-1] == "> here"
    assert emulator.cursor[1] == len("> here")


def test_wide_characters_never_reach_the_last_column() -> None:
    emulator = Emulator(20, 6)
    live = live_on(emulator)
    text = "日本語のテキストはここで折り返す 👩‍👩‍👧 ❤️ é fine"
    live.frame(lines("> "), commit=wrap((Span(text),), live.width))
    rows = [row for row in emulator.shown if row]
    assert "".join(rows).replace(" ", "").replace("\u200d", "").startswith("日本語のテキストはここで折り返す")
    assert rows[-1] == ">"


def test_without_colour_no_style_is_written() -> None:
    written: list[str] = []
    live = Live(written.append, columns=40, rows=10, colour=False)
    live.frame([(Span("red", "31"), Span(" and bold", "1"))], cursor=(0, "red"))
    assert "red and bold" in written[0]
    assert "m" not in written[0].replace("red and bold", "")


def test_clearing_gives_its_place_to_other_programs() -> None:
    emulator = Emulator(40, 8)
    live = live_on(emulator)
    live.frame(lines("> draft", "footer"), commit=lines("said"), cursor=(0, "> draft"))
    live.clear()
    emulator.feed(b"$ ls\r\n")
    live.frame(lines("> draft", "footer"), cursor=(0, "> draft"))
    assert emulator.shown[:4] == ["said", "$ ls", "> draft", "footer"]


def test_a_long_name_of_a_model_is_cut_and_never_left_out() -> None:
    row = footer(["openrouter/anthropic/claude-sonnet-5.5", "12 tokens"], "k3f9x2ab", 30)
    assert text_of(row) == "openrouter/anthropi…  k3f9x2ab"
    assert line_width(row) == 30
