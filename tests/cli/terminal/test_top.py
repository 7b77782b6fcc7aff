"""`roost top` on a terminal: what it shows, and what its keys do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from tests.cli.conftest import Machine
from tests.harness.screen import ScreenTerminal

Start = Callable[..., ScreenTerminal]


@pytest.fixture
def up(roost: Machine) -> Machine:
    roost.up()
    return roost


def begun(roost: Machine, text: str, phase: str) -> str:
    """A session of the daemon with a turn that has got to this phase."""
    session = roost("run", "--json", "hello").ok().json["session"]
    if text != "hello":
        roost("send", session, text).ok()
    deadline = time.monotonic() + 60
    while roost("show", session, "--json").ok().json["info"]["phase"] != phase:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return session


def shown(terminal: ScreenTerminal) -> str:
    return "\n".join(terminal.emulator.shown)


def chosen(terminal: ScreenTerminal) -> str:
    return next((row for row in terminal.emulator.shown if row.startswith("› ")), "")


def test_it_shows_what_there_is_and_gives_the_terminal_back(up: Machine, talk: Start) -> None:
    session = begun(up, "hello", "idle")
    terminal = talk("top")
    terminal.until(lambda: session[-8:] in shown(terminal), "no session")
    text = shown(terminal)
    assert "1 session " in text
    assert "queue 0" in text
    assert "works  live" in text
    assert "$0.00" in text
    assert session[-8:] in chosen(terminal)
    terminal.type("q")
    assert terminal.wait() == 0
    assert terminal.restored
    assert terminal.raw.rindex(b"\x1b[?1049l") > terminal.raw.rindex(b"\x1b[?1049h")


def test_a_call_that_waits_is_answered_and_early_keys_are_no_answer(up: Machine, talk: Start) -> None:
    session = begun(up, "make it", "waiting")
    terminal = talk("top")
    terminal.until(lambda: "call waits for you" in shown(terminal), "nothing waits")
    assert f"? {session[-8:]} shell" in shown(terminal)
    terminal.type("ayyy")  # typed before the question could be read
    terminal.until(lambda: "yes, this once" in shown(terminal), "no question")
    assert "echo made >> made.txt" in shown(terminal)
    terminal.until(lambda: "waits until you stop typing" not in shown(terminal), "never armed")
    assert up("show", session, "--json").ok().json["info"]["phase"] == "waiting"
    terminal.type("y")
    terminal.until(lambda: "allowed shell" in shown(terminal) or "idle" in chosen(terminal), "not allowed")
    up.until_made("made.txt")
    terminal.until(lambda: "idle" in chosen(terminal), "the turn has not ended")


def test_a_call_that_another_client_answers_leaves_the_screen(up: Machine, talk: Start) -> None:
    session = begun(up, "make it", "waiting")
    terminal = talk("top")
    terminal.until(lambda: "call waits for you" in shown(terminal), "nothing waits")
    terminal.type("a")
    terminal.until(lambda: "yes, this once" in shown(terminal), "no question")
    up("approve", session, "--reject").ok()
    terminal.until(lambda: "yes, this once" not in shown(terminal), "it is still asked")
    assert session[-8:] in chosen(terminal)


def test_a_turn_is_cancelled_after_a_yes_and_a_session_paused_and_resumed(up: Machine, talk: Start) -> None:
    begun(up, "wait for it", "working")
    up.until_made("begun")
    terminal = talk("top")
    terminal.until(lambda: "working" in chosen(terminal), "it does not work")
    terminal.type("cn")
    terminal.until(lambda: "↑↓ choose" in shown(terminal), "the question stays")
    assert "working" in chosen(terminal)
    terminal.type("c")
    terminal.until(lambda: "cancel the running turn of" in shown(terminal), "no question")
    terminal.type("y")
    terminal.until(lambda: "idle" in chosen(terminal), "it still works")
    terminal.type("p")
    terminal.until(lambda: "paused" in chosen(terminal), "it is not paused")
    terminal.type("p")
    terminal.until(lambda: "idle" in chosen(terminal), "it is not resumed")


def test_a_message_is_sent(up: Machine, talk: Start) -> None:
    session = begun(up, "hello", "idle")
    terminal = talk("top")
    terminal.until(lambda: session[-8:] in chosen(terminal), "no session")
    terminal.type("mgood qac morning")
    terminal.until(lambda: "message to" in shown(terminal) and "qac morning" in shown(terminal), "no draft")
    terminal.type("\r")
    terminal.until(lambda: "sent to" in shown(terminal), "not sent")
    deadline = time.monotonic() + 60
    while "You said: good qac morning" not in up("show", session).ok().out:
        assert time.monotonic() < deadline


def test_the_list_is_filtered_scrolled_and_fits_each_size(up: Machine, talk: Start) -> None:
    sessions = [begun(up, "hello", "idle") for _ in range(12)]
    terminal = talk("top", rows=12)
    terminal.until(lambda: "12 sessions" in shown(terminal) and bool(chosen(terminal)), "not read")
    first = chosen(terminal)[2:10]
    terminal.type("\x1b[F")  # which one is last changes until all of them sleep
    terminal.until(lambda: chosen(terminal)[2:10] not in ("", first), "the last one is not shown")
    terminal.type(f"/{sessions[5][-8:]}")
    terminal.until(lambda: sessions[5][-8:] in chosen(terminal), "not found")
    terminal.type("\r")
    terminal.until(lambda: "↑↓ choose" in shown(terminal), "the filter is still edited")
    terminal.type("\x1b")
    terminal.until(lambda: sum(one[-8:] in shown(terminal) for one in sessions) > 1, "the filter is still there")
    for columns, rows in ((30, 8), (200, 50), (8, 4), (100, 30)):
        terminal.resize(columns, rows)
        terminal.until(lambda: bool(chosen(terminal)), f"nothing at {columns} by {rows}")
        if columns >= 30:  # a narrow screen leaves out other columns than these
            terminal.until(lambda: re.search(r" idle +\S", chosen(terminal)) is not None, f"cut at {columns}")
    terminal.type("q")
    assert terminal.wait() == 0


def test_a_session_is_attached_and_left(up: Machine, talk: Start) -> None:
    session = begun(up, "hello", "idle")
    terminal = talk("top")
    terminal.until(lambda: session[-8:] in chosen(terminal), "no session")
    terminal.type("\r")
    terminal.until(lambda: "Ctrl-C leaves it running" in terminal.emulator.text, "not attached")
    terminal.type("\x03")
    terminal.until(lambda: session[-8:] in chosen(terminal) and "↑↓ choose" in shown(terminal), "it has not returned")
    terminal.type("q")
    assert terminal.wait() == 0


def test_a_daemon_that_goes_away_is_said_and_comes_back(up: Machine, talk: Start) -> None:
    begun(up, "hello", "idle")
    terminal = talk("top")
    terminal.until(lambda: bool(chosen(terminal)), "not read")
    up("down").ok()
    terminal.until(lambda: "no answer" in shown(terminal), "its end is not said")
    up.up()
    terminal.until(lambda: "no answer" not in shown(terminal) and bool(chosen(terminal)), "it is not read again")


def test_without_a_terminal_it_prints_once(up: Machine) -> None:
    session = begun(up, "make it", "waiting")
    said = up("top").ok().out
    assert session[-8:] in said
    assert "? " in said
    found = up("top", "--json").ok().json
    assert [one["id"] for one in found["sessions"]] == [session]
    assert [one["session"] for one in found["waiting"]] == [session]


def test_a_message_goes_to_the_session_for_which_it_was_begun(up: Machine, talk: Start) -> None:
    sessions = [begun(up, "wait for it", "working") for _ in range(2)]
    terminal = talk("top")
    terminal.until(lambda: "2 working" in shown(terminal), "they do not work")
    terminal.type("/working")
    terminal.until(lambda: "filter: working" in shown(terminal), "no filter")
    terminal.type("\r")
    terminal.until(lambda: "↑↓ choose" in shown(terminal), "still the filter")
    meant = next(one for one in sessions if one[-8:] in chosen(terminal))
    other = next(one for one in sessions if one != meant)
    terminal.type("m")
    terminal.until(lambda: "message to" in shown(terminal), "no draft")
    up("cancel", meant).ok()  # it leaves the list
    terminal.until(lambda: other[-8:] in chosen(terminal) and "1 working" in shown(terminal), "it is still listed")
    terminal.type("hello\r")
    terminal.until(lambda: f"sent to {meant[-8:]}" in shown(terminal), "sent elsewhere")


def test_a_message_that_is_not_sent_is_kept(up: Machine, talk: Start) -> None:
    session = begun(up, "hello", "idle")
    terminal = talk("top")
    terminal.until(lambda: session[-8:] in chosen(terminal), "no session")
    up("down").ok()
    terminal.until(lambda: "no answer" in shown(terminal), "its end is not said")
    terminal.type("mkeep this")
    terminal.until(lambda: "keep this" in shown(terminal), "no draft")
    terminal.type("\r")
    terminal.until(lambda: "keep this" not in shown(terminal), "it is not sent")
    up.up()
    terminal.until(lambda: "no answer" not in shown(terminal) and bool(chosen(terminal)), "it is not read again")
    terminal.type("m")
    terminal.until(lambda: "message to" in shown(terminal) and "keep this" in shown(terminal), "the message is lost")
