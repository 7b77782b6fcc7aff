"""A conversation through Slack's test double and a real daemon."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from roost.agent.definition import Agent
from roost.doors.bots.platform import Outgoing
from roost.doors.bots.rich_text import rich_of
from roost.doors.bots.slack import _content  # pyright: ignore[reportPrivateUsage]
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.testing.slack import SlackServer, check_message
from roost.tools.function import tool
from tests.bots.conftest import echo
from tests.bots.test_rules import MARKUP
from tests.server.conftest import Served


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackServer]:
    with SlackServer(burst=1000) as found:
        monkeypatch.setenv("SLACK_TOKEN", found.token)
        monkeypatch.setenv("SLACK_SIGNING", found.signing_secret)
        yield found


@pytest.fixture
def app(serve: Any, slack: SlackServer, tmp_path: Path) -> Callable[..., Served]:
    """Serve an agent with an app of Slack."""

    def make(model: Any = echo, **options: Any) -> Served:
        home = tmp_path / "home"
        home.mkdir()
        (home / "policy.toml").write_text(
            '[secrets.slack]\nfrom = "env:SLACK_TOKEN"\n[secrets.signing]\nfrom = "env:SLACK_SIGNING"\n'
        )
        (home / "bots.toml").write_text(
            '[bots.mine]\nplatform = "slack"\nagent = "clerk"\ntoken = "{{secret:slack}}"\n'
            f'hook_secret = "{{{{secret:signing}}}}"\napi = "{slack.url}"\nallow = ["U7"]\npace_seconds = 0\n'
            "edit_seconds = 0.05\n"
        )
        served = serve(agents=[Agent("clerk", model=ScriptedModel(model), **options)], home=home)
        slack.hook = f"{served.url}/hooks/mine"
        return served

    return make


def test_files_both_ways(app: Any, slack: SlackServer) -> None:
    def model(request: Any) -> Answer:
        said = request.messages[-1]
        if hasattr(said, "call"):
            return Answer(text="Here: [table](t.csv)")
        given = {"path": "t.csv", "content": "a,b\n"}
        if said.parts[0].text == "table":
            return Answer(calls=(Call("write_file", given),))
        return Answer(text=f"You said: {said.parts[0].text} {said.parts[1].text}")

    app(model, tools=["write_file"], permissions="all")
    slack.send_file(b"x,y\n", "in.csv", "text/csv", text="Look")
    slack.until(lambda: slack.texts() == ["You said: Look [a file, 'in.csv']\nx,y"])
    slack.write("table")
    slack.until(lambda: [one[:3] for one in slack.uploaded] == [("D1", "t.csv", b"a,b\n")])
    assert slack.texts()[1] == "Here: table"


def test_a_conversation(app: Any, slack: SlackServer) -> None:
    served = app()
    assert slack.verify() == {"challenge": "say-this"}
    ts = slack.write("Hello &amp; <https://a.b|you>")
    slack.until(lambda: slack.texts() == ["You said: Hello & you (https://a.b)"])
    slack.write("Hello &amp; <https://a.b|you>", ts=ts)
    slack.fail(500, 429)
    slack.write("Again")
    slack.until(lambda: slack.texts()[1:] == ["You said: Again"])
    slack.archived.add("D1")
    slack.write("Bye")
    slack.until(lambda: served.get("/bots/mine/letters")["letters"])
    assert served.get("/bots")["bots"][0]["title"] == "@roost"
    assert len(served.get("/sessions")["sessions"]) == 1


def test_a_channel_has_threads_and_needs_a_mention(app: Any, slack: SlackServer) -> None:
    served = app()
    slack.write("not for you", channel="C1")
    ts = slack.write("<@UBOT> for you", channel="C1")
    slack.until(lambda: slack.texts("C1") == ["You said: U7: for you"])
    slack.write("<@UBOT> more", channel="C1", thread=ts)
    slack.until(lambda: len(slack.texts("C1")) == 2)
    assert {one.thread for one in slack.posted("C1")} == {ts}
    slack.write("<@UBOT> another", channel="C1")
    slack.until(lambda: len(slack.texts("C1")) == 3)
    assert len(served.get("/sessions")["sessions"]) == 2


def test_a_question_is_answered_by_a_button(app: Any, slack: SlackServer) -> None:
    @tool(replay="never", safety="destructive")
    async def strike(what: str) -> str:
        """Needs an approval."""
        return f"struck {what}"

    def model(request: Any) -> Answer:
        done = any(hasattr(message, "call") for message in request.messages)
        return Answer(text="*Done.*") if done else Answer(calls=(Call("strike", {"what": "<!channel> it"}),))

    app(model, tools=[strike])
    slack.write("strike it")
    slack.until(lambda: slack.posted())
    (question,) = slack.posted()
    assert ("preformatted", "what: <!channel> it") in [(kind, one.strip()) for kind, one in question.styles]
    slack.press(question, "Approve")
    slack.until(lambda: slack.texts()[-1] == "Done.")
    slack.press(question, "Reject")
    slack.until(lambda: slack.whispers == ["Approved.", "This question was answered already."])


def test_an_unsigned_request_is_refused(app: Any, slack: SlackServer) -> None:
    served = app()
    slack.signing_secret = "another-secret-than-the-daemon-has"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        slack.verify()
    assert served.get("/sessions")["sessions"] == []


def test_slash_commands(app: Any, slack: SlackServer) -> None:
    served = app()
    slack.write("Hello")
    slack.until(lambda: slack.texts() == ["You said: Hello"])
    slack.command("/new")
    slack.until(lambda: len(slack.texts()) == 2)
    slack.command("/roost say it")
    slack.until(lambda: slack.texts()[2:] == ["You said: say it"])
    slack.command("/roost cost")
    slack.until(lambda: slack.texts()[3:] and slack.texts()[3].startswith("This conversation has cost"))
    assert len(served.get("/sessions")["sessions"]) == 2


@pytest.fixture
def socket_app(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Served, SlackServer]]:
    """Serve an agent with an app in socket mode."""
    with SlackServer(burst=1000, socket=True) as slack:
        monkeypatch.setenv("SLACK_TOKEN", slack.token)
        monkeypatch.setenv("SLACK_APP", slack.app_token)
        home = tmp_path / "home"
        home.mkdir()
        (home / "policy.toml").write_text(
            '[secrets.slack]\nfrom = "env:SLACK_TOKEN"\n[secrets.app]\nfrom = "env:SLACK_APP"\n'
        )
        (home / "bots.toml").write_text(
            '[bots.mine]\nplatform = "slack"\nagent = "clerk"\ntoken = "{{secret:slack}}"\n'
            f'hook_secret = "{{{{secret:app}}}}"\napi = "{slack.url}"\nallow = ["U7"]\npace_seconds = 0\n'
        )
        served = serve(agents=[Agent("clerk", model=ScriptedModel(echo))], home=home)
        slack.until(lambda: slack.opened)
        yield served, slack


def test_socket_mode(socket_app: tuple[Served, SlackServer]) -> None:
    served, slack = socket_app
    slack.write("One")
    slack.until(lambda: slack.texts() == ["You said: One"])
    slack.command("/roost cost")
    slack.until(lambda: slack.texts()[1:])
    assert slack.replies == ["/cost"]
    slack.refresh()
    slack.until(lambda: slack.opened == 2)
    slack.write("Two")
    slack.until(lambda: slack.texts()[2:] == ["You said: Two"])
    slack.hang_up()
    slack.write("Three")
    slack.until(lambda: slack.texts()[3:] == ["You said: Three"])
    assert slack.opened == 3
    slack.ack_seconds, slack.lose_acks = 0.5, 1
    slack.write("Four")
    slack.until(lambda: "timeout" in slack.retried)
    slack.write("Five")
    slack.until(lambda: slack.texts()[5:] == ["You said: Five"])
    assert slack.texts()[4] == "You said: Four", "it came twice, and was taken once"
    assert len(served.get("/sessions")["sessions"]) == 1


@given(MARKUP)
def test_any_text_is_a_message_that_slack_takes(text: str) -> None:
    rich = rich_of(text)
    if rich.text.strip():
        _, said, _, _ = check_message(_content(Outgoing(rich)))
        assert said == rich.text
