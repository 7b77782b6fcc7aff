"""Asking a person about a call that waits."""

from __future__ import annotations

import sys
from typing import Literal, NamedTuple, TypeAlias

from roost.cli.out import clean, note, one_line, styled
from roost.cli.screen import arguments_line
from roost.kernel.sessions import PendingApproval
from roost.log.events import Decision

Mode: TypeAlias = Literal["ask", "yes", "reject", "leave"]
"""`ask` a person at this terminal, say `yes` to all, `reject` all because nobody can be asked, or `leave` them to
whoever answers them elsewhere."""

_NOBODY = "nobody is there to allow it; do not try it again, answer without it"


class Answered(NamedTuple):
    """`always`: command prefixes, of those that the question offers, that are allowed for the rest of the session."""

    decision: Decision
    note: str | None = None
    always: tuple[str, ...] = ()


def mode_for(*, yes: bool) -> Mode:
    if yes:
        return "yes"
    return "ask" if sys.stdin.isatty() and sys.stderr.isatty() else "reject"


class Approver:
    """Decides the calls of one session. `decide` returns None where the answer is left to others; it raises
    `KeyboardInterrupt` for Ctrl-C at the question."""

    def __init__(self, mode: Mode) -> None:
        self._mode: Mode = mode
        self._always: set[str] = set()
        self._told = False

    def decide(self, waiting: PendingApproval, session: str) -> Answered | None:
        match self._mode:
            case "yes":
                return Answered("approve")
            case "reject":
                if not self._told:
                    self._told = True
                    note("  nobody can be asked (no terminal): calls that change something are rejected", "yellow")
                    note("  run it in a terminal to be asked, or with --yes to approve all", "yellow")
                return Answered("reject", _NOBODY)
            case "leave":
                note(f"  {waiting.tool} waits for an answer: roost approve {session} {waiting.call}", "yellow")
                return None
            case "ask":
                if waiting.tool in self._always:
                    return Answered("approve")
                return self._ask(waiting)

    def _ask(self, waiting: PendingApproval) -> Answered | None:
        name = styled(waiting.tool, "cyan", to=sys.stderr)
        note(f"? Allow {name}: {one_line(arguments_line(waiting.arguments), 400)}", None)
        note(f"  {clean(waiting.reason)}")
        for danger in waiting.dangers:
            note(f"  ! {one_line(clean(danger.text), 200)}: {clean(danger.why)}", "yellow")
        always = _always(waiting)
        choice = f", [a]lways {always}" if always else ""
        while True:
            sys.stderr.write(f"  [y]es, [n]o{choice}, or say why not: ")
            sys.stderr.flush()
            line = sys.stdin.readline()
            if not line:
                return Answered("reject", "the person left")
            answer = clean(line).strip()
            match answer.lower():
                case "y" | "yes":
                    return Answered("approve")
                case "n" | "no":
                    return Answered("reject")
                case "a" | "always" if always:
                    if waiting.prefixes:
                        return Answered("approve", always=waiting.prefixes)
                    self._always.add(waiting.tool)
                    return Answered("approve")
                case "":
                    continue
                case _:
                    return Answered("reject", answer)


def _always(waiting: PendingApproval) -> str | None:
    """What may be allowed for the rest of the session: beginnings of a command, or another tool as a whole."""
    if waiting.prefixes:
        return " and ".join(f"'{clean(prefix)} …'" for prefix in waiting.prefixes)
    return None if waiting.dangers or '"command"' in waiting.arguments else "this tool"
