"""Terminals sleep with the sandbox of their session, where it keeps its memory."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Sequence
from functools import partial

import msgspec

from roost.agent.feature import Sleeper
from roost.agent.session import Session
from roost.features.terminals.redraw import drawing
from roost.features.terminals.session_terminals import SessionTerminals, terminals
from roost.features.terminals.shared_terminal import Opened, SharedTerminal
from roost.features.terminals.state import TerminalsState
from roost.sandbox.guest.terminal import GuestTerminal

_SCROLLBACK = 200
_DRAWING = 2.0
"""Seconds in which the screens are to show all output. What is not drawn by then is not on the screen that sleeps."""


class _Slept(msgspec.Struct, frozen=True):
    """A terminal that sleeps under its id, as the program `number`. screen: what draws it, in base64. outside: as in
    `SharedTerminal`. unfinished: the agent's line."""

    terminal: str
    number: int
    columns: int
    rows: int
    position: int
    screen: str
    outside: str | None = None
    unfinished: str = ""


_decoder = msgspec.json.Decoder(_Slept)


async def sleepers(own: SessionTerminals) -> Sequence[Sleeper]:
    """Return the terminals that run in the session's sandbox."""
    found: list[Sleeper] = []
    until = asyncio.get_running_loop().time() + _DRAWING
    for key, one in [*own.all.items()]:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await one.catch_up()
        if one.running and isinstance(one.program, GuestTerminal):
            screen = one.screen
            drawn = base64.b64encode(drawing(screen, _SCROLLBACK)).decode()
            position = one.recording.position
            slept = _Slept(
                key, one.program.number, screen.columns, screen.rows, position, drawn, one.outside, one.unfinished
            )
            one.suspends()
            found.append(Sleeper(msgspec.Raw(msgspec.json.encode(slept)), partial(_detach, own, key, one)))
    return found


async def _detach(own: SessionTerminals, key: str, one: SharedTerminal) -> None:
    await one.detach_program()
    own.all.pop(key, None)


def resume(session: Session, note: msgspec.Raw, programs: dict[int, GuestTerminal]) -> None:
    """Attach the program of a note to the session, and take it out of `programs`."""
    try:
        slept = _decoder.decode(note)
    except msgspec.MsgspecError:  # of another feature, or another version
        return
    known = session.state.part(TerminalsState).terminals.get(slept.terminal)
    if known is None or known.ended is not None or slept.number not in programs:
        return
    opened = Opened(slept.terminal, known.command, known.by, known.opened, known.idle)
    one = terminals(session).attach(
        opened,
        programs.pop(slept.number),
        slept.columns,
        slept.rows,
        position=slept.position,
        before=base64.b64decode(slept.screen),
    )
    one.outside, one.unfinished = slept.outside, slept.unfinished
