"""Where messages go when the session changes, is not open yet, or cannot be reached."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable

from tests.cli.conftest import Machine
from tests.harness.screen import ScreenTerminal

from .test_conversation import prompt, say
from .test_slash import DOT

Talk = Callable[..., ScreenTerminal]


def said(roost: Machine, session: str) -> str:
    return str(roost("show", session, "--json").ok().json["messages"])


def test_a_session_that_another_client_used_is_kept(anywhere: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    terminal.expect("workspace ")
    anywhere("send", "@last", "from elsewhere").ok()
    terminal.expect("You said: from elsewhere")
    terminal.type("\x04")
    assert terminal.wait() == 0
    assert "is kept: roost chat --session" in terminal.emulator.text
    assert "from elsewhere" in said(anywhere, "@last")


def test_leaving_before_the_session_is_open_keeps_no_empty_one(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    terminal.expect("starting")
    terminal.type("\x04")
    assert terminal.wait() == 0
    assert roost("ps", "--all", "--json").ok().json == []


def test_what_was_said_before_the_session_was_open_is_sent(roost: Machine, talk: Talk) -> None:
    roost.up()
    terminal = talk()
    terminal.expect("starting")
    terminal.type("an early word\r\x04")
    assert terminal.wait() == 0
    deadline = time.monotonic() + 60
    while "an early word" not in said(roost, "@last"):
        assert time.monotonic() < deadline


def test_what_is_typed_after_new_goes_to_the_new_session_and_what_is_kept_to_the_old(
    anywhere: Machine, talk: Talk
) -> None:
    terminal = talk()
    prompt(terminal)
    say(terminal, "words please")
    terminal.expect("w1 ")
    first = anywhere.newest()["id"]
    terminal.type("for the old one\t")
    terminal.expect("next: for the old one")
    terminal.type("/new\r")
    terminal.type("for the new one\r")
    terminal.expect("You said: for the new one")
    assert "You said: for the old one" not in terminal.emulator.text
    terminal.gone("Esc stops")
    newest = anywhere.newest()["id"]
    assert newest != first
    assert "for the new one" in said(anywhere, newest)
    assert "for the new one" not in said(anywhere, first)
    assert "for the old one" not in said(anywhere, newest)


def test_a_message_that_cannot_be_sent_returns_to_the_editor(roost: Machine, talk: Talk) -> None:
    roost.up()
    terminal = talk()
    prompt(terminal)
    say(terminal, "hello")
    terminal.expect("You said: hello")
    terminal.gone("Esc stops")
    roost("down").ok()
    terminal.expect("the daemon is away")
    say(terminal, "are you there?")
    terminal.expect("error: ")
    prompt(terminal, "are you there?")
    terminal.gone("Esc stops")
    roost.up()
    terminal.expect("the daemon is back")
    terminal.type("\r")
    terminal.expect("You said: are you there?")


def test_a_deleted_session_rests(roost: Machine, talk: Talk) -> None:
    roost.up()
    terminal = talk()
    prompt(terminal)
    say(terminal, "words please")
    terminal.expect("w1 ")
    roost("rm", "--force", "@last").ok()
    terminal.expect("the session was deleted")
    terminal.gone("Esc stops")


def test_a_window_that_is_closed_keeps_no_empty_session(roost: Machine, talk: Talk) -> None:
    roost.up()
    terminal = talk()
    prompt(terminal)
    terminal.expect("workspace ")
    with open(os.devnull, "r+b") as nothing:
        os.dup2(nothing.fileno(), terminal.master)
    terminal.process.wait()
    assert roost("ps", "--all", "--json").ok().json == []


def test_a_picture_of_a_kept_message_goes_to_the_session_that_is_left(anywhere: Machine, talk: Talk) -> None:
    (anywhere.work / "dot.png").write_bytes(base64.b64decode(DOT))
    terminal = talk()
    prompt(terminal)
    say(terminal, "words please")
    terminal.expect("w1 ")
    first = anywhere.newest()["id"]
    terminal.type("what is in @dot.png \t")
    terminal.expect("next: what is in @dot.png")
    terminal.type("/new\r")
    terminal.type("hello\r")
    terminal.expect("You said: hello")
    deadline = time.monotonic() + 150  # the turn of before goes on for a minute
    while "what is in @dot.png" not in said(anywhere, first):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert "image/png" in said(anywhere, first)


def test_a_kept_message_that_cannot_be_sent_at_the_end_is_told(roost: Machine, talk: Talk) -> None:
    roost.up()
    terminal = talk()
    prompt(terminal)
    say(terminal, "wait for it")
    roost.until_made("begun")
    terminal.type("and then commit\t")
    terminal.expect("next: and then commit")
    roost("down").ok()
    terminal.expect("the daemon is away")
    terminal.type("\x04")
    assert terminal.wait() == 0
    assert "not sent: and then commit" in terminal.emulator.text
