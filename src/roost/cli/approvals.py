"""Ask a person about a waiting call."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

from roost.cli.approval_text import Question, settle
from roost.cli.output import note, styled
from roost.ids import short
from roost.log.session_info import Decision
from roost.log.session_views import PendingApproval
from roost.policy.standing_rules import narrowest
from roost.terminal_text import clean, visible_line

Mode: TypeAlias = Literal["ask", "yes", "reject", "leave"]
"""`ask` a person at this terminal, say `yes` to all, `reject` all because there is no person to ask, or `leave` them
to another client."""

_TICK = 0.25
"""Seconds between looks at whether another client has answered."""
_NOBODY = "nobody is there to allow it; do not try it again, answer without it"
_HELP = """\
  y         allow this call
  n         reject it; the agent is told and goes on
  n REASON  reject it, and tell the agent why, as in: n use the test database
  a         allow it, and from now on what the choice names, without a question
  m         show the next lines of what is to be allowed; `all` shows the rest at once
  Anything else decides nothing: you are asked again. Ctrl-C cancels the turn.
  A line with ! is the part to look at first. <U+....> is a character that a terminal would not show."""


class Answered(NamedTuple):
    """`always`: the offered rules that count for the rest of the session."""

    decision: Decision
    note: str | None = None
    always: tuple[str, ...] = ()


def mode_for(*, yes: bool) -> Mode:
    if yes:
        return "yes"
    return "ask" if sys.stdin.isatty() and sys.stderr.isatty() else "reject"


class Approver:
    """Decides the calls of one session. `decide` returns None when the answer is left to another client, and raises
    `KeyboardInterrupt` for Ctrl-C at the question."""

    def __init__(self, mode: Mode) -> None:
        self._mode: Mode = mode
        self._told = False

    def decide(self, waiting: PendingApproval, session: str, gone: Callable[[], bool]) -> Answered | None:
        """Return the answer. gone: whether another client has answered, which ends the question; it is asked often."""
        match self._mode:
            case "yes":
                return Answered("approve")
            case "reject":
                if not self._told:
                    self._told = True
                    note("  there is no terminal to ask in: Roost rejects calls that need an approval", "yellow")
                    note("  run it in a terminal to be asked, or with --yes to approve all", "yellow")
                return Answered("reject", _NOBODY)
            case "leave":
                note(f"  {waiting.tool} waits for an answer: roost approve {short(session)} {waiting.call}", "yellow")
                return None
            case "ask":
                return self._ask(waiting, gone)

    def _ask(self, waiting: PendingApproval, gone: Callable[[], bool]) -> Answered | None:
        question = Question(waiting)
        tool = styled(visible_line(waiting.tool), "cyan", to=sys.stderr)
        note(f"? Allow {tool}: {visible_line(waiting.reason)}", None)
        _show(question.page())
        if settle():
            note("  (Roost discarded what you typed before this question)", "yellow")
        while True:
            sys.stderr.write(f"  {_choices(waiting, question.left)}: ")
            sys.stderr.flush()
            while not select.select([sys.stdin], [], [], _TICK)[0]:
                if gone():
                    note("\n  it was answered elsewhere")
                    return None
            line = sys.stdin.readline()
            if not line:
                return Answered("reject", "the person left")
            answered = self._answered(clean(line).strip(), waiting, question)
            if answered is not None:
                return answered

    def _answered(self, answer: str, waiting: PendingApproval, question: Question) -> Answered | None:
        """Interpret an answer. None asks again."""
        word = answer.lower()
        if word in ("m", "more", "all") or (word in ("y", "yes", "a", "always") and question.left):
            if word not in ("m", "more", "all"):
                note("  the call is longer; read the rest before you allow it", "yellow")
            _show(question.page(all=word == "all"))
            return None
        first, _, reason = answer.partition(" ")
        match word:
            case "y" | "yes":
                return Answered("approve")
            case "a" | "always" if (offer := narrowest(waiting.offers)) is not None:
                return Answered("approve", always=(offer.rule,))
            case _ if first.lower().rstrip(",.:") in ("n", "no"):
                return Answered("reject", reason.strip() or None)
            case "":
                pass
            case "?" | "help":
                note(_HELP, None)
            case "a" | "always":
                note("  [a]lways is not possible for this call: a danger or a rule asks each time", "yellow")
            case _:
                note(f"  {answer!r} is no answer, so nothing was decided; to reject it and say why: n REASON", "yellow")
        return None


def _show(rows: Sequence[str]) -> None:
    for row in rows:
        note(row, None)


def _choices(waiting: PendingApproval, left: int) -> str:
    more = f"{left} more lines: [m]ore, all, " if left else ""
    offer = narrowest(waiting.offers)
    choice = f"[a]lways in this session: {visible_line(offer.says)}, " if offer is not None else ""
    return f"{more}[y]es, [n]o or n REASON, {choice}[?] help"
