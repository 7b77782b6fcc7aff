"""Slash commands, completion, the history, and commands of the person."""

from __future__ import annotations

import base64
import re
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from roost.cli.terminal.attachments import content_of, dropped_file
from roost.cli.terminal.git_changes import changes
from roost.cli.terminal.programs import edited
from roost.errors import Invalid
from tests.cli.conftest import Machine
from tests.harness.screen import ScreenTerminal

from .test_conversation import prompt, say

Talk = Callable[..., ScreenTerminal]
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A picture."""


def test_commands_are_listed_and_completed(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    terminal.type("/che")
    terminal.expect("/checkpoint   save this point")  # beside /checkpoints of the command line
    terminal.type("\t")
    prompt(terminal, "/checkpoint")
    terminal.type("\x15/nonsense\r")
    terminal.expect("there is no command /nonsense")
    say(terminal, "/etc is a folder")
    terminal.expect("You said: /etc is a folder")


def test_files_are_completed_without_ignored_ones(roost: Machine, talk: Talk) -> None:
    for name in ("notes.txt", "secret.log", "deep/nested.txt"):
        (roost.work / name).parent.mkdir(exist_ok=True)
        (roost.work / name).write_text("x")
    (roost.work / ".gitignore").write_text("*.log\n")
    terminal = talk()
    prompt(terminal)
    terminal.type("look at @")
    terminal.expect("@notes.txt")
    assert "@secret.log" not in terminal.emulator.text
    terminal.type("neste")
    terminal.gone("@notes.txt")
    terminal.type("\t")
    prompt(terminal, "look at @deep/nested.txt")
    terminal.type("\x15look at @notes.txt\r")  # nothing is left to complete: Enter sends
    terminal.expect("You said: look at @notes.txt")


def test_going_back_to_before_a_message(anywhere: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    for text in ("first", "second"):
        say(terminal, text)
        terminal.expect(f"You said: {text}")
        terminal.gone("Esc stops")
    terminal.type("/rewind\r")
    terminal.expect("Go back to before the message")
    terminal.expect("› second")
    terminal.type("\r")
    terminal.expect("on an empty line (Ctrl-C) /undo takes this back")
    text = terminal.expect("rolled back to")
    assert " ".join(text.split()).count("of which nothing is kept") == 1  # what becomes of the files is said once
    prompt(terminal, "second")
    messages = anywhere("show", "--json").ok().json["messages"]
    assert "second" not in str(messages)
    assert "first" in str(messages)


def test_a_fork_goes_on_and_leaves_the_session_as_it_is(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    say(terminal, "hello")
    terminal.expect("You said: hello")
    terminal.gone("Esc stops")
    terminal.type("/fork\r")
    terminal.expect("which stays as it is")
    terminal.expect("of agent assistant")
    say(terminal, "in the fork")
    terminal.expect("You said: in the fork")
    terminal.gone("Esc stops")
    terminal.type("/quit\r")
    terminal.wait()
    assert len(roost("ps", "--json").ok().json) == 2


def test_a_command_of_the_person_goes_with_the_next_message(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    terminal.type("!echo out''put; exit 3\r")
    terminal.expect("\n  output\n")
    terminal.expect("goes with your next message")
    say(terminal, "what was that?")
    terminal.expect("You said: I ran echo out''put; exit 3 (exit code 3)")
    terminal.gone("Esc stops")
    terminal.type("!tail -f /dev/null\r")
    terminal.expect("your command runs")
    terminal.type("\x1b")
    terminal.expect("✗ ! tail -f /dev/null")
    say(terminal, "and that?")
    terminal.expect("You said: I ran tail -f /dev/null (I stopped it)")


def test_the_history_is_kept_and_searched(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    for text in ("the first message", "another one"):
        say(terminal, text)
        terminal.expect(f"You said: {text}")
    terminal.type("\x04")
    assert terminal.wait() == 0
    kept = roost.home / "prompts.jsonl"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    again = talk()
    prompt(again)
    again.type("\x1b[A")
    prompt(again, "another one")
    again.type("\x03\x12first")
    again.expect("› the first message")
    again.type("\r")
    prompt(again, "the first message")


def test_other_commands_of_roost_print_into_the_conversation(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    say(terminal, "hello")
    terminal.expect("You said: hello")
    terminal.type("/cost\r")
    terminal.expect("1 turns, 1 model calls")
    terminal.type("/versio")
    terminal.expect("/version  Print the version.")
    terminal.type("\r")  # completes it only: a command of the command line may do more than one expects
    terminal.type("\r")
    terminal.expect("/version runs")
    terminal.gone("/version runs", timeout=200)
    assert "/version\nroost 0.1.0" in terminal.emulator.text


def test_a_model_is_chosen_for_the_next_turn(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    terminal.type("/model opnai/other\r")
    terminal.expect("there is no account 'opnai'")
    terminal.type("/model openai/other\r")
    terminal.expect("the model is openai/other")
    say(terminal, "hello")
    terminal.expect("You said: hello")
    terminal.expect("openai/other  ")


def test_a_picture_that_a_message_names_is_attached(roost: Machine, talk: Talk) -> None:
    (roost.work / "dot.png").write_bytes(base64.b64decode(DOT))
    terminal = talk()
    prompt(terminal)
    terminal.type("what is in @dot.png \r")
    terminal.expect("[dot.png]")


def test_what_changed_in_the_folder_is_shown(roost: Machine, talk: Talk) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", *words], cwd=roost.work, check=True)

    (roost.work / "notes.txt").write_text("one\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "begin")
    (roost.work / "notes.txt").write_text("two\n")
    terminal = talk()
    prompt(terminal)
    (roost.work / "added.txt").write_text("x\n")
    terminal.type("/diff\r")
    terminal.expect("+two")
    assert "-one" in terminal.emulator.text
    assert "new file: added.txt" in terminal.emulator.text


def test_what_changed_before_the_first_commit_and_outside_of_a_repository(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="only in a git repository"):
        changes(tmp_path)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "staged").write_text("one\n")
    (tmp_path / "new").write_text("two\n")
    subprocess.run(["git", "add", "staged"], cwd=tmp_path, check=True)
    found = changes(tmp_path)
    assert "+one" in found
    assert "new file: new" in found


def test_no_name_in_a_message_ends_the_conversation(tmp_path: Path) -> None:
    for name in ("~nosuchuser/x.png", f"{'x' * 5000}.png", "~/x.png"):
        text = f"look at @{name} please"
        assert content_of(text, tmp_path) == text
        assert dropped_file(name) is None


def test_a_program_that_is_no_shell_syntax_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "vi 'unclosed")
    monkeypatch.delenv("VISUAL", raising=False)
    assert edited("text") is None


def test_the_output_of_a_command_goes_with_a_picture_too(roost: Machine, talk: Talk) -> None:
    (roost.work / "dot.png").write_bytes(base64.b64decode(DOT))
    terminal = talk()
    prompt(terminal)
    terminal.type("!echo out''put\r")
    terminal.expect("goes with your next message")
    terminal.type("what is in @dot.png \r")
    terminal.expect("[dot.png]")
    assert "> I ran `echo out''put`" in terminal.emulator.text


def test_a_plan_is_made_without_changes_and_then_carried_out(anywhere: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    terminal.expect("workspace ")
    terminal.type("/go\r")
    terminal.expect("there is no /plan")
    terminal.type("/plan tidy up\r")
    terminal.expect("change nothing yet")
    terminal.gone("Esc stops")
    terminal.expect("read_only ")
    assert anywhere("show", "@last", "--json").ok().json["permissions"] == "read_only"
    terminal.type("/go\r")
    terminal.expect("You said: Carry out the plan.")
    assert anywhere("show", "@last", "--json").ok().json["permissions"] == "workspace"
    terminal.type("/go\r")
    terminal.expect("there is no /plan")


def test_a_theme_is_kept(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    assert b"\x1b[36m" in terminal.raw
    terminal.type("/theme mono\r")
    terminal.expect("the theme is mono")
    terminal.type("\x04")
    assert terminal.wait() == 0
    again = talk()
    prompt(again)
    say(again, "a story please")
    again.expect("The end.")
    assert not re.search(rb"\x1b\[[0-9;]*3[1-6]m", again.raw)
    assert b"\x1b[1m" in again.raw
