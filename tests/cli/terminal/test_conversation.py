"""A conversation on a real terminal, with a daemon and without."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable

from tests.cli.conftest import ROOST, Machine
from tests.harness.screen import ScreenTerminal

Talk = Callable[..., ScreenTerminal]


def prompt(terminal: ScreenTerminal, text: str = "") -> None:
    """Wait until the session is open and the draft is `text`."""
    terminal.until(
        lambda: f"> {text}".rstrip() in [row.rstrip() for row in terminal.emulator.shown], f"no draft {text!r}"
    )
    terminal.gone("starting")


def say(terminal: ScreenTerminal, text: str) -> None:
    """Type a message, and send it once it stands in the editor."""
    terminal.type(text)
    terminal.expect(f"> {text}")
    terminal.type("\r")


def test_a_conversation(anywhere: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    say(terminal, "which files are here?")
    text = terminal.expect("I found:")
    assert "> which files are here?" in text
    assert "● list_files" in text
    say(terminal, "hello")
    terminal.expect("You said: hello")
    prompt(terminal)
    terminal.type("/quit\r")
    assert terminal.wait() == 0
    assert "is kept: roost chat --session" in terminal.emulator.text
    assert terminal.restored
    assert anywhere("show", "--json").ok().json["turns"] == 2


def test_the_answer_stands_once_whatever_is_typed_and_resized(anywhere: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    say(terminal, "a story please")
    terminal.expect("Line 03")
    terminal.type("my draft")
    for columns, rows, line in ((60, 20, "Line 08"), (110, 30, "Line 16"), (40, 12, "Line 24"), (100, 30, "Line 30")):
        terminal.resize(columns, rows)
        terminal.expect(line)
    terminal.expect("The end.")
    terminal.gone("Esc stops")
    prompt(terminal, "my draft")
    text = terminal.emulator.text
    assert re.findall(r"Line (\d\d)", text) == [f"{number:02}" for number in range(40)]
    assert text.count("The end.") == text.count("A story") == text.count("def sing():") == 1
    assert "**" not in text
    assert "```" not in text
    assert text.index("> a story please") < text.index("A story") < text.index("my draft")


def test_a_small_screen(roost: Machine, talk: Talk) -> None:
    terminal = talk(columns=20, rows=5)
    terminal.expect(">")
    terminal.gone("starting")
    terminal.type("a story\r")
    terminal.expect("The end.")
    terminal.gone("Esc")
    assert re.findall(r"Line (\d\d)", terminal.emulator.text) == [f"{number:02}" for number in range(40)]


def test_a_pasted_block_is_one_message(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    terminal.paste("one\ntwo\nthree\nfour")
    terminal.expect("  four")
    terminal.type("\r")
    terminal.expect("You said: one")
    terminal.gone("Esc stops")
    terminal.type("/quit\r")
    assert terminal.wait() == 0
    assert roost("show", "--json").ok().json["turns"] == 1


def test_lines_are_written_with_ctrl_j_and_a_backslash(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    terminal.type("one\ntwo\\\rthree")
    terminal.expect("  three")
    terminal.type("\r")
    terminal.expect("You said: one")
    assert [row for row in terminal.emulator.lines if row.strip() in ("two", "three")]


def test_typing_while_it_works_steers_and_tab_keeps_for_later(anywhere: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    say(terminal, "words please")
    terminal.expect("w1 ")
    terminal.type("and after that?\t")
    terminal.expect("next: and after that?")
    say(terminal, "never mind that")
    terminal.expect("You said: never mind that")
    terminal.expect("You said: and after that?")
    assert terminal.emulator.text.count("> never mind that") == 1


def test_queued_text_can_be_taken_back(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    say(terminal, "words please")
    terminal.expect("w1 ")
    terminal.type("for later\t")
    terminal.expect("next: for later")
    terminal.type("\x1b[A")
    prompt(terminal, "for later")
    terminal.gone("next: for later")
    assert "writing" in "\n".join(terminal.emulator.shown)  # it did not go because the turn had ended


def test_escape_cancels_and_the_conversation_goes_on(anywhere: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    say(terminal, "words please")
    terminal.expect("w1 ")
    terminal.type("\x1b")
    terminal.expect("turn cancelled")
    say(terminal, "still there?")
    terminal.expect("You said: still there?")


def test_ctrl_c_clears_then_leaves_when_pressed_twice(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    say(terminal, "hello")
    terminal.expect("You said: hello")
    terminal.type("draft")
    prompt(terminal, "draft")
    terminal.type("\x03")
    prompt(terminal)
    terminal.type("\x03")
    terminal.expect("Ctrl-C again leaves")
    terminal.type("\x03")
    assert terminal.wait() == 0
    assert terminal.restored


def test_an_empty_session_is_not_kept(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    terminal.expect("workspace ")
    terminal.type("\x04")
    assert terminal.wait() == 0
    assert "is kept" not in terminal.emulator.text
    assert roost("ps", "--all", "--json").ok().json == []


def test_a_long_result_is_folded_to_its_end(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    say(terminal, "numbers please")
    text = terminal.expect("Counted.")
    assert "… 196 lines, Ctrl-O shows them" in text
    assert "\n  200\n" in text
    assert "\n  100\n" not in text


def test_thoughts_are_folded_until_asked_for(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    say(terminal, "thoughts please")
    assert "A secret thought" not in terminal.expect("I thought.")
    assert "✻ thought for" in terminal.emulator.text
    terminal.type("\x14")
    terminal.expect("thoughts are shown")
    say(terminal, "thoughts again")
    terminal.expect("A secret thought about birds.")


def test_another_client_steers_the_same_session(anywhere: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    say(terminal, "hello")
    terminal.expect("You said: hello")
    anywhere("send", "@last", "from elsewhere").ok()
    terminal.expect("> from elsewhere")
    terminal.expect("You said: from elsewhere")


def test_a_session_is_taken_up_with_its_last_messages(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    say(terminal, "hello there")
    terminal.expect("You said: hello there")
    terminal.process.kill()
    terminal.process.wait()
    again = talk("chat", "--session", "@last")
    text = again.expect("You said: hello there")
    assert "> hello there" in text
    prompt(again)
    say(again, "once more")
    again.expect("You said: once more")


def test_text_from_a_model_moves_no_cursor(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    say(terminal, "escape please")
    terminal.expect("plain red")
    assert b"owned" not in terminal.raw


def test_what_prevents_the_session_is_said_on_a_restored_terminal(roost: Machine, talk: Talk) -> None:
    terminal = talk("chat", "nobody")
    assert terminal.wait() == 1
    assert "there is no agent 'nobody'" in terminal.emulator.text
    assert terminal.restored


def test_every_signal_that_ends_it_restores_the_terminal(roost: Machine, talk: Talk) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        terminal = talk()
        prompt(terminal)
        terminal.type("half a draft")
        prompt(terminal, "half a draft")
        terminal.process.send_signal(number)
        assert terminal.wait() == 0
        assert terminal.restored, number


def test_a_kill_while_it_streams_restores_the_terminal_of_the_shell(roost: Machine, in_shell: Talk) -> None:
    shell = in_shell()
    shell.expect("$")
    shell.type(f"{ROOST}\r")
    shell.expect("  workspace")
    prompt(shell)
    say(shell, "a story please")
    shell.expect("Line 03")
    shell.type("\x1a")  # a stopped job gives the shell its terminal
    shell.expect("Stopped")
    shell.type("stty -a | grep -c ' icanon'; fg\r")
    shell.expect("\n1\n")
    shell.expect("The end.")
    prompt(shell)
    assert shell.emulator.text.count("The end.") == 1
    shell.type("!kill -9 $PPID\r")
    shell.expect("Killed")
    shell.type("stty -a | grep -c ' icanon'\r")
    shell.until(lambda: shell.emulator.text.count("\n1\n") == 2, "no line mode")
    shown, hidden = b"\x1b[?25h", b"\x1b[?25l"
    shell.until(lambda: shell.raw.rfind(shown) > shell.raw.rfind(hidden), "no cursor")


def test_an_editor_that_is_suspended_gives_the_shell_its_terminal(roost: Machine, in_shell: Talk) -> None:
    editor = roost.work / "editor"
    editor.write_text('#!/bin/sh\necho editing\ncat > /dev/null\nprintf written > "$1"\n')
    editor.chmod(0o755)
    shell = in_shell()
    shell.expect("$")
    shell.type(f"EDITOR={editor} {ROOST}\r")
    shell.expect("  workspace")
    prompt(shell)
    shell.type("\x07")
    shell.expect("editing")
    shell.type("\x1a")
    shell.expect("Stopped")
    shell.type("fg\r")
    shell.until(lambda: shell.emulator.text.count("EDITOR=") == 3, "not continued")
    shell.type("\x04")
    prompt(shell, "written")


def test_no_colour_is_obeyed(roost: Machine, talk: Talk) -> None:
    terminal = talk(env={"NO_COLOR": "1"})
    prompt(terminal)
    say(terminal, "a story please")
    terminal.expect("The end.")
    assert not re.search(rb"\x1b\[[0-9;]*[1-9][0-9;]*m", terminal.raw)


def test_what_the_model_is_told_beside_a_message_is_not_shown_as_said(roost: Machine, talk: Talk) -> None:
    roost("run", "hello").ok()
    assert "[Now" in roost("logs").ok().out
    assert "[Now" not in roost("show").ok().out
    terminal = talk("chat", "--session", "@last")
    prompt(terminal)
    assert "> hello" in terminal.expect("You said: hello")
    assert "[Now" not in terminal.emulator.text


def test_the_default_model_is_named_before_the_first_call(roost: Machine, talk: Talk) -> None:
    del roost.env["ROOST_MODEL"]
    roost.home.mkdir(mode=0o700)
    (roost.home / "models.toml").write_text('default = "openai/scripted"\n')
    roost.up()
    talk().expect("openai/scripted  workspace")
