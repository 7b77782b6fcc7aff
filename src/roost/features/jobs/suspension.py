"""Background commands and the interpreter sleep with the sandbox of their session."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from roost.agent.feature import Sleeper
from roost.agent.session import Session
from roost.features.jobs.state import JobState
from roost.features.jobs.tracking import programs
from roost.sandbox.guest.terminal import GuestTerminal
from roost.tools.background_jobs import Job, Jobs, Kept
from roost.tools.python import Interpreter


class _Slept(msgspec.Struct, frozen=True, omit_defaults=True):
    """A program that sleeps under `key`, on the terminal `number`. `nonce` and `calls` are an interpreter's."""

    key: str
    number: int
    name: str = ""
    nonce: str | None = None
    calls: int = 0

    @classmethod
    def of(cls, key: str, one: Kept) -> _Slept | None:
        match one:
            case Job(terminal=GuestTerminal(number=number)) if one.running:
                return cls(key, number, one.name)
            case Interpreter(terminal=GuestTerminal(number=number)) if one.running:
                return cls(key, number, nonce=one.nonce, calls=one.calls)
            case _:
                return None


_decoder = msgspec.json.Decoder(_Slept)


def sleepers(session: Session) -> Sequence[Sleeper]:
    """Return the session's programs that run in its sandbox."""
    jobs = programs(session)
    slept = [each for key, one in jobs.kept.items() if (each := _Slept.of(key, one)) is not None]
    return [Sleeper(msgspec.Raw(msgspec.json.encode(each)), partial(_detach, jobs, each.key)) for each in slept]


async def _detach(jobs: Jobs, key: str) -> None:
    await jobs.kept.pop(key).close()  # closes only the reading side


def resume(session: Session, note: msgspec.Raw, terminals: dict[int, GuestTerminal]) -> None:
    """Attach the program of a note to the session, and take its terminal. A command that the log does not know stays in
    `terminals`."""
    try:
        slept = _decoder.decode(note)
    except msgspec.MsgspecError:  # of another version
        return
    jobs = programs(session)
    opened = session.state.part(JobState).jobs.get(slept.key)
    if slept.number not in terminals or (slept.nonce is None and opened is None):
        return
    terminal = terminals.pop(slept.number)
    if slept.nonce is not None:
        jobs.kept[slept.key] = Interpreter(terminal, slept.nonce, calls=slept.calls)
    elif opened is not None:
        jobs.take_up(slept.key, slept.name, terminal, opened.due, opened.outside)
