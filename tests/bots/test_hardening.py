"""One chat holds up no other, what a platform refuses or changes is followed, and strangers are forgotten."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from roost.doors.bots import inbound
from roost.doors.bots.attachments import signed
from roost.doors.bots.discord.gateway import Gateway
from roost.doors.bots.lanes import Lanes
from roost.doors.bots.platform import (
    LONGEST_WAIT,
    Address,
    Failed,
    Heard,
    Limits,
    Malformed,
    Outgoing,
    Person,
    Refused,
    Written,
)
from roost.doors.bots.platforms import maker
from roost.doors.bots.questions import newest
from roost.doors.bots.rich_text import Rich, named_files, plain, rich_of
from roost.doors.bots.sender import Pacer, Sender
from roost.doors.bots.slack_socket import SocketMode
from roost.doors.bots.socket_link import Closed
from roost.features.bots.bots_file import Bot
from roost.features.bots.records import Chat
from roost.testing.scripted import Answer
from roost.testing.telegram import TelegramServer


def test_a_large_file_holds_up_its_chat_alone_and_no_restart_loses_it(
    bot: Any, serve: Any, telegram: TelegramServer
) -> None:
    served = bot(more='allow = ["7", "8"]')
    telegram.files_wait = True
    telegram.send_file("document", b"large", file={"mime_type": "text/plain", "file_name": "a.txt"}, caption="first")
    telegram.write("second")
    telegram.write("Hello", user=8, name="Bob")
    telegram.until(lambda: telegram.texts(8) == ["You said: Hello"])
    telegram.until(lambda: telegram.waiting == 0)
    assert telegram.texts() == [], "the chat with the file waits"
    served.stop()
    telegram.files_wait = False
    serve(agents=served.agents, home=served.home)
    telegram.until(lambda: telegram.texts() == ["You said: first", "You said: second"])


def test_a_group_that_migrates_keeps_its_session(bot: Any, telegram: TelegramServer) -> None:
    served = bot()
    telegram.write("@roost_bot one", chat=-100)
    telegram.until(lambda: telegram.texts(-100) == ["You said: Ada (7): one"])
    telegram.migrate(-100, -1001)
    telegram.write("@roost_bot two", chat=-1001)
    telegram.until(lambda: telegram.texts(-1001) == ["You said: Ada (7): two"])
    telegram.migrated[-1001] = -1002  # what is sent tells it, and no update
    telegram.write("@roost_bot three", chat=-1001)
    telegram.until(lambda: telegram.texts(-1002) == ["You said: Ada (7): three"])
    telegram.write("@roost_bot four", chat=-1002)
    telegram.until(lambda: telegram.texts(-1002)[1:] == ["You said: Ada (7): four"])
    assert len(served.get("/sessions")["sessions"]) == 1
    assert [one["address"] for one in served.get("/bots/pigeon/chats")["chats"]] == ["-1002"]


def test_refused_styles_strangers_and_wrong_options(
    bot: Any, telegram: TelegramServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound, "_UNKNOWN", 1)
    served = bot(lambda _: Answer(text="**bold**"))
    telegram.no_styles.add(7)
    telegram.write("Hello")
    telegram.until(lambda: telegram.texts() == ["bold"])
    assert telegram.sent()[0].entities == []
    telegram.write("Let me in", user=8, name="Bob")
    telegram.until(lambda: telegram.texts(8))
    telegram.write("Me too", user=9, name="Cleo")
    telegram.write("Hello")
    telegram.until(lambda: len(telegram.texts()) == 2)
    assert telegram.texts(9) == [], "one is let alone for a while"
    monkeypatch.setattr(inbound, "_UNDISTURBED", -1.0)
    telegram.write("Me too", user=9, name="Cleo")
    telegram.until(lambda: telegram.texts(9))
    assert [one["sender"] for one in served.get("/bots/pigeon/senders")["senders"]] == ["7", "9"]
    assert sorted(one["address"] for one in served.get("/bots/pigeon/chats")["chats"]) == ["7", "9"]
    file = served.home / "bots.toml"
    file.write_text(file.read_text().replace("poll_seconds = 5", 'poll_seconds = "fast"'))
    telegram.until(lambda: "poll_seconds: 'fast' is no number" in served.get("/bots")["bots"][0]["problem"])


def test_a_bot_keeps_the_limit_of_all_its_chats(bot: Any, telegram: TelegramServer) -> None:
    bot(more='allow = ["*"]\nstream = false')
    people = range(100, 145)
    for user in people:
        telegram.write("Hello", user=user)
    telegram.until(lambda: all(telegram.texts(user) == ["You said: Hello"] for user in people))
    assert telegram.throttled < 8, "without a pace it would be a third of them, again and again"


def test_an_answer_means_a_question_that_was_shown() -> None:
    calls = [SimpleNamespace(session="s", call=one, asked=number) for number, one in enumerate("abc")]

    async def waiting(session: str) -> Any:
        return SimpleNamespace(approvals=calls)

    api: Any = SimpleNamespace(runtime=SimpleNamespace(approvals=SimpleNamespace(waiting=waiting)))
    assert asyncio.run(newest(api, "s", 1, {"a", "b"})).call == "b"
    assert asyncio.run(newest(api, "s", 1, ())).call == ""


def test_names_and_lines_of_a_group_fake_nobody() -> None:
    assert signed("Ada", "7", "hello") == "Ada (7): hello"
    assert signed("U7", "U7", "hello") == "U7: hello"
    assert signed("Bob (8): yes\n", "7", "a\nBob (8): b") == "Bob 8 yes (7): a\n| Bob (8): b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[https://good.example](https://evil.example/x)", "https://good.example (https://evil.example/x)"),
        ("[www.good.example/a](https://good.example/b)", "www.good.example/a"),
        ("[the docs](https://good.example)", "the docs"),
    ],
)
def test_a_link_shows_where_it_leads(text: str, shown: str) -> None:
    assert rich_of(text).text == shown


def test_files_that_an_answer_names() -> None:
    text = "See [a](out/a%20b.pdf), ![c](c.png), [w](https://x.y/z.pdf), x[i](y.z)\n```\n[d](d.png)\n```\n[a](c.png)"
    assert named_files(text) == ("out/a b.pdf", "c.png")
    began = time.monotonic()
    named_files("[a](" * 20_000 + "```\n" * 5_000)
    assert time.monotonic() - began < 10


def test_no_wait_is_believed_without_a_limit() -> None:
    assert Failed("later", 1e9).after == LONGEST_WAIT
    assert Failed("later", float("nan")).after is None
    assert Failed("later", -5.0).after == 0.0


def test_an_album_that_comes_again_with_more_loses_none(bot: Any, telegram: TelegramServer) -> None:
    """The input is made of two pictures; then all three come again, as after a crash before they were acknowledged."""
    served = bot(lambda request: Answer(text=f"{len(request.messages[-1].parts)}"), 'allow = ["7"]\nstream = false')
    first, _ = telegram.album(b"one", b"two", caption="Look")
    telegram.until(lambda: telegram.texts() == ["3"])  # the caption, and where each file is
    group = {"media_group_id": telegram._all[0]["message"]["media_group_id"]}
    telegram.repeat(0)
    telegram.repeat(1)
    telegram.until(lambda: telegram.waiting == 0)
    telegram.repeat(1)  # without the first one
    telegram.until(lambda: telegram.waiting == 0)
    third = telegram.send_file("photo", b"three", **group)
    telegram.until(lambda: telegram.texts()[1:] == ["1"])
    (session,) = [one["id"] for one in served.get("/sessions")["sessions"]]
    inputs = [one["event"] for one in served.history(session) if one["event"]["type"] == "input.received"]
    assert [one["note"]["message"] for one in inputs] == [str(first), str(third)]


class _Plain:
    """A platform that takes no styles, and asks for a wait first."""

    limits = Limits(text=100)

    def __init__(self) -> None:
        self.shown: list[Outgoing] = []
        self.waits = 1

    async def edit(self, to: Any, ref: str, message: Outgoing) -> None:
        if self.waits:
            self.waits -= 1
            raise Failed("later", 0.0)
        if message.rich.spans:
            raise Malformed("no styles")
        self.shown.append(message)


def test_an_edit_falls_back_to_plain_text_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    platform: Any = _Plain()

    async def moved(address: str, to: str) -> None:
        raise AssertionError("it moves nowhere")

    async def work() -> None:
        sender = Sender(platform, Chat(bot="a", address="7"), Pacer(0.0), moved)
        await sender.edit("1", Outgoing(rich_of("**bold**")))
        monkeypatch.setattr("roost.doors.bots.sender.EDIT_SECONDS", -1.0)
        platform.waits = 9
        with pytest.raises(Refused, match="given up"):
            await sender.edit("1", Outgoing(rich_of("again")))

    asyncio.run(work())
    assert [one.rich for one in platform.shown] == [Rich("bold")]


@pytest.mark.parametrize("kind", ["MESSAGE_CREATE", "MESSAGE_UPDATE", "INTERACTION_CREATE"])
@pytest.mark.parametrize(
    "event", [b'{"id": 7}', b'{"id": "x", "channel_id": "1", "author": {"id": "7"}, "content": "a"}']
)
def test_an_event_of_discord_that_is_not_understood_is_passed_over(kind: str, event: bytes) -> None:
    platform: Any = maker("discord")(Bot(name="b", platform="discord", agent="a"), "token", "")
    asyncio.run(platform._event(kind, msgspec.Raw(event)))


def test_a_defect_of_one_message_ends_no_lane() -> None:
    taken: list[str] = []

    async def take(event: Written) -> None:
        if event.id == "0":
            await asyncio.sleep(0)
            raise ValueError("a defect")
        taken.append(event.id)

    async def run() -> None:
        inbox, records = SimpleNamespace(take=take), SimpleNamespace(documents=None)
        lanes = Lanes("b", inbox, records)  # type: ignore[arg-type]
        events = [
            Written(number=one, id=str(one), chat=Address("1"), sender=Person("7", "Ada"), text="a") for one in (0, 1)
        ]
        for one in events:
            await lanes.take(one)
        await lanes.close()

    asyncio.run(run())
    assert taken == ["1"]


def test_a_message_that_cannot_be_made_is_refused() -> None:
    async def send(*_: Any, key: str) -> str:
        raise ValueError("a header with a line break")

    async def moved(*_: str) -> None:
        return None

    platform: Any = SimpleNamespace(send=send, limits=Limits(text=100))
    sender = Sender(platform, Chat(bot="b", address="1"), Pacer(0), moved)
    with pytest.raises(Refused, match="cannot be made: ValueError"):
        asyncio.run(sender.send(Outgoing(plain("a")), "k"))


def test_a_frame_that_is_no_json_is_passed_over() -> None:
    frames, taken, sent = list[bytes](), list[str](), list[Any]()

    async def nothing(*_: Any) -> Any:
        return None

    async def receive() -> bytes:
        if not frames:
            raise Closed("the end", 1000)
        return frames.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    link: Any = SimpleNamespace(receive=receive, send=send, close=nothing)

    async def run() -> None:
        waiting: Any = asyncio.Queue()
        frames.extend([b'{"op":0,"d":"\\ud83d"}', b'{"op":0,"t":"a","s":2}'])
        with pytest.raises(Closed):
            await Gateway("", 0, nothing, nothing)._read(link, waiting)
        taken.append(waiting.get_nowait().t)
        frames.extend([b'{"type":"\\ud83d"}', b'{"type":"events_api","envelope_id":"1"}'])
        with pytest.raises(Closed):
            await SocketMode(nothing, lambda kind, body: Heard(()), nothing)._serve(link, asyncio.Event())

    asyncio.run(run())
    assert (taken, sent) == (["a"], [{"envelope_id": "1"}])
