"""How far a replay is, and its first difference from the record."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterator

import msgspec

from roost.agent.interrupts import Interrupted
from roost.agent.session import Session
from roost.features.replay.api import Divergence
from roost.features.replay.differences import diff_of
from roost.features.replay.modes import Compare, Kind, Tools
from roost.features.replay.record import Item, RecordedCall, RecordedStep, RecordedTurn
from roost.log import events as ev
from roost.log.content import Usage
from roost.tools.base import Tool

_NOBODY_ELSE = 16
"""Steps after which a replay lets the program do something else: its own steps never wait for anything."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """tools: which come from the record. modelled: a model is asked. compare: what counts as a difference. sized: the
    size of each request can be compared: nothing offers tools that the replay does not know. changed: what differs in
    the definition, as text. own: position up to which another program, or
    another definition, made the log. doubted: position up to which the log may have been written by hand: what it says
    of approvals lets no live call run. checked: hooks, guardrails or a classifier judge calls, which a replay does not
    ask."""

    tools: Tools = "recorded"
    modelled: bool = False
    compare: Compare = "all"
    sized: bool = True
    changed: str = ""
    own: int = 0
    doubted: int = 0
    checked: bool = False


class Playback:
    """A replay under way. Kept by its session (`session.own(Playback)`), and set up by `roost.features.replay.stage`.

    place: how many recorded steps of `turn` have begun. found: the first difference."""

    def __init__(self, session: Session) -> None:
        self.options = Options()
        self.turn: RecordedTurn | None = None
        self.place = 0
        self.found: Divergence | None = None
        self.live: frozenset[str] = frozenset()
        """Names of the tools that run."""
        self.gone: frozenset[str] = frozenset()
        """Names of tools that the recorded definition has and the present one lacks."""
        self.dynamic: frozenset[str] = frozenset()
        """Names of tools that a server or client offered."""
        self.running: dict[str, RecordedCall] = {}
        """Live calls by id."""
        self.steps = 0
        self.calls: list[str] = []
        self.usage, self.recorded = Usage(cost=0), Usage(cost=0)
        self.outcome, self.answer = "", ""
        self._session = session
        self._left: dict[str, deque[RecordedCall]] = {}
        self._due = False

    def begin(self, turn: RecordedTurn) -> None:
        """Begin with a recorded turn."""
        self.turn, self.place, self._due, self.answer = turn, 0, True, ""
        self._left = defaultdict(deque)
        for call in turn.calls:
            self._left[call.key].append(call)

    @property
    def step(self) -> RecordedStep | None:
        """The recorded step that has begun last."""
        turn = self.turn
        return turn.steps[self.place - 1] if turn is not None and 0 < self.place <= len(turn.steps) else None

    @property
    def following(self) -> RecordedStep | None:
        """The recorded step that begins next."""
        turn = self.turn
        return turn.steps[self.place] if turn is not None and self.place < len(turn.steps) else None

    @property
    def over(self) -> bool:
        """Whether all recorded steps of the turn have begun."""
        return self.turn is None or self.place >= len(self.turn.steps)

    @property
    def due(self) -> bool:
        """Whether events of the record come before the next step, and have not been taken."""
        return self._due and not self._session.state.calls

    def between(self) -> Iterator[Item]:
        """Yield the events that come before the next step; after the last one those before the end of the turn, and the
        end itself if the loop would not find it."""
        self._due = False
        if (step := self.following) is not None:
            yield from step.before
        elif (turn := self.turn) is not None:
            yield from turn.tail
            if not turn.by_itself:
                yield turn.end

    async def advance(self) -> None:
        """Begin the next step."""
        self.place += 1
        self._due = self.turn is not None and self.place <= len(self.turn.steps)
        self.steps += 1
        if self.steps % _NOBODY_ELSE == 0:
            await asyncio.sleep(0)

    def take(self, key: str) -> RecordedCall | None:
        """Return the next recorded call of this name and these arguments, once."""
        left = self._left.get(key)
        return left.popleft() if left else None

    @property
    def left(self) -> list[RecordedCall]:
        """The recorded calls of the turn that nobody has made, in their order."""
        turn = self.turn
        rest = {id(call) for calls in self._left.values() for call in calls}
        return [] if turn is None else [call for call in turn.calls if id(call) in rest]

    def differs(self, kind: Kind, summary: str, *, recorded: str = "", now: str = "", at: int | None = None) -> None:
        """Keep the first difference, and end the replay."""
        if self.found is None:
            turn, step = self.turn, self.step
            seq = (
                at if at is not None else step.seq if step is not None else turn.lead[-1].seq if turn is not None else 0
            )
            started = None if turn is None else turn.lead[-1].event
            self.found = Divergence(
                kind=kind,
                turn=started.turn if isinstance(started, ev.TurnStarted) else 0,
                step=self.place,
                position=seq,
                summary=summary,
                recorded=recorded,
                now=now,
                diff=diff_of(recorded, now),
            )
        self._session.interrupts.shut_down(cut=False)

    def stop(
        self, kind: Kind, summary: str, *, recorded: str = "", now: str = "", at: int | None = None
    ) -> Interrupted:
        """Keep the first difference. Returns what the caller raises, so that nothing runs after it."""
        self.differs(kind, summary, recorded=recorded, now=now, at=at)
        return Interrupted("shutdown")


def unusable(tool: Tool) -> Tool:
    """Return a tool that cannot run, whatever happens."""

    async def refuse(*_: object) -> object:
        raise AssertionError(f"a replay with recorded tools runs none, and not {tool.name!r}")

    return msgspec.structs.replace(tool, run=refuse)
