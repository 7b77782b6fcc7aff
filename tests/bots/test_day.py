"""A day's conversation through Telegram's test double, with a restart every ten messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from roost.doors.bots.rich_text import rich_of
from roost.testing.telegram import TelegramServer
from tests.bots.conftest import echo
from tests.bots.day import DAY, Replay, Said

_APART = 10


def test_the_morning(bot: Any, serve: Any, telegram: TelegramServer) -> None:
    """The first messages of the day, with daemons that are stopped in the middle of it."""
    _replayed(DAY[:30], telegram, serve, bot(echo, 'allow = ["*"]\nstream = false'))


@pytest.mark.soak
def test_the_whole_day(bot: Any, serve: Any, telegram: TelegramServer) -> None:
    _replayed(DAY, telegram, serve, bot(echo, 'allow = ["*"]'))


def _replayed(day: Sequence[Said], telegram: TelegramServer, serve: Any, served: Any) -> None:
    replay, agents = Replay(telegram), served.agents
    for number, said in enumerate(day, 1):
        replay.say(said)
        if number % _APART == 0:
            served.stop()
            served = serve(agents=agents, home=served.home)
    _check(replay, telegram, served.get)


def _check(replay: Replay, telegram: TelegramServer, get: Callable[[str], Any]) -> None:
    """Each message is one input of its conversation, in order, and each is answered, in order."""
    telegram.until(lambda: telegram.waiting == 0)
    for place, wanted in replay.wanted.items():
        telegram.until(lambda place=place, wanted=wanted: len(_answers(telegram, place[0], wanted)) >= len(wanted), 120)
        answers = [*dict.fromkeys(_answers(telegram, place[0], wanted))]
        assert len(answers) == len(wanted)
        assert all(_fits(one, want) for one, want in zip(answers, wanted, strict=True)), "in order"
    sessions = sorted(get("/sessions?limit=200")["sessions"], key=lambda one: one["id"])
    taken: dict[tuple[int, int], list[str]] = {}
    for chat in get("/bots/pigeon/chats")["chats"]:
        own = [one["id"] for one in sessions if one["title"] == f"telegram: {chat['title']}"]
        for number, session in enumerate(own):
            events = [record["event"] for record in get(f"/sessions/{session}/events?limit=1000")["events"]]
            said = [event["parts"][0]["text"].strip() for event in events if event["type"] == "input.received"]
            taken[int(chat["address"]), number] = said
    for place, wanted in replay.wanted.items():
        assert len(taken[place]) == len(wanted), place
        assert all(one.startswith(want) for one, want in zip(taken[place], wanted, strict=True)), place


def _fits(answer: str, wanted: str) -> bool:
    """Whether an answer begins as it should; a long one is cut into several."""
    shown = rich_of(f"You said: {wanted}").text
    return answer.startswith(shown) or (len(answer) > 4000 and shown.startswith(answer))


def _answers(telegram: TelegramServer, chat: int, wanted: Sequence[str]) -> list[str]:
    """Return the answers to these messages, without the bot's own words and those of other conversations."""
    return [one for one in telegram.texts(chat) if any(_fits(one, want) for want in wanted)]
