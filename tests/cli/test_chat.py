"""`roost chat --plain` in a terminal, and `roost chat` in a pipe."""

from __future__ import annotations

import pytest

from .conftest import Machine


@pytest.fixture(params=["alone", "daemon"])
def anywhere(request: pytest.FixtureRequest, roost: Machine) -> Machine:
    if request.param == "daemon":
        roost.up()
    return roost


def test_a_conversation(anywhere: Machine) -> None:
    chat = anywhere.terminal("chat", "--plain")
    chat.expect("/help for commands")
    chat.expect("> ")
    chat.type("which files are here?\n")
    assert "● list_files" in chat.expect("I found:")
    chat.expect("> ")
    chat.type("/help\n")
    chat.expect("/steer TEXT")
    chat.expect("> ")
    chat.type("make it\n")
    chat.expect("[?] help:")
    chat.type("y\n")
    chat.expect("The result: done")
    chat.expect("> ")
    chat.type("/quit\n")
    chat.expect("is kept: roost chat --session")
    assert chat.wait() == 0
    assert anywhere("show", "--json").ok().json["turns"] == 2


def test_typing_while_the_agent_works_steers_it(anywhere: Machine) -> None:
    chat = anywhere.terminal("chat", "--plain")
    chat.expect("> ")
    chat.type("words please\n")
    chat.expect("w1 ")
    chat.type("/later and after that?\n")
    chat.expect("(for later)")
    chat.type("never mind that\n")
    chat.expect("(told)")
    chat.expect("You said: never mind that")
    chat.expect("You said: and after that?")
    chat.expect("> ")
    chat.type("\x04")
    assert chat.wait() == 0


def test_ctrl_c_cancels_and_the_conversation_goes_on(anywhere: Machine) -> None:
    chat = anywhere.terminal("chat", "--plain")
    chat.expect("> ")
    chat.type("words please\n")
    chat.expect("w1 ")
    chat.type("\x03")
    chat.expect("turn cancelled")
    chat.expect("> ")
    chat.type("words again\n")
    chat.expect("w1 ")
    chat.type("/pause\n")
    chat.expect("paused; /resume continues")
    chat.expect("> ")
    chat.type("/resume\n")
    chat.expect("w39")
    chat.expect("> ")
    chat.type("still there?\n")
    chat.expect("You said: still there?")
    chat.expect("> ")
    chat.type("/new\n")
    chat.expect("/help for commands")
    chat.expect("> ")
    chat.type("/sessions\n")
    chat.expect("* ")
    chat.type("/quit\n")
    assert chat.wait() == 0
    assert len(anywhere("ps", "--json").json) == 2


def test_a_session_is_taken_up_in_the_middle_of_its_turn(roost: Machine) -> None:
    chat = roost.terminal("chat", "--plain")
    chat.expect("> ")
    chat.type("make it\n")
    chat.expect("[?] help:")
    chat.process.kill()
    chat.process.wait()
    again = roost.terminal("chat", "--plain", "--session", "@last")
    assert "$ echo made" in again.expect("[?] help:")
    again.type("y\n")
    again.expect("The result: done")
    again.expect("> ")
    again.type("/quit\n")
    assert again.wait() == 0


def test_a_pipe_is_one_message_a_line(roost: Machine) -> None:
    done = roost("chat", stdin="one\n\n/nonsense\ntwo\nmake it\n").ok()
    assert done.out == "You said: one\nYou said: two\nThe result: " + done.out.split("The result: ")[1]
    assert "there is no command /nonsense" in done.err
    assert "rejected" in done.err
    assert roost(stdin="three\n").ok().out == "You said: three\n"  # `roost` alone
    assert not (roost.work / "made.txt").exists()


def test_a_dumb_terminal_gets_plain_lines(roost: Machine) -> None:
    chat = roost.terminal(env={"TERM": "dumb"})
    chat.expect("> ")
    chat.type("hello\n")
    assert "\x1b" not in chat.expect("You said: hello")
    chat.expect("> ")
    chat.type("/quit\n")
    assert chat.wait() == 0
