"""Questions about calls: what they show, which keys answer them, and answers from elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from roost.cli.terminal.approving import Approving
from roost.cli.terminal.blocks import called
from roost.cli.terminal.conversation import Conversation
from roost.cli.terminal.dialog import QUIET, ApprovalDialog
from roost.cli.terminal.keys import Key
from roost.cli.terminal.lines import drawn, text_of
from roost.errors import RoostError
from roost.log.events import Danger, RuleOffer
from roost.log.session_views import WaitingCall
from tests.cli.conftest import Machine
from tests.harness.screen import ScreenTerminal

from .test_conversation import prompt, say

if TYPE_CHECKING:
    from roost.cli.terminal.actions import Actions

Talk = Callable[..., ScreenTerminal]


def asked(terminal: ScreenTerminal, text: str = "make it") -> None:
    """Have the agent ask, and wait until keys are answers."""
    prompt(terminal)
    say(terminal, text)
    terminal.expect("Esc stops the turn")


def test_a_command_is_shown_whole_with_its_danger(anywhere: Machine, talk: Talk) -> None:
    terminal = talk()
    asked(terminal)
    text = terminal.emulator.text
    assert "$ echo made >> made.txt; git ls-remote . >/dev/null 2>&1; echo done" in text
    assert text.count("it speaks to other machines: git ls-remote .") == 1  # in the head alone
    assert "! git ls-remote" not in text
    row = next(number for number, line in enumerate(terminal.emulator.shown) if "$ echo made" in line)
    column = terminal.emulator.shown[row].index("git ls-remote")
    assert terminal.emulator.style(row, column).reverse
    assert not terminal.emulator.style(row, column - 4).reverse
    terminal.type("y")
    text = terminal.expect("The result: done")
    assert "✔ allowed: shell echo made" in text
    assert (anywhere.work / "made.txt").read_text() == "made\n"


@pytest.mark.parametrize("where", ["alone", "daemon"])
def test_an_edit_is_allowed_after_a_pause(roost: Machine, talk: Talk, where: str) -> None:
    """The session sleeps after a second, and goes on with the answer."""
    roost.home.mkdir(parents=True)
    (roost.home / "policy.toml").write_text('[[rules]]\neffect = "ask"\ntool = "edit_file"\n')
    (roost.work / "notes.txt").write_text("old\n")
    if where == "daemon":
        roost.up()
    terminal = talk()
    asked(terminal, "correct it")
    time.sleep(2.5)
    terminal.type("y")
    terminal.expect("Corrected: Edited notes.txt")
    assert (roost.work / "notes.txt").read_text() == "new\n"


def test_keys_typed_before_the_question_are_no_answer(anywhere: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    terminal.type("make it\ryyy1y")
    terminal.expect("Tab goes to the choices")
    terminal.type("y")
    prompt(terminal, "yyy1yy")
    assert not (anywhere.work / "made.txt").exists()
    terminal.type("\t")
    terminal.expect("Esc stops the turn")
    terminal.type("y")
    terminal.expect("The result: done")
    prompt(terminal, "yyy1yy")


def test_enter_alone_and_pasted_text_decide_nothing(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    asked(terminal)
    terminal.type("\r\r")
    terminal.paste("y")
    prompt(terminal, "y")
    assert roost.until("waiting")["phase"] == "waiting"
    assert not (roost.work / "made.txt").exists()


def test_a_refusal_says_why(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    asked(terminal)
    terminal.type("n")
    terminal.expect("why not?")
    terminal.type("use the test machine")
    terminal.expect("why not? use the test machine")
    terminal.type("\r")
    assert "✗ rejected: shell" in terminal.expect("(use the test")
    terminal.expect("The result:")
    assert not (roost.work / "made.txt").exists()


def test_an_arrow_chooses_and_enter_confirms(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    asked(terminal)
    terminal.type("\x1b[B")
    terminal.expect("› y  yes, this once")
    terminal.type("\r")
    terminal.expect("The result: done")


def test_always_is_shown_as_the_rule_that_it_becomes(anywhere: Machine, talk: Talk) -> None:
    terminal = talk()
    prompt(terminal)
    terminal.type("/mode ask\r")
    terminal.expect("from the next turn on")
    asked(terminal, "run the suite")
    terminal.expect("   a  always: ")
    terminal.type("a")
    terminal.expect("allow from now on")
    terminal.expect("in this session")
    terminal.type("\r")
    text = terminal.expect("Both ran.")
    assert "; from now on in this session: " in text
    assert "/policy revoke" in text
    assert text.count("? shell") == 1


def test_the_command_can_be_changed_before_it_runs(roost: Machine, talk: Talk) -> None:
    editor = roost.work / "editor"
    editor.write_text('#!/bin/sh\nprintf "echo changed > made.txt; echo so" > "$1"\n')
    editor.chmod(0o755)
    terminal = talk(env={"EDITOR": str(editor)})
    asked(terminal)
    terminal.type("e")
    terminal.expect("The result: [a person changed the arguments")
    assert "✔ allowed, changed: shell echo changed > made.txt; echo so" in terminal.emulator.text
    assert "● shell echo changed > made.txt; echo so" in terminal.emulator.text
    assert (roost.work / "made.txt").read_text() == "changed\n"


def test_an_answer_from_elsewhere_closes_the_question_and_says_whose(anywhere: Machine, talk: Talk) -> None:
    terminal = talk()
    asked(terminal)
    anywhere("approve", "@last", "--note", "go on").ok()
    terminal.expect("The result: done")
    terminal.gone("yes, this once")
    assert "✔ allowed from" in terminal.emulator.text
    assert "(go on)" in terminal.emulator.text


def test_a_session_whose_call_waits_is_taken_up(anywhere: Machine, talk: Talk) -> None:
    asked(talk())
    terminal = talk("chat", "--session", "@last")
    terminal.expect("Esc stops the turn")
    assert "no result yet" not in terminal.emulator.text
    terminal.type("y")
    terminal.expect("The result: done")
    assert "● shell echo made >> made.txt" in terminal.emulator.text


def test_a_call_of_a_child_is_asked_about(roost: Machine, talk: Talk) -> None:
    agents = roost.work / "agents"
    agents.mkdir()
    (agents / "worker.toml").write_text('tools = ["shell"]\npermissions = "ask"\ncallable_by = ["lead"]\n')
    (agents / "lead.toml").write_text('tools = ["task"]\npermissions = "all"\nchildren = { agents = ["worker"] }\n')
    terminal = talk("chat", "lead", "--agents", "agents")
    asked(terminal, "delegate it")
    assert "in worker, session" in terminal.emulator.text
    terminal.type("y")
    terminal.expect("They said:")
    assert "✔ allowed: shell" in terminal.emulator.text


@pytest.mark.parametrize("size", [(60, 20), (20, 5)])
def test_questions_fit_small_screens(roost: Machine, talk: Talk, size: tuple[int, int]) -> None:
    terminal = talk(columns=size[0], rows=size[1])
    terminal.expect(">")
    terminal.gone("starting")
    terminal.type("make it\r")
    terminal.expect("   Esc stops the t")
    terminal.type("y")
    terminal.expect("The result:")
    assert (roost.work / "made.txt").exists()


@pytest.mark.parametrize("what", ["wordy", "lined"])
def test_a_call_longer_than_the_screen_is_read_before_it_is_allowed(roost: Machine, talk: Talk, what: str) -> None:
    """Its beginning has scrolled off when the choices stand below its end."""
    reads = roost.work / "reads"
    reads.write_text('#!/bin/sh\ncp "$1" read.txt\n')
    reads.chmod(0o755)
    terminal = talk(env={"PAGER": str(reads)})
    prompt(terminal)
    say(terminal, what)
    terminal.expect("d shows the rest; read it before you allow it")
    beside = "\n".join(terminal.emulator.shown[-12:])
    assert "? shell  it speaks to other machines: git ls-remote ." in beside
    assert "$ git ls-remote ." in beside
    time.sleep(QUIET)
    terminal.type("y")
    terminal.expect("Esc stops the turn")
    assert roost.until("waiting")["phase"] == "waiting"
    assert "$ git ls-remote ." in (roost.work / "read.txt").read_text()
    time.sleep(QUIET)
    terminal.type("y")
    terminal.expect("It ended: done")


def test_a_question_stands_by_its_choices_also_below_what_other_calls_print(roost: Machine, talk: Talk) -> None:
    (roost.work / "fake.txt").write_text("? shell  it reads\n$ git status\n")
    terminal = talk()
    asked(terminal, "beside")
    terminal.expect("$ git status")
    rows = terminal.emulator.shown
    below = next(at for at, row in enumerate(rows) if "$ git status" in row)
    assert any("git ls-remote ." in row for row in rows[below:]), terminal.emulator.text


def test_an_edit_is_shown_as_a_diff(roost: Machine, talk: Talk) -> None:
    (roost.work / "notes.txt").write_text("one\nold\nthree\n")
    terminal = talk()
    prompt(terminal)
    terminal.type("/mode ask\r")
    terminal.expect("from the next turn on")
    asked(terminal, "correct it")
    terminal.expect("notes.txt  +1 −1")
    rows = [row.strip() for row in terminal.emulator.shown]
    assert "2 - old" in rows
    assert "2 + new" in rows
    terminal.type("y")
    terminal.expect("Corrected:")


def test_the_bell_rings_when_a_call_waits(roost: Machine, talk: Talk) -> None:
    terminal = talk()
    asked(terminal)
    assert b"\a" in terminal.raw
    assert b"shell waits for you" in terminal.raw


class Link:
    """A session whose waiting calls cannot be read at first."""

    session = "ses_mine"

    def __init__(self) -> None:
        self.reads = 0

    def waiting(self, then: Callable[[list[WaitingCall]], None], failed: Callable[[Exception], None]) -> None:
        self.reads += 1
        if self.reads == 1:
            failed(RoostError("no daemon answers", code="unreachable"))
        else:
            then([])


def test_waiting_calls_that_could_not_be_read_are_read_again() -> None:
    chat = SimpleNamespace(link=Link(), conversation=Conversation())
    approving = Approving(cast("Actions", chat), yes=False)
    chat.conversation.asked = True
    for _ in range(5):
        approving.follow(chat.conversation)
    assert chat.link.reads == 1
    wait = approving.due()
    assert wait is not None
    assert wait > 0
    time.sleep(wait)
    approving.follow(chat.conversation)
    assert chat.link.reads == 2
    assert approving.due() is None


def test_a_rule_is_shown_whole_before_it_is_confirmed() -> None:
    offer = RuleOffer(rule="x", says="commands that begin with 'make " + "very " * 12 + "long test'", scopes=("user",))
    waiting = WaitingCall(
        session="s", agent="a", call="c", tool="shell", arguments='{"command": "make"}', reason="it asks", asked=1,
        offers=(offer,),
    )  # fmt: skip
    dialog = ApprovalDialog(waiting)
    dialog.key(Key("text", "a"))
    for columns, rows in ((60, 16), (100, 20)):
        shown = " ".join(" ".join(text_of(row) for row in dialog.rows(columns, rows)).split())
        assert "in all sessions of this user: commands that begin" in shown, columns
        assert "long test'" in shown, columns
    assert "in all sessions" in text_of(dialog.rows(30, 3)[1])
    dialog.key(Key("escape"))
    dialog.key(Key("text", "n"))
    dialog.key(Key("text", "because " * 10 + "of the end"))
    assert "the end" in " ".join(text_of(row) for row in dialog.rows(40, 8))


def test_a_file_that_a_command_loses_is_marked_where_it_stands_also_without_colours() -> None:
    command = "cd build && rm -rf ./old ../keep && echo old"
    dangers = tuple(
        Danger(f"build/{name}", "what it holds is lost or is never seen again") for name in ("./old", "../keep")
    )
    waiting = WaitingCall(
        session="s", agent="a", call="c", tool="shell", arguments=f'{{"command": "{command}"}}', reason="it asks",
        asked=1, dangers=dangers,
    )  # fmt: skip
    rows = [row for block in ApprovalDialog(waiting).blocks() for row in block.rows(40)]
    plain = "".join(drawn(row, colour=False) for row in rows)
    assert "rm -rf \x1b[7m./old\x1b[0m" in plain
    assert "\x1b[7m../keep\x1b[0m" in plain.replace("\n", "")
    assert "\x1b[7mold" not in plain
    words = {word for row in rows for word in text_of(row).split()}
    assert words >= {"what", "holds", "again"}  # a reason wraps at words


def test_an_edit_shows_the_lines_that_it_changes() -> None:
    arguments = (
        b'{"path":"a.py","old":"def a():\\n    b()\\n\\nend","new":"def a():\\n    c()\\n    d()\\n\\nend"}'.decode()
    )
    rows = [row for block in called("edit_file", arguments, "ok", (), 0.0, "Ctrl-O") for row in block.rows(80)]
    assert [text_of(row) for row in rows[1:]] == ["  -     b()", "  +     c()", "  +     d()"]
