"""One start of an agent's program: what it asks for, what it has been given, and what it has been told."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from roost.features.frameworks.bridge import Bridge, Exchange
from roost.features.frameworks.child import Child
from roost.features.frameworks.protocol import Ready, Said, ToolBegin, ToolEnd, TurnDone, TurnFailed
from roost.features.frameworks.state import Answer, FrameworkTurn, Outcome
from roost.log.content import ToolCall
from roost.models.request import Completed, ToolSpec
from roost.tools.base import Toolbox

MOST_CALLS = 256
"""Calls that the program may have begun at the same time."""
CALL_BYTES = 1024 * 1024
"""Bytes of the arguments of a call. A longer one is refused."""
OPEN_BYTES = 32 * 1024 * 1024
"""Bytes of the arguments of all calls that the program has begun."""
_MOST_REFUSED = 32
_TOO_LONG = f"[not run: its arguments have more than {CALL_BYTES} bytes]"


class Begun:
    """A tool call of the program. id: by which the log knows it. allowed: the program has been told to run it. ended:
    has its end. told: takes the outcome of a call of Roost's tools that came over HTTP."""

    def __init__(self, said: ToolBegin, id: str, told: asyncio.Future[Outcome] | None = None) -> None:
        self.said, self.id, self.told = said, id, told
        self.allowed = False
        self.ended: asyncio.Future[ToolEnd] = asyncio.get_running_loop().create_future()


class Run:
    """Used by the session's task and the tasks of its calls, on one event loop.

    open_calls: returns the calls of the session that have no outcome. turn: returns the turn's part. number: names the
    turn and its run. child: the program. tools: returns those of Roost that it may call. `changed` is set when there
    may be something new to see."""

    def __init__(
        self,
        bridge: Bridge,
        turn: Callable[[], FrameworkTurn],
        open_calls: Callable[[], list[ToolCall]],
        number: str,
        child: Child,
        tools: Callable[[], Toolbox],
    ) -> None:
        self.bridge, self._turn, self._open, self._number = bridge, turn, open_calls, number
        self.child, self._tools = child, tools
        bridge.calls = self
        self.begun: dict[str, Begun] = {}
        self.done: TurnDone | None = None
        self.failed: TurnFailed | None = None
        self.ready = Ready()
        self.held: list[tuple[Exchange, Completed]] = []
        self._unacked: list[Begun] = []
        self._numbers: dict[int, Begun] = {}
        self._counts: Counter[bytes] = Counter()
        self._sending: set[asyncio.Task[None]] = set()
        self._asked = 0
        self._said = self._refused = 0
        self.claimed: set[str] = set()
        """Calls that the program has asked for since its start."""

    @property
    def changed(self) -> asyncio.Event:
        return self.bridge.changed

    @property
    def alive(self) -> bool:
        return not self.child.over

    @property
    def stale(self) -> bool:
        """Whether a call that the program was told to run has an outcome that is not its own: a person said no."""
        outcomes = self._turn().outcomes
        lost = (one.allowed and not one.ended.done() and one.id in outcomes for one in self.begun.values())
        return self.failed is None and any(lost)

    def hold(self, exchange: Exchange, answer: Completed) -> None:
        """Keep an answer from the program until it is committed."""
        self.held.append((exchange, answer))

    def release(self) -> None:
        """Give the program what has been committed, which is all that was noted: answers, and outcomes of its calls."""
        held, self.held = self.held, []
        for exchange, answer in held:
            self.give(exchange, answer)
        self.release_calls(set(self._turn().outcomes))

    # Tools of Roost

    def offered(self) -> Sequence[ToolSpec]:
        return [tool.spec for tool in self._tools().values()]

    async def call(self, scope: str, name: str, arguments: Mapping[str, Any]) -> tuple[str, bool]:
        """Let the session run a tool of Roost, which the program calls over HTTP: as `coding_agents.ports.ToolCaller`
        says."""
        if name not in self._tools():
            return f"there is no tool {name!r}", True
        given = json.dumps(arguments)
        if len(given) > CALL_BYTES:
            return _TOO_LONG, True
        if len(self.begun) >= MOST_CALLS:
            return f"[not run: {MOST_CALLS} calls wait]", True
        self._asked += 1
        told: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        said = ToolBegin(n=-self._asked, name=name, scope=scope, arguments=given)
        one = self._begin(said, told)
        self.changed.set()
        try:
            outcome = await told
        finally:
            if not told.done() or told.cancelled():
                self.begun.pop(one.id, None)
                self._numbers.pop(said.n, None)
        return outcome.text, outcome.outcome != "ok"

    def is_of_roost(self, one: Begun) -> bool:
        """Whether the session runs the tool of a call, and not the program."""
        return one.told is not None or one.said.name in self._tools()

    # Answers and outcomes

    def give(self, exchange: Exchange, answer: Completed) -> None:
        """Give the program an answer, which is committed."""
        made = Answer(exchange.scope, exchange.digests.whole, exchange.digests.masked, answer.parts, answer.stop)
        self.bridge.records.add(made, claimed=not exchange.gone)
        exchange.give(answer)
        self.bridge.landed(exchange)

    def release_calls(self, committed: Set[str]) -> None:
        """Give the program the outcomes of these calls."""
        outcomes, waiting = self._turn().outcomes, self._unacked
        for one in list(self.begun.values()):
            if not one.allowed and one.id in committed:
                self.refuse(one, outcomes[one.id])
        self._unacked = [one for one in waiting if one.id not in committed]
        for one in waiting:
            if one.id in committed:
                self.acknowledge(one, outcomes[one.id])

    def acknowledge(self, one: Begun, outcome: Outcome) -> None:
        """Let the program use the outcome of its call, which is committed."""
        self._outcome("tool.ack" if one.allowed else "tool.result", one, outcome)

    def await_commit(self, one: Begun) -> None:
        """Acknowledge the call as soon as its outcome is committed."""
        self._unacked.append(one)

    def allow(self, one: Begun, key: str) -> None:
        """Let the program run a tool. key: its idempotency key."""
        one.allowed = True
        self._send({"type": "tool.run", "n": one.said.n, "id": one.id, "key": key})

    def refuse(self, one: Begun, outcome: Outcome) -> None:
        """Give the program the outcome of a call that it must not run."""
        self._outcome("tool.result", one, outcome)

    async def begin(self, welcome: Mapping[str, Any]) -> None:
        """Let the program begin. Raises `ProgramFailed`."""
        self.ready = await self.child.begin(self._hear, self.bridge.changed.set, welcome)

    async def rest(self) -> bool:
        """End what a run that is done waits for. Returns whether its program can do another one."""
        self._let_go()
        return await self.child.rest()

    async def close(self) -> None:
        """End the program and all that it waits for."""
        self._let_go()
        await self.child.close()

    def _let_go(self) -> None:
        self.bridge.end()
        for one in self.begun.values():
            if one.told is not None:
                one.told.cancel()
        for task in self._sending:
            task.cancel()

    def _outcome(self, kind: str, one: Begun, outcome: Outcome) -> None:
        self.begun.pop(one.id, None)
        self._numbers.pop(one.said.n, None)
        is_error = outcome.outcome != "ok"
        if one.told is not None:
            if not one.told.done():
                one.told.set_result(outcome)
            return
        self._send({"type": kind, "n": one.said.n, "id": one.id, "content": outcome.text, "is_error": is_error})

    def _send(self, message: Mapping[str, Any]) -> None:
        task = asyncio.get_running_loop().create_task(self.child.send(message))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _hear(self, said: Said) -> None:
        match said:
            case ToolBegin():
                if not self._is_too_much(said):
                    self._begin(said)
            case ToolEnd():
                one = self._numbers.get(said.n)
                if one is not None and one.allowed and not one.ended.done():
                    one.ended.set_result(said)
            case TurnDone():
                self.done = said
            case TurnFailed():
                self.failed = said
            case _:
                pass
        self.changed.set()

    def _begin(self, said: ToolBegin, told: asyncio.Future[Outcome] | None = None) -> Begun:
        part = self._turn()
        one = Begun(said, self._id_of(said, part), told)
        self.claimed.add(one.id)
        self._numbers[said.n] = one
        inner = part.inner.get(one.id)
        recorded = part.outcomes.get(one.id) or (inner.result if inner is not None else None)
        if recorded is not None:
            self.refuse(one, recorded)
        else:
            self.begun[one.id] = one
        return one

    def _is_too_much(self, said: ToolBegin) -> bool:
        """Refuse a call that is too long, and fail the run of a program that begins calls without end: the daemon
        would have to keep them all."""
        self._said += 1
        refused = len(said.arguments) + len(said.scope) + len(said.name) > CALL_BYTES
        self._refused += refused
        size = sum(len(one.said.arguments) for one in self.begun.values()) if self._said % 16 == 0 else 0
        if len(self.begun) >= MOST_CALLS or size > OPEN_BYTES or self._refused > _MOST_REFUSED:
            self.failed = self.failed or TurnFailed(message=f"it has begun more than {MOST_CALLS} calls at once")
        elif refused:
            outcome = {"id": "", "content": _TOO_LONG, "is_error": True}
            self._send({"type": "tool.result", "n": said.n, **outcome})
        return refused or self.failed is not None

    def _id_of(self, said: ToolBegin, part: FrameworkTurn) -> str:
        """Return the id of a call: the model's, else one that is the same whenever the same work is done once more."""
        if said.call_id:
            return said.call_id[:200]
        arguments = _canonical(said.arguments)
        for call in self._known_calls(part):
            same = call.name == said.name and _canonical(call.arguments) == arguments
            if same and call.id not in self.claimed:
                return call.id
        key = "\0".join((self._number, said.scope, said.name, arguments))
        place = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self._counts[place] += 1
        text = f"{key}\0{self._counts[place]}".encode("utf-8", "surrogatepass")
        return f"own-{hashlib.blake2b(text, digest_size=10).hexdigest()}"

    def _known_calls(self, part: FrameworkTurn) -> list[ToolCall]:
        asked = [one for answer in part.answers for one in answer.parts if isinstance(one, ToolCall)]
        known = {call.id for call in asked}
        return [*asked, *(call for call in self._open() if call.id not in known)]


def _canonical(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments or "{}"), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments
