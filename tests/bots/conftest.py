"""Bots of a real daemon, at the test double of their platform."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent
from roost.testing.scripted import ScriptedModel
from roost.testing.telegram import TelegramServer
from tests.server.conftest import Served, serve, wait

__all__ = ["serve", "wait"]
BOT = """
[bots.pigeon]
platform = "telegram"
agent = "{agent}"
token = "{{{{secret:telegram}}}}"
api = "{url}"
poll_seconds = 5
pace_seconds = 0
edit_seconds = 0.05
{more}
"""
POLICY = '[secrets.telegram]\nfrom = "env:TELEGRAM_TOKEN"\n'


@pytest.fixture
def telegram(monkeypatch: pytest.MonkeyPatch) -> Iterator[TelegramServer]:
    with TelegramServer(burst=1000) as found:
        monkeypatch.setenv("TELEGRAM_TOKEN", found.token)
        yield found


def write_bot(home: Path, telegram: TelegramServer, agent: str, more: str = 'allow = ["7"]') -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "policy.toml").write_text(POLICY)
    (home / "bots.toml").write_text(BOT.format(agent=agent, url=telegram.url, more=more))


def echo(request: Any) -> Any:
    from roost.testing.scripted import Answer

    said = request.messages[-1].parts[0].text
    return Answer(text=f"You said: {said}")


@pytest.fixture
def bot(serve: Any, telegram: TelegramServer, tmp_path: Path) -> Callable[..., Served]:
    """Serve an agent with a bot."""

    def make(model: Any = echo, more: str = 'allow = ["7"]', profile: Any = None, **options: Any) -> Served:
        home = tmp_path / "home"
        write_bot(home, telegram, "clerk", more)
        agent = Agent("clerk", model=ScriptedModel(model, profile=profile), **options)
        served = serve(agents=[agent], home=home)
        served.agents = [agent]
        return served

    return make
