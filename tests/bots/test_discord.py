"""A conversation through Discord's test double and a real daemon."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from roost.agent.definition import Agent
from roost.doors.bots.discord.markdown import MOST, markdown_of
from roost.doors.bots.rich_text import rich_of, split
from roost.log.content import Image
from roost.testing.discord import CHANNEL, ME, DiscordServer
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.tools.function import tool
from tests.bots.conftest import echo
from tests.bots.test_files import PNG
from tests.bots.test_rules import MARKUP
from tests.server.conftest import Served


@pytest.fixture
def discord(monkeypatch: pytest.MonkeyPatch) -> Iterator[DiscordServer]:
    with DiscordServer(interval=0.3) as found:
        monkeypatch.setenv("DISCORD_TOKEN", found.token)
        yield found


@pytest.fixture
def bot(serve: Any, discord: DiscordServer, tmp_path: Path) -> Callable[..., Served]:
    def make(model: Any = echo, **options: Any) -> Served:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        (home / "policy.toml").write_text('[secrets.discord]\nfrom = "env:DISCORD_TOKEN"\n')
        (home / "bots.toml").write_text(
            '[bots.mine]\nplatform = "discord"\nagent = "clerk"\ntoken = "{{secret:discord}}"\n'
            f'api = "{discord.url}"\nallow = ["7"]\npace_seconds = 0\nedit_seconds = 0.05\n'
        )
        served = serve(agents=[Agent("clerk", model=ScriptedModel(model), **options)], home=home)
        discord.until(lambda: discord.commands)
        return served

    return make


def test_a_conversation(bot: Any, discord: DiscordServer) -> None:
    served = bot()
    id = discord.write("Hello <@42> **there**")
    discord.until(lambda: discord.texts() == [r"You said: Hello \@42 **there**"])
    discord.fail(-1, 429)
    discord.write("Again", file=("note.txt", "text/plain; charset=utf-8", b"of a file"))
    discord.until(lambda: len(discord.texts()) == 2 and discord.repeated == 1)
    discord.rewrite(id, "Goodbye")
    discord.until(lambda: discord.texts()[2:] == [r"You said: (corrected) Goodbye"])
    discord.command("cost")
    discord.until(lambda: discord.texts()[3:] and discord.whispers == ["/cost …"])
    assert served.get("/bots")["bots"][0]["title"] == "@roost"
    assert len(served.get("/sessions")["sessions"]) == 1


def test_a_broken_gateway_loses_and_doubles_nothing(bot: Any, discord: DiscordServer) -> None:
    served = bot()
    discord.write("0")
    discord.until(lambda: len(discord.texts()) == 1)
    discord.hang_up()
    discord.write("1")
    discord.until(lambda: discord.resumed == 1 and len(discord.texts()) == 2)
    discord.reconnect()
    discord.write("2")
    discord.until(lambda: discord.resumed == 2 and len(discord.texts()) == 3)
    discord.deaf = True
    discord.until(lambda: discord.resumed >= 3)
    discord.deaf = False
    discord.invalidate()
    discord.write("3")  # while there is no session
    discord.until(lambda: discord.identified == 2 and len(discord.texts()) == 4)
    served.stop()
    for number in range(4, 6):
        discord.write(str(number))
    discord.invalidate()
    bot()
    discord.until(lambda: len(discord.texts()) == 6)
    assert discord.texts() == [f"You said: {number}" for number in range(6)]
    assert discord.beats


def test_a_server_needs_a_mention_and_buttons_answer(bot: Any, discord: DiscordServer) -> None:
    @tool(replay="never", safety="destructive")
    async def strike(what: str) -> str:
        """Needs an approval."""
        return f"struck {what}"

    def model(request: Any) -> Answer:
        done = any(hasattr(message, "call") for message in request.messages)
        return Answer(text="Done.") if done else Answer(calls=(Call("strike", {"what": "@everyone ``` it"}),))

    served = bot(model, tools=[strike])
    discord.write("not for you", channel=CHANNEL)
    discord.write(f"<@{ME}> strike it", channel=CHANNEL)
    discord.until(lambda: discord.sent(CHANNEL))
    (question,) = discord.sent(CHANNEL)
    assert question.text.count("```") == 2
    discord.press(question, "Approve", user="8")
    discord.press(question, "Approve")
    discord.until(lambda: discord.texts(CHANNEL)[-1] == "Done.")
    discord.press(question, "Reject")
    discord.until(lambda: discord.whispers == ["Approved.", "This question was answered already."])
    assert len(served.get("/sessions")["sessions"]) == 1


def test_files_of_an_agent(bot: Any, discord: DiscordServer) -> None:
    picture = Image("image/png", base64.b64encode(PNG).decode())
    bot(lambda request: Answer(text="Drawn", media=(picture,)))
    discord.write("draw")
    discord.fail(0, -1)
    discord.until(lambda: len(discord.sent()) == 2 and discord.repeated)
    assert discord.texts() == ["Drawn", ""]
    assert discord.sent()[1].files == [("image-1.png", PNG)]


@given(MARKUP)
def test_any_text_fits_and_keeps_its_words(text: str) -> None:
    for piece in split(rich_of(text), 1600):
        written = markdown_of(piece)
        assert 0 < len(written.encode("utf-16-le")) // 2 <= MOST
