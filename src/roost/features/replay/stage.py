"""A session in memory, in which a record is played."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from roost.agent.definition import AgentSpec, encode_spec
from roost.agent.feature import consider
from roost.agent.loop import run_turn
from roost.agent.resources import Resources
from roost.agent.session import Session
from roost.agent.state import State
from roost.authority import owned_labels
from roost.errors import SandboxError
from roost.features.client_tools.behaviour import FEATURE as CLIENT_TOOLS
from roost.features.client_tools.state import ClientToolsState
from roost.features.replay.playback import Options, Playback
from roost.features.replay.played_log import PlayedLog
from roost.features.replay.player import CAST, log_of
from roost.features.replay.record import Item, Record, RecordedTurn
from roost.features.system_calls.events import SystemCalled
from roost.features.upgrades.events import SessionMoved
from roost.log import events as ev
from roost.log.content import ErrorData
from roost.log.protocols import Append, Claim
from roost.log.protocols import Record as LogRecord
from roost.log.session_info import SessionInfo
from roost.models.request import Failed, ModelEvent, Profile, Progress, Request
from roost.sandbox.base import ExecResult, Quota


class NoSandbox:
    """A sandbox that runs nothing. level: that of the recorded one, since the gate asks for it."""

    def __init__(self, level: int) -> None:
        self.level = level

    async def exec(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        quota: Quota | None = None,
    ) -> ExecResult:
        raise SandboxError("a replay with recorded tools runs no command")

    async def close(self) -> None:
        return None


class NoModel:
    """Stands where answers come from the record."""

    name, profile = "recorded", Profile()

    async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
        yield Failed(ErrorData("replay", "a replay with recorded answers calls no model"), sent=False)

    async def close(self) -> None:
        return None


class Unheard:
    """Drop the pieces of answers."""

    def push(self, session: str, step: int, after: int, kind: object, text: str) -> None:
        return None

    def progress(self, session: str, step: int, after: int, progress: Progress) -> None:
        return None

    def clear(self, session: str) -> None:
        return None


async def nothing_to_read(session: str, *, after: int = 0, limit: int = 1000) -> list[LogRecord]:
    return []


class _Nowhere:
    """The journal of a session that is not stored."""

    async def append(self, append: Append) -> int:
        return append.expected + len(append.bodies)


def stage(id: str, record: Record, spec: AgentSpec, means: Resources, options: Options) -> Session:
    """Make the session in which a record is played. Its model calls are charged to the caller, and not to the user of
    the recorded one."""
    created, now = record.created, time.time()
    info = SessionInfo(
        id=id,
        agent=spec.name,
        version=spec.version,
        state="running",
        phase="idle",
        head=0,
        created_at=now,
        updated_at=now,
        workspace=created.workspace,
        labels=owned_labels({}),
    )
    session = Session(_Nowhere(), Claim(info, 1, None, [], []), State(), spec, means, buffer=PlayedLog, cast=CAST)
    playback = session.own(Playback)
    playback.options = options
    log_of(session).playback = playback
    return session


async def play(session: Session, record: Record) -> int:
    """Play all turns of a record, up to the first difference. Returns how many were begun."""
    playback, spec = session.own(Playback), msgspec.Raw(encode_spec(session.spec))
    begun = 0
    for turn in record.turns:
        playback.begin(turn)
        for item in turn.lead:
            log_of(session).copy(item, _pinned(item, spec, session.spec))
        begun += 1
        if is_system_call(turn):
            _copy(session, turn)
            continue
        if session.state.part(ClientToolsState).tools:
            await CLIENT_TOOLS.wake(session)
        consider(session)
        await run_turn(session)
        if playback.found is None and session.state.turn is not None:
            playback.differs("end", "the turn waits, and did not in the record", at=turn.end.seq)
        if playback.found is not None:
            break
        await asyncio.sleep(0)
    return begun


def is_system_call(turn: RecordedTurn) -> bool:
    """Whether another agent or a program called a tool of the session: no model of its own answered."""
    return any(isinstance(item.event, SystemCalled) for item in turn.lead)


def _copy(session: Session, turn: RecordedTurn) -> None:
    """Take a turn as it was."""
    events = [item for step in turn.steps for item in step.before]
    for item in sorted((*events, *turn.tail, turn.end), key=lambda one: one.seq):
        log_of(session).copy(item)


def _pinned(item: Item, spec: msgspec.Raw, definition: AgentSpec) -> ev.Event:
    """Return an event with the definition that runs. A session of a family is replayed without it: its parent is not
    charged, and hears of nothing."""
    match item.event:
        case ev.SessionCreated() as event:
            return msgspec.structs.replace(
                event, agent=definition.name, version=definition.version, spec=spec, family=None, parent=None
            )
        case SessionMoved() as event:
            return msgspec.structs.replace(event, version=definition.version, spec=spec)
        case event:
            return event
