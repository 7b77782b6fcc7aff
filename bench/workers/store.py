"""Sessions with a past, made through the Store: turns as the kernel writes them, with its trims and snapshots."""

from __future__ import annotations

import time

import msgspec

from bench.payload import ANSWER, ARGUMENTS, PROMPT, RESULT
from roost.agent.definition import AgentSpec, encode_spec
from roost.agent.fold import apply
from roost.agent.log_buffer import SNAPSHOT_BYTES, SNAPSHOT_EVENTS
from roost.agent.state import STATE_VERSION, State, encode_state
from roost.features.compaction.events import ContextCompacted
from roost.features.compaction.plan import plan_cut
from roost.log import events as ev
from roost.log.content import Text, ToolCall, Usage
from roost.log.inputs import MessageInput
from roost.log.protocols import Append, NewSession, Snapshot
from roost.log.store import Store
from roost.models.request import Profile

_ROOM = Profile().window - Profile().max_output
_USAGE = Usage(input=100, output=20)


class Past:
    """Writes one session's past. `events` is at least what was asked for, at most a turn more."""

    def __init__(self, journal: Store, session: str, spec: AgentSpec, node: str) -> None:
        self._journal = journal
        self._session = session
        self._spec = spec
        self._node = node
        self._state = State()
        self._bodies: list[bytes] = []
        self._tail_events = self._tail_bytes = self._last = 0
        self.head = 0

    async def write(self, events: int) -> None:
        new = NewSession(id=self._session, agent=self._spec.name, version=self._spec.version)
        raw = msgspec.Raw(encode_spec(self._spec))
        created = ev.SessionCreated(at=time.time(), agent=new.agent, version=new.version, spec=raw)
        await self._journal.sessions.create(new, [created])
        apply(self._state, created)
        self.head = 1
        (claim,) = await self._journal.dispatch.claim(self._node, session=self._session)
        self._note(ev.StateChanged(at=time.time(), state="running"))
        while self.head + len(self._bodies) < events:
            item = (await self._journal.inboxes.accept(self._session, MessageInput((Text(PROMPT),)))).id
            self._turn(item, tools=1 if events < 50 else 5)
            await self._append(claim.epoch, [item])
        await self._append(claim.epoch, [], release=True)

    def _note(self, event: ev.Event) -> None:
        apply(self._state, event)
        self._bodies.append(ev.encode_event(event))

    def _turn(self, item: int, tools: int) -> None:
        now, number = time.time(), self._state.turns + 1
        self._note(ev.InputReceived(at=now, input=item, parts=(Text(PROMPT),)))
        self._note(ev.TurnStarted(at=now, turn=number, input=item))
        for _ in range(tools):
            step = self._model((ToolCall(f"call_{self._state.steps}", "look", _ARGUMENTS),))
            call = f"call_{step - 1}"
            self._note(ev.ToolStarted(at=now, call=call, name="look", replay="safe", key=f"{self._session}:{call}"))
            self._note(ev.ToolCompleted(at=now, call=call, outcome="ok", parts=(Text(RESULT),)))
        self._model((Text(ANSWER),))
        self._note(ev.TurnCompleted(at=now, turn=number, outcome="answered", steps=tools + 1))

    def _model(self, parts: tuple[Text] | tuple[ToolCall]) -> int:
        state = self._state
        if state.tokens > _ROOM * 0.8:
            turn = state.turn.number if state.turn else 0
            cut = plan_cut(state.entries, state.tokens, int(_ROOM * 0.5), turn=turn)
            self._note(
                ContextCompacted(
                    at=time.time(),
                    before=state.tokens,
                    after=cut.left,
                    upto=cut.upto,
                    keep=cut.keep,
                    dropped=cut.messages,
                    by="plain",
                )
            )
        step = state.steps + 1
        self._note(ev.ModelStarted(at=time.time(), step=step, model="work"))
        self._note(ev.ModelCompleted(at=time.time(), step=step, parts=parts, usage=_USAGE))
        return step

    async def _append(self, epoch: int, consume: list[int], *, release: bool = False) -> None:
        bodies, self._bodies = self._bodies, []
        self._tail_events += len(bodies)
        self._tail_bytes += sum(map(len, bodies))
        write = Append(
            session=self._session,
            epoch=epoch,
            expected=self.head,
            bodies=bodies,
            consume=consume,
            state="running",
            phase="idle",
            snapshot=self._snapshot(self.head + len(bodies)),
            release=release,
        )
        self.head = await self._journal.logs.append(write)

    def _snapshot(self, seq: int) -> Snapshot | None:
        if self._tail_bytes < max(SNAPSHOT_BYTES, self._last) and self._tail_events < SNAPSHOT_EVENTS:
            return None
        body = encode_state(self._state)
        self._tail_bytes = self._tail_events = 0
        self._last = len(body)
        return Snapshot(seq, STATE_VERSION, body)


_ARGUMENTS = msgspec.json.encode(ARGUMENTS).decode()
