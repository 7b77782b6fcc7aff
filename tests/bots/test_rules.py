"""What needs no daemon: Markdown, its pieces, quiet hours, and the file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.doors.bots.platform import Outgoing
from roost.doors.bots.questions import fenced
from roost.doors.bots.rich_text import Rich, rich_of, split, utf16
from roost.doors.bots.telegram.platform import _content  # pyright: ignore[reportPrivateUsage]
from roost.errors import ConfigError
from roost.features.bots.bots_file import Bot, added, bots_of
from roost.features.bots.post import quiet_left
from roost.providers.toml_file import parsed
from roost.testing.telegram import check_content

MARKUP = st.text(alphabet="ab \n*_`~[]()#>-\\<&😀:/.h")


@given(st.one_of(MARKUP, st.text()), st.integers(5, 60))
def test_any_text_is_a_message_that_telegram_takes(text: str, most: int) -> None:
    pieces = split(rich_of(text.encode(errors="replace").decode()), most)
    for piece in pieces:
        assert utf16(piece.text) <= most
        if piece.text.strip():
            check_content({name: value for name, value in _content(Outgoing(piece)).items() if value is not None})


@given(MARKUP)
def test_no_text_leaves_its_block(text: str) -> None:
    rich = rich_of(fenced(text))
    outside = [one for one in rich.spans if one.kind != "pre"]
    assert outside == []


def test_styles() -> None:
    rich = rich_of("# A *b*\n\n**bold** _it_ ~~no~~ `x*y*` [shown](https://a.b/c) [bad](javascript:x)\n- one\n> said")
    assert [(one.kind, rich.text[one.start : one.end]) for one in rich.spans] == [
        ("bold", "A b"),
        ("italic", "b"),
        ("bold", "bold"),
        ("italic", "it"),
        ("strike", "no"),
        ("code", "x*y*"),
        ("link", "shown"),
        ("quote", "said"),
    ]
    assert "[bad](javascript:x)" in rich.text
    assert "• one" in rich.text


def test_pieces_end_at_sensible_places() -> None:
    text = "One sentence. Another one.\n\nA paragraph."
    assert [one.text for one in split(Rich(text), 30)] == ["One sentence. Another one.", "A paragraph."]
    assert [one.text for one in split(Rich(text), 20)] == ["One sentence.", "Another one.", "A paragraph."]
    assert [one.text for one in split(Rich("x" * 25), 10)] == ["x" * 10, "x" * 10, "x" * 5]


@pytest.mark.parametrize(
    ("quiet", "at", "hours"),
    [("22:00-07:00", 23, 8), ("22:00-07:00", 6, 1), ("22:00-07:00", 12, 0), ("12:00-14:00", 13, 1), ("", 3, 0)],
)
def test_quiet_hours(quiet: str, at: int, hours: int) -> None:
    bot = Bot(name="a", platform="telegram", quiet=quiet)
    assert quiet_left(bot, datetime(2026, 3, 4, at, tzinfo=UTC).timestamp()) == hours * 3600


def _bots(text: str) -> dict[str, Bot]:
    return bots_of(parsed(Path("bots.toml"), text.encode(), 10_000))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[bots.A]\nplatform = 'x'", "small letters"),
        ("[bots.a]\nagent = 'x'", "platform"),
        ("[bots.a]\nplatform = 'telegram'\ntoken = '123:abc'", "name a secret"),
        ("[bots.a]\nplatform = 'telegram'\nquiet = 'at night'", "quiet"),
        ("[bots.a]\nplatform = 'telegram'\nquiet = '22:00-07:00'\nzone = 'Mars'", "time zone"),
        ("[bot.a]\nplatform = 'telegram'", r"\[bots.NAME\]"),
    ],
)
def test_a_fault_of_the_file_is_named(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        _bots(text)


def test_a_bot_is_added_once() -> None:
    bot = Bot(name="a", platform="telegram", token="{{secret:t}}", allow=("7",), options={"api": "http://x"})
    text = added("# mine\n", bot)
    assert _bots(text) == {"a": bot}
    with pytest.raises(ConfigError, match="already"):
        added(text, bot)
