"""A conversation through Telegram's test double and a real daemon."""

from __future__ import annotations

import threading
from typing import Any

from roost.testing.scripted import Answer, Call
from roost.testing.telegram import TelegramServer
from roost.tools.function import tool


def test_a_message_is_answered(bot: Any, telegram: TelegramServer) -> None:
    bot()
    telegram.write("Hello")
    telegram.until(lambda: telegram.texts() == ["You said: Hello"])
    telegram.write("Again")
    telegram.until(lambda: telegram.texts()[1:] == ["You said: Again"])
    telegram.until(lambda: telegram.waiting == 0)


def test_an_unknown_sender_is_paired_by_the_owner(bot: Any, telegram: TelegramServer) -> None:
    served = bot(more="")
    telegram.write("Let me in")
    telegram.until(lambda: telegram.texts())
    telegram.write("Hello?")
    telegram.until(lambda: telegram.waiting == 0)  # while nobody knows the sender
    code = telegram.sent()[0].styled("code")[0].split()[-1]
    assert served.post("/bots/pigeon/senders", {"code": "WRONG123"}).status == 404
    assert [one["state"] for one in served.get("/bots/pigeon/senders")["senders"]] == ["waiting"]
    paired = served.post("/bots/pigeon/senders", {"code": code.lower()})
    assert (paired.status, paired.json["sender"]) == (200, "7")
    assert served.post("/bots/pigeon/senders", {"code": code}).status == 404, "a code counts once"
    telegram.until(lambda: len(telegram.texts()) == 2)
    telegram.write("Now?")
    telegram.until(lambda: telegram.texts()[2:] == ["You said: Now?"])
    assert served.request("DELETE", "/bots/pigeon/senders/7").status == 200
    telegram.write("And now?")
    telegram.until(lambda: len(telegram.texts()) == 4)
    assert "I do not know you yet" in telegram.texts()[3]


def test_commands(bot: Any, telegram: TelegramServer) -> None:
    served = bot(lambda request: Answer(text=f"{sum(one.role == 'user' for one in _said(request))} so far"))
    telegram.write("/cost")
    telegram.until(lambda: telegram.texts() == ["There is no conversation yet: write something first."])
    telegram.write("one")
    telegram.until(lambda: telegram.texts()[-1] == "1 so far")
    telegram.write("two")
    telegram.until(lambda: telegram.texts()[-1] == "2 so far")
    telegram.write("/new")
    telegram.until(lambda: telegram.texts()[-1].startswith("A new conversation"))
    telegram.write("three")
    telegram.until(lambda: telegram.texts()[-1] == "1 so far")
    telegram.write("/cost")
    telegram.until(lambda: "1 turns" in telegram.texts()[-1])
    telegram.write("/help")
    telegram.until(lambda: "/approve" in telegram.texts()[-1])
    telegram.write("/stop")
    telegram.until(lambda: telegram.texts()[-1] == "There is nothing to stop.")
    assert len(served.get("/sessions")["sessions"]) == 2
    assert [one["group"] for one in served.get("/bots/pigeon/chats")["chats"]] == [False]


class _Role:
    def __init__(self, message: Any) -> None:
        self.role = "user" if type(message).__name__ == "UserMessage" else "other"


def _said(request: Any) -> list[_Role]:
    return [_Role(one) for one in request.messages]


def test_a_question_has_buttons_and_the_first_answer_counts(bot: Any, telegram: TelegramServer) -> None:
    runs: list[str] = []

    @tool(replay="never", safety="destructive")
    async def strike(what: str) -> str:
        """Needs an approval."""
        runs.append(what)
        return f"struck {what}"

    def model(request: Any) -> Answer:
        done = any(hasattr(message, "call") for message in request.messages)
        return Answer(text="Done.") if done else Answer(calls=(Call("strike", {"what": "``` it <b>"}),))

    bot(model, 'allow = ["7", "8"]', tools=[strike])
    telegram.write("strike it")
    telegram.until(lambda: telegram.texts())
    (question,) = telegram.sent()
    assert [text for text, _ in question.buttons] == ["Approve", "Reject"]
    assert "``` it <b>" in question.styled("pre")[0], "the arguments stay in their block"
    press = telegram.press(question, "Approve")
    telegram.until(lambda: telegram.texts()[-1] == "Done.")
    assert runs == ["``` it <b>"]
    late = telegram.press(question, "Reject")
    telegram.until(lambda: late in telegram.presses)
    assert telegram.presses[press] == "Approved."
    assert telegram.presses[late] == "This question was answered already."
    telegram.until(lambda: telegram.sent()[0].text == "Approved by telegram:7.")
    assert telegram.sent()[0].buttons == []


def test_faults_of_the_platform(bot: Any, telegram: TelegramServer) -> None:
    """No fault loses an answer; only an answer that was lost on its way is sent twice."""
    bot()
    for fault in ("500", "429", "drop", "html"):
        telegram.fail(fault, "sendMessage")
        telegram.fail(fault, "getUpdates")
        telegram.write(fault)
        telegram.until(lambda fault=fault: telegram.texts()[-1:] == [f"You said: {fault}"])
    assert telegram.texts() == [f"You said: {one}" for one in ("500", "429", "drop", "html")]
    telegram.fail("lost", "sendMessage")
    telegram.write("lost")
    telegram.until(lambda: telegram.texts().count("You said: lost") == 2)


def test_updates_that_come_again_are_taken_once(bot: Any, telegram: TelegramServer) -> None:
    served = bot()
    telegram.write("Hello")
    telegram.until(lambda: telegram.texts() == ["You said: Hello"])
    telegram.write("/new")
    telegram.until(lambda: len(telegram.texts()) == 2)
    telegram.write("Bye")
    telegram.until(lambda: len(telegram.texts()) == 3)
    for number in (0, 1, 2):
        telegram.repeat(number)
    telegram.until(lambda: telegram.waiting == 0)
    telegram.write("End")
    telegram.until(lambda: telegram.texts()[-1] == "You said: End")
    assert len(telegram.texts()) == 4
    assert len(served.get("/sessions")["sessions"]) == 2


def test_a_refused_message_is_a_dead_letter(bot: Any, telegram: TelegramServer) -> None:
    served = bot()
    telegram.blocked.add(7)
    telegram.write("Hello")
    telegram.until(lambda: served.get("/bots/pigeon/letters")["letters"])
    (letter,) = served.get("/bots/pigeon/letters")["letters"]
    assert (letter["state"], letter["text"]) == ("dead", "You said: Hello")
    assert "blocked by the user" in letter["reason"]
    assert served.get("/bots")["bots"][0]["dead"] == 1
    telegram.blocked.clear()
    assert served.post(f"/bots/pigeon/letters/{letter['letter']}/retry").status == 200
    telegram.until(lambda: telegram.texts() == ["You said: Hello"])
    telegram.until(lambda: served.get("/bots/pigeon/letters")["letters"] == [])


def test_groups_need_a_mention(bot: Any, telegram: TelegramServer) -> None:
    bot()
    telegram.write("Not for you", chat=-100)
    telegram.write("@roost_bot for you", chat=-100)
    telegram.until(lambda: telegram.texts(-100) == ["You said: Ada (7): for you"])
    telegram.write("/help@other_bot", chat=-100)
    telegram.write("/help@roost_bot", chat=-100)
    telegram.until(lambda: len(telegram.texts(-100)) == 2)
    assert "/approve" in telegram.texts(-100)[1]


def test_an_answer_is_shown_while_it_is_written(bot: Any, telegram: TelegramServer) -> None:
    bot(lambda _: Answer(text="word " * 60, pace=0.05, piece=3))
    telegram.write("Talk")
    telegram.until(lambda: telegram.texts() == [("word " * 60).strip()])
    (message,) = telegram.sent()
    assert message.edits >= 2


def test_a_long_answer_is_split_and_styled(bot: Any, telegram: TelegramServer) -> None:
    text = "# Title\n\n" + "A *short* paragraph 😀 with `code`.\n\n" * 300 + "```\n" + "line\n" * 900 + "```"
    bot(lambda _: Answer(text=text), 'allow = ["7"]\nstream = false')
    telegram.write("Talk")
    telegram.until(lambda: sum(len(one) for one in telegram.texts()) > 14_000)
    pieces = telegram.sent()
    assert pieces[0].styled("bold") == ["Title"]
    assert all(len(one.text) > 2000 for one in pieces[:-1])
    assert all(one.text.endswith(".") for one in pieces[:2]), "between paragraphs"
    assert pieces[-1].styled("pre") == [pieces[-1].text]


def test_stop_ends_a_running_turn(bot: Any, telegram: TelegramServer) -> None:
    begun = threading.Event()

    def model(request: Any) -> Answer:
        begun.set()
        return Answer(text="word " * 2000, pace=0.05)

    bot(model)
    telegram.write("Talk")
    telegram.until(begun.is_set)
    telegram.write("/stop")
    telegram.until(lambda: telegram.texts()[-1:] == ["Stopped."])


def test_an_agent_writes_to_the_person_that_wrote_last(bot: Any, telegram: TelegramServer) -> None:
    def model(request: Any) -> Answer:
        said = request.messages[-1]
        if hasattr(said, "call"):
            return Answer(text=f"[{said.parts[0].text}]")
        words = said.parts[0].text
        if words.startswith("tell"):
            to = words.partition(" ")[2]
            return Answer(calls=(Call("send_message", {"text": f"**News** for {to or 'you'}", "to": to}),))
        return Answer(text="ok")

    served = bot(model, 'allow = ["7", "8"]\nunasked = 2', tools=["send_message"], permissions="all")
    mine = served.session("clerk")
    assert "nobody has written with a bot yet" in _told(served.say(mine, "tell"))
    telegram.write("hello")
    telegram.until(lambda: telegram.texts() == ["ok"])
    served.say(mine, "tell")
    telegram.until(lambda: telegram.texts() == ["ok", "News for you"])
    assert telegram.sent()[1].styled("bold") == ["News"]
    telegram.write("hello", user=8, name="Bob")
    telegram.until(lambda: telegram.texts(8) == ["ok"])
    assert "say to whom: pigeon/7, pigeon/8" in _told(served.say(mine, "tell"))
    served.say(mine, "tell pigeon/8")
    telegram.until(lambda: telegram.texts(8)[1:] == ["News for pigeon/8"])
    served.say(mine, "tell pigeon/7")
    telegram.until(lambda: len(telegram.texts()) == 3)
    assert "2 messages were sent to Ada" in _told(served.say(mine, "tell pigeon/7"))
    telegram.write("tell pigeon/7", user=8, name="Bob")
    telegram.until(lambda: "there is no chat 'pigeon/7'" in telegram.texts(8)[-1])
    assert len(telegram.texts()) == 3, "a person's agent writes to no other person"


def _told(events: list[Any]) -> str:
    return next(one.data["parts"][0]["text"] for one in events if one.kind == "tool.completed")


def test_a_message_waits_until_the_quiet_hours_end(bot: Any, telegram: TelegramServer) -> None:
    def model(request: Any) -> Answer:
        if hasattr(request.messages[-1], "call"):
            return Answer(text="written")
        return Answer(calls=(Call("send_message", {"text": "Night news"}),))

    served = bot(model, 'allow = ["7"]\nquiet = "00:00-23:59"\nzone = "UTC"', tools=["send_message"], permissions="all")
    telegram.write("tell me")
    telegram.until(lambda: telegram.texts() == ["written"])
    (letter,) = served.get("/bots/pigeon/letters")["letters"]
    assert (letter["state"], letter["text"]) == ("waiting", "Night news")


def test_odd_names_are_not_found(bot: Any, telegram: TelegramServer) -> None:
    served = bot()
    for odd in ("%00", "%ED%A0%80", "x" * 3000, "..", "%F0%9F%98%80", "'"):
        assert served.request("GET", f"/bots/{odd}/chats").status in (404, 422)
        assert served.request("DELETE", f"/bots/pigeon/senders/{odd}").status in (404, 422)
        assert served.post(f"/bots/pigeon/letters/{odd}/retry").status in (404, 422)
        assert served.request("DELETE", f"/bots/pigeon/letters/{odd}").status in (404, 422)
    for odd in ("\0", "😀", "ß" * 32):
        assert served.post("/bots/pigeon/senders", {"code": odd}).status in (404, 422)


def test_sessions_of_an_account_and_of_each_user(bot: Any, telegram: TelegramServer) -> None:
    served = bot(more='allow = ["*"]\nsessions = "user"\ngroups = "all"\naccount = "alice"')
    assert served.request("PUT", "/accounts/alice", {}).status in (200, 201)
    telegram.write("one", user=7, name="Ada", chat=-100)
    telegram.write("two", user=8, name="Bob", chat=-100)
    telegram.until(lambda: sorted(telegram.texts(-100)) == ["You said: Ada (7): one", "You said: Bob (8): two"])
    sessions = [one["id"] for one in served.get("/sessions")["sessions"]]
    assert len(sessions) == 2
    assert all(one.startswith("alice.") for one in sessions)


def test_topics_edits_albums_and_files(bot: Any, telegram: TelegramServer) -> None:
    def model(request: Any) -> Answer:
        parts = request.messages[-1].parts
        return Answer(text=" + ".join(getattr(one, "text", "") or f"{one.media_type} {len(one.data)}" for one in parts))

    served = bot(model)
    first = telegram.write("one", chat=-5, message_thread_id=3, is_topic_message=True, reply_to_message=_ours())
    telegram.until(lambda: telegram.texts(-5) == ["Ada (7): one"])
    assert telegram.sent(-5)[0].thread == 3
    telegram.write("two", chat=-5, message_thread_id=4, is_topic_message=True, reply_to_message=_ours())
    telegram.until(lambda: len(telegram.texts(-5)) == 2)
    assert len(served.get("/sessions")["sessions"]) == 2, "a topic has a session"
    assert first
    message = telegram.write("Hullo")
    telegram.until(lambda: telegram.texts() == ["Hullo"])
    telegram.edit(message, "Hello")
    telegram.until(lambda: telegram.texts()[1:] == ["(corrected) Hello"])
    telegram.send_file("document", b"a,b\n1,2\n", file={"mime_type": "text/csv", "file_name": "t.csv"})
    telegram.until(lambda: telegram.texts()[2:] == ["[a file, 't.csv']\na,b\n1,2"])
    telegram.write("", location={"latitude": 1.5, "longitude": 2.5})
    telegram.until(lambda: telegram.texts()[3:] == ["[a location: 1.5, 2.5]"])
    telegram.send_file("document", b"x" * 10, file={"mime_type": "text/plain", "file_name": "x", "file_size": 1 << 30})
    telegram.until(lambda: "too large to read here" in telegram.texts()[-1])


def _ours() -> dict[str, Any]:
    return {"message_id": 1, "from": {"id": 42, "is_bot": True, "first_name": "Roost"}}
