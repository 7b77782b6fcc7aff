"""What strangers, hostile texts and faults of the store must not reach."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from roost.agent.definition import Agent, Children
from roost.doors.bots import hooks
from roost.doors.bots.commands import Commands
from roost.doors.bots.platform import Failed, Heard, Refused
from roost.doors.bots.platforms import maker
from roost.doors.bots.rich_text import rich_of
from roost.doors.bots.slack import Slack
from roost.errors import Busy, ConfigError, Forbidden, NotFound, StoreFailed
from roost.features.bots.bots_file import Bot
from roost.features.bots.records import chat_id, user_of
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.testing.telegram import TelegramServer
from roost.tools.function import tool
from tests.bots.conftest import write_bot


def test_no_line_costs_quadratic_time() -> None:
    blanks, began = " " * 30_000, time.monotonic()
    for line in (f"# a{blanks}x", f"```{blanks}`", "~" * 30_000 + "`"):
        rich_of(line)
    assert time.monotonic() - began < 10


def test_headings_and_fences_are_as_before() -> None:
    rich = rich_of("# Title ##\n## a # b #\n# tail  \n~~~ py x\ncode\n~~~")
    shown = [(one.kind, rich.text[one.start : one.end], one.more) for one in rich.spans]
    assert shown == [
        ("bold", "Title", ""),
        ("bold", "a # b", ""),
        ("bold", "tail  ", ""),
        ("pre", "code", "py"),
    ]


def test_chats_that_differ_have_ids_that_differ() -> None:
    long = "x" * 200
    digest = hashlib.blake2b(long.encode(), digest_size=16).hexdigest()
    places = [("a", "b"), ("a:b", ""), ("a", ""), ("a:", ""), ("a::", ""), ("a", ":b"), (long, ""), (f"#{digest}", "")]
    assert len({chat_id("mine", *one) for one in places}) == len(places)
    assert chat_id("mine", "-5", "3", "7") == "mine/-5:3:7"
    assert chat_id("mine", long) != chat_id("mine", chat_id("mine", long).removeprefix("mine/"))


def test_the_token_of_slack_goes_to_slack_alone() -> None:
    app = Slack(Bot(name="a", platform="slack"), "xoxb-1", "signing")
    for url in (
        "http://127.0.0.1:1/x",
        "https://evil.example/x",
        "https://evilslack.com/x",
        "http://files.slack.com/x",
        "https://files.slack.com@evil.example/x",
        "https://files.slack.com:1/x",
        "https://[",
    ):
        with pytest.raises(Refused, match="not at Slack"):
            asyncio.run(app.fetch(url, 100))


@pytest.mark.parametrize(
    ("bot", "secret", "why"),
    [
        (Bot(name="a", platform="telegram", options={"pace_seconds": "fast"}), "", "pace_seconds: 'fast' is no number"),
        (Bot(name="a", platform="telegram", options={"poll_seconds": -1}), "", "poll_seconds"),
        (Bot(name="a", platform="slack", options={"edit_seconds": "nan"}), "s", "edit_seconds"),
        (Bot(name="a", platform="telegram", hook="https://a.b"), "", "hook_secret"),
        (Bot(name="a", platform="webhook", options={"url": "https://a.b"}), "", "empty"),
    ],
)
def test_a_fault_of_an_option_is_named(bot: Bot, secret: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        maker(bot.platform)(bot, "whsec_" if bot.platform == "webhook" else "token", secret)


def test_people_of_two_programs_are_two_users() -> None:
    users = {user_of(Bot(name=name, platform="webhook"), "ada") for name in ("desk", "shop")}
    assert users == {"webhook:desk:ada", "webhook:shop:ada"}
    assert user_of(Bot(name="pigeon", platform="telegram"), "7") == "telegram:7"


class _Platform:
    """Its proof is the secret as the body."""

    opens = hears = 0
    up = False

    def __init__(self, bot: Bot, token: str, hook_secret: str) -> None:
        self._secret, self.closed = hook_secret, False

    async def open(self) -> str:
        type(self).opens += 1
        if not self.up:
            raise Failed("down")
        return "a"

    async def close(self) -> None:
        self.closed = True

    def heard(self, headers: Any, body: bytes) -> Heard:
        if body.decode() != self._secret:
            raise Refused("no proof")
        type(self).hears += 1
        return Heard(())


def test_the_proof_of_a_hook_comes_first_and_is_the_present_one(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "bots.toml").write_text('[bots.a]\nplatform = "x"\nhook_secret = "{{secret:hook}}"\n')
    monkeypatch.setattr(hooks, "maker", lambda name: _Platform)
    monkeypatch.setattr(_Platform, "opens", 0)
    secrets = {"{{secret:hook}}": "old"}
    opened = SimpleNamespace(opened={})
    runtime = SimpleNamespace(
        home=tmp_path,
        vault=SimpleNamespace(value=secrets.__getitem__),
        node=SimpleNamespace(feature=lambda kind: opened, store=SimpleNamespace(documents=None)),
    )
    door = hooks.Hooks(SimpleNamespace(runtime=runtime))  # pyright: ignore[reportArgumentType]

    async def ask(said: str, name: str = "a") -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": said.encode(), "more_body": False}

        await door.take({"type": "http", "path_params": {"bot": name}, "headers": []}, receive)

    async def work() -> None:
        with pytest.raises(Forbidden):
            await ask("wrong")
        assert _Platform.opens == 0, "nobody without the proof lets a platform be called"
        with pytest.raises(Busy):
            await ask("old")
        assert _Platform.opens == 1
        secrets["{{secret:hook}}"] = "new"
        with pytest.raises(Forbidden):
            await ask("old")
        with pytest.raises(Busy):
            await ask("new")
        monkeypatch.setattr(_Platform, "up", True)
        await ask("new")
        heard = _Platform.hears
        await ask("new")
        assert _Platform.hears == heard + 1, "a platform remembers which albums it has seen a part of"
        with pytest.raises(NotFound) as none:
            await ask("x", "b")
        (tmp_path / "bots.toml").write_text("[bots.a]\nplatform = 3\n")
        with pytest.raises(Busy) as broken:
            await ask("new")
        assert str(tmp_path) not in str(none.value) + str(broken.value)

    asyncio.run(work())


def test_strangers_and_those_shut_out_are_told_nothing(bot: Any, telegram: TelegramServer) -> None:
    def model(request: Any) -> Answer:
        said = request.messages[-1]
        if hasattr(said, "call"):
            return Answer(text=f"[{said.parts[0].text}]")
        if said.parts[0].text == "tell":
            return Answer(calls=(Call("send_message", {"text": "Private", "to": ""}),))
        return Answer(text=f"You said: {said.parts[0].text}")

    served = bot(model, 'allow = ["7"]', tools=["send_message"], permissions="all")
    telegram.write("Who are you?", user=8, name="Bob")
    telegram.until(lambda: telegram.texts(8))
    mine = served.session("clerk")
    said = served.say(mine, "tell")
    assert any("nobody has written with a bot yet" in str(one.data) for one in said if one.kind == "tool.completed")
    code = telegram.sent(8)[0].styled("code")[0].split()[-1]
    assert served.post("/bots/pigeon/senders", {"code": code}).status == 200
    telegram.until(lambda: len(telegram.texts(8)) == 2)
    telegram.write("Hello", user=8, name="Bob")
    telegram.until(lambda: telegram.texts(8)[2:] == ["You said: Hello"])
    assert served.request("DELETE", "/bots/pigeon/senders/8").status == 200
    chats = served.get("/bots/pigeon/chats")["chats"]
    (session,) = [one["session"] for one in chats if one["address"] == "8"]
    served.say(session, "of the schedule")
    telegram.write("Ada is here")
    telegram.until(lambda: telegram.texts() == ["You said: Ada is here"])
    served.say(mine, "tell")
    telegram.until(lambda: telegram.texts()[1:] == ["Private"])
    telegram.write("Let me in again", user=8, name="Bob")
    telegram.until(lambda: len(telegram.texts(8)) >= 4)
    assert "I do not know you yet" in telegram.texts(8)[3]
    assert len(telegram.texts(8)) == 4


def test_an_answer_to_a_question_that_comes_again_answers_no_other(
    bot: Any, telegram: TelegramServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store fails between the answer and the note that the command was handled, as a crash may do."""
    struck: list[str] = []

    @tool(replay="never", safety="destructive")
    async def strike(what: str) -> str:
        """Needs an approval."""
        struck.append(what)
        return f"struck {what}"

    def model(request: Any) -> Answer:
        if any(hasattr(message, "call") for message in request.messages):
            return Answer(text="Done.")
        return Answer(calls=(Call("strike", {"what": "one"}), Call("strike", {"what": "two"})))

    told, failed = Commands.tell, threading.Event()

    async def tell(self: Commands, *given: Any) -> None:
        if not failed.is_set():
            failed.set()
            raise StoreFailed("the disk is full")
        await told(self, *given)

    bot(model, tools=[strike])
    telegram.write("strike both")
    telegram.until(lambda: sum("May I?" in one for one in telegram.texts()) == 2)
    monkeypatch.setattr(Commands, "tell", tell)
    telegram.write("/approve")
    telegram.until(lambda: failed.is_set() and telegram.waiting == 0)
    telegram.until(lambda: struck)
    assert len(struck) == 1
    telegram.write("/approve")
    telegram.until(lambda: len(struck) == 2)


def test_an_answer_of_the_conversation_before_comes_while_the_new_one_speaks(
    bot: Any, telegram: TelegramServer
) -> None:
    before, after = "result " * 60, "word " * 400

    def model(request: Any) -> Any:
        research = request.messages[-1].parts[0].text == "research"
        return Answer(text=before if research else after, pace=0.05, piece=3)

    bot(model)
    telegram.write("research")
    telegram.until(lambda: any("result" in one for one in telegram.texts()))
    telegram.write("/new")
    telegram.write("Talk")
    telegram.until(lambda: any("word word" in one for one in telegram.texts()))
    telegram.until(lambda: before.strip() in telegram.texts(), 20)
    assert after.strip() not in telegram.texts(), "the new one still speaks"


def insist(telegram: TelegramServer, command: str) -> None:
    """Answer the question. The chat has it a moment before the bot has noted that it does."""
    said = ["No question waits for an answer."]
    while said == ["No question waits for an answer."]:
        before = len(telegram.texts())
        telegram.write(command)
        telegram.until(lambda before=before: len(telegram.texts()) > before)
        said = telegram.texts()[before:]


@pytest.mark.parametrize(("size", "fits"), [(5_000, True), (20_000, False)])
def test_nobody_allows_what_the_chat_was_not_shown(bot: Any, telegram: TelegramServer, size: int, fits: bool) -> None:
    """A question is shown whole, in several messages, and nothing of it hides; else it is not allowed here."""
    struck: list[str] = []

    @tool(replay="never", safety="destructive")
    async def strike(what: str) -> str:
        """Needs an approval."""
        struck.append(what)
        return "struck"

    def model(request: Any) -> Answer:
        if any(hasattr(message, "call") for message in request.messages):
            return Answer(text="Done.")
        return Answer(calls=(Call("strike", {"what": "gong\u202e " + "dong " * (size // 5) + "AND THE OWNER"}),))

    bot(model, tools=[strike])
    telegram.write("strike")
    last = "AND THE OWNER" if fits else "It is too long for a chat"
    telegram.until(lambda: any(last in one for one in telegram.texts()))
    assert "what: gong<U+202E> dong" in "".join(telegram.texts())
    assert [bool(one.buttons) for one in telegram.sent()] == [False] * (len(telegram.sent()) - 1) + [fits]
    insist(telegram, "/approve")
    if fits:
        telegram.until(lambda: "Done." in telegram.texts()[-1] and struck)
        return
    telegram.until(lambda: sum("It is too long for a chat" in one for one in telegram.texts()) == 2)
    telegram.write("/reject")
    telegram.until(lambda: "Done." in telegram.texts()[-1])
    assert not struck


def test_what_a_task_in_the_background_asks_is_shown(serve: Any, telegram: TelegramServer, tmp_path: Path) -> None:
    @tool(replay="never", safety="destructive")
    async def strike(what: str) -> str:
        """Needs an approval."""
        return f"struck {what}"

    def model(request: Any) -> Answer:
        if any(hasattr(message, "call") for message in request.messages):
            return Answer(text="Done.")
        return Answer(calls=(Call("task", {"agent": "helper", "prompt": "strike"}),))

    def helper(request: Any) -> Answer:
        done = any(hasattr(message, "call") for message in request.messages)
        return Answer(text="Struck.") if done else Answer(calls=(Call("strike", {"what": "the gong"}),))

    write_bot(tmp_path / "home", telegram, "clerk", 'allow = ["7"]')
    boss = Agent(
        "clerk",
        model=ScriptedModel(model),
        tools=["task"],
        children=Children(agents=("helper",)),
        permissions="all",
    )
    other = Agent("helper", model=ScriptedModel(helper), tools=[strike], callable_by=("clerk",), permissions="ask")
    serve(agents=[boss, other], home=tmp_path / "home")
    telegram.write("strike")
    telegram.until(lambda: any("A task in the background asks" in one for one in telegram.texts()))
    telegram.until(lambda: any("what: the gong" in one for one in telegram.texts()))
    insist(telegram, "/approve")
    telegram.until(lambda: "Done." in telegram.texts())
