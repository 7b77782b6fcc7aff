"""Metrics of a node, counted from its own commits.

Every node counts only what it committed, so that the sum over a cluster is right. Nothing is stored: counters start at
zero with the process, as scrapers expect.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TypeVar, get_args

import msgspec

from roost.errors import Fenced, RoostError
from roost.log.content import ToolOutcome, Usage
from roost.log.dispatch import Backlog
from roost.log.events import (
    Event,
    ModelCompleted,
    ModelFailed,
    ModelLost,
    ToolCompleted,
    TurnCompleted,
    declaring,
    event_type,
)
from roost.log.inputs import input_type, input_types
from roost.log.protocols import Append, Change, Claim
from roost.log.session_info import TurnOutcome
from roost.log.store import Store

T = TypeVar("T")
MODEL_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
COMMIT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
MOST_NAMES = 100
"""Most agents, and most models, with counters of their own. The rest count as `other`, so that a scrape stays small."""
OTHER = "other"
_LOAD_SECONDS = 15.0
_ASK_SECONDS = 2.0
_TAIL = 512
"""Bytes at the end of a `model.completed` that hold its usage and seconds: two short objects of numbers."""
_KIND = slice(9, 25)


class Histogram:
    """Count values by size. `counts[i]`: values above `bounds[i - 1]`, up to `bounds[i]`; the last counts values above
    all bounds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class AgentMeter:
    """Counters of one agent. `input`: tokens without cached ones. `cost`: nano-dollars. `unpriced`: model calls of
    unknown cost."""

    __slots__ = ("cached", "cost", "input", "output", "turns", "unpriced")

    def __init__(self) -> None:
        self.turns: Counter[str] = Counter(dict.fromkeys(get_args(TurnOutcome), 0))
        self.input = self.cached = self.output = self.cost = self.unpriced = 0

    def spend(self, usage: Usage) -> None:
        cached, cost = usage.cached, usage.cost
        self.input += usage.input - cached
        self.cached += cached
        self.output += usage.output
        if cost is None:
            self.unpriced += 1
        else:
            self.cost += cost


class ModelMeter:
    """Durations of one model's calls, by outcome."""

    __slots__ = ("failed", "ok")

    def __init__(self) -> None:
        self.ok = Histogram(MODEL_SECONDS)
        self.failed = Histogram(MODEL_SECONDS)


class NodeMetrics:
    """Count a node's commits. Runs on the event loop, after each commit.

    names: returns (agent, model) of a session in memory here, else None.
    """

    def __init__(self, store: Store, names: Callable[[str], tuple[str, str] | None]) -> None:
        self._store = store
        self._names = names
        self.agents: dict[str, AgentMeter] = {}
        self.models: dict[str, ModelMeter] = {}
        self.tools: Counter[bytes] = Counter({str(outcome).encode(): 0 for outcome in get_args(ToolOutcome)})
        self.inputs: Counter[str] = Counter(dict.fromkeys(map(input_type, input_types()), 0))
        self.commits = Histogram(COMMIT_SECONDS)
        self.commit_errors: Counter[str] = Counter()
        self.fenced = 0
        """Sessions that the kernel dropped because another node owns them, or may."""
        self.takeovers = 0
        self.load = Load()
        self._counted = _counted()

        self._asked = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._backlog: Backlog | None = None

    def start(self) -> Callable[[], None]:
        """Start counting. Returns the function that stops it."""
        return self._store.changes.watch(self._see)

    async def backlog(self) -> Backlog | None:
        """Return the cluster's backlog, asked for at most once a second. None when the dispatcher does not
        report it."""
        if time.monotonic() - self._asked >= 1.0:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask())
            await asyncio.shield(self._asking)
        return self._backlog

    def claimed(self, claims: Sequence[Claim]) -> None:
        """Count takeovers: claimed sessions in the middle of a turn, left by a node that died, drained or was
        restarted."""
        for claim in claims:
            if claim.info.state == "running" and claim.info.phase == "working":
                self.takeovers += 1

    async def append(self, append: Append) -> int:
        """Append to the journal and time it. All commits of a node's sessions go through here."""
        began = time.perf_counter()
        try:
            head = await self._store.logs.append(append)
        except Fenced:  # the store works; the kernel counts the session that is dropped
            raise
        except RoostError as error:
            self.commit_errors[error.code] += 1
            raise
        self.commits.add(time.perf_counter() - began)
        return head

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                self._backlog = await self._store.dispatch.backlog()
        except (RoostError, TimeoutError):
            self._backlog = None
        self._asked = time.monotonic()

    def _see(self, change: Change) -> None:
        for record in change.records or ():
            count = self._counted.get(record.body[_KIND])
            if count is not None:
                count(self, change.session, record.body)
        for item in change.inbox or ():
            self.inputs[input_type(item.input)] += 1

    def of(self, session: str) -> tuple[AgentMeter, ModelMeter]:
        """Return the counters for a session's calls."""
        agent, model = self._names(session) or (OTHER, OTHER)
        return (
            self.agents.get(agent) or _bounded(self.agents, agent, AgentMeter),
            self.models.get(model) or _bounded(self.models, model, ModelMeter),
        )


class Load:
    """Measure the event loop's share of a core, over the last 15 seconds or more."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque([(time.monotonic(), time.thread_time())])

    def ratio(self) -> float:
        """Return the load, from 0 to 1. Call it on the event loop."""
        now, used = time.monotonic(), time.thread_time()
        samples = self._samples
        while len(samples) > 1 and now - samples[1][0] >= _LOAD_SECONDS:
            samples.popleft()
        then, before = samples[0]
        if now - samples[-1][0] >= 1.0:  # few samples are kept, however often this is called
            samples.append((now, used))
        return min(1.0, max(0.0, (used - before) / (now - then))) if now > then else 0.0


class _Tail(msgspec.Struct):
    usage: Usage = Usage()
    seconds: float = 0.0


class _Failed(msgspec.Struct):
    usage: Usage | None = None
    seconds: float = 0.0


class _Turn(msgspec.Struct):
    outcome: str


_NO_TAIL = _Tail()
_read_tail = msgspec.json.Decoder(_Tail).decode
_read_failed = msgspec.json.Decoder(_Failed).decode
_read_turn = msgspec.json.Decoder(_Turn).decode


def _model_completed(meters: NodeMetrics, session: str, body: bytes) -> None:
    """Read usage and seconds from the end of the body, without decoding the answer. JSON text escapes quotes, so no
    answer can imitate these fields."""
    start = body.rfind(b',"usage":{', -_TAIL)
    if start < 0:
        start = body.rfind(b',"seconds":', -_TAIL)
    done = _NO_TAIL if start < 0 else _read_tail(b"{" + body[start + 1 :])
    agent, model = meters.of(session)
    model.ok.add(done.seconds)
    agent.spend(done.usage)


def _model_failed(meters: NodeMetrics, session: str, body: bytes) -> None:
    failed = _read_failed(body)
    agent, model = meters.of(session)
    model.failed.add(failed.seconds)
    if failed.usage is not None:
        agent.spend(failed.usage)


def _spent(meters: NodeMetrics, session: str, body: bytes) -> None:
    lost = _read_failed(body)
    if lost.usage is not None:
        meters.of(session)[0].spend(lost.usage)


def _tool_completed(meters: NodeMetrics, session: str, body: bytes) -> None:
    start = body.find(b'"outcome":"') + 11
    meters.tools[body[start : body.find(b'"', start)]] += 1


def _turn_completed(meters: NodeMetrics, session: str, body: bytes) -> None:
    meters.of(session)[0].turns[_read_turn(body).outcome] += 1


def _bounded(known: dict[str, T], name: str, make: Callable[[], T]) -> T:
    return known.setdefault(name if len(known) < MOST_NAMES else OTHER, make())


def _key(event: type[Event]) -> bytes:
    """Return the bytes that identify an event kind: the tag comes first, then the first field, which is never
    omitted."""
    return f'{{"type":"{event_type(event)}","{event.__struct_encode_fields__[0]}'.encode()[_KIND]


_CORE: dict[type[Event], Callable[[NodeMetrics, str, bytes], None]] = {
    ModelCompleted: _model_completed,
    ModelFailed: _model_failed,
    ModelLost: _spent,
    ToolCompleted: _tool_completed,
    TurnCompleted: _turn_completed,
}


@cache
def _counted() -> Mapping[bytes, Callable[[NodeMetrics, str, bytes], None]]:
    """Return the functions that count events, by the bytes of their kinds: the core's, and those of features that
    cost money."""
    return {_key(kind): count for kind, count in (dict.fromkeys(declaring("spent"), _spent) | _CORE).items()}
