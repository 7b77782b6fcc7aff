"""Circuit breakers: stop calling a model for a while that fails, is slow, costs too much or repeats itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

import msgspec

from roost.errors import RoostError
from roost.log.content import AssistantMessage, ErrorData, Message, ToolMessage, Usage, UserMessage
from roost.models.limit_headers import HEARD
from roost.models.model_wrapper import ModelWrapper, events, is_delta
from roost.models.request import Completed, Failed, Model, ModelEvent, Notice, Request
from roost.routing.clock import Clock, LoopClock, Timer
from roost.scope import Scope

BAD = frozenset({"auth", "quota", "overloaded", "connection", "timeout", "malformed", "empty", "internal"})
"""Failures that count against a model. The others are due to the request, or to our own pace."""
_EMPTY_SECONDS = 60.0
"""Seconds for which `Breaker.trouble` assumes that a spent budget still is."""

_log = logging.getLogger("roost.models")


class Breaking(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules that open a model's breaker; None switches a rule off. Times are in seconds, money in whole nano-dollars.

    failures, slow_calls: this many failures in a row, or calls in a row whose first output took more than `slow`, open
        the breaker for `cooldown`. Each time that the one call admitted then fails too, the cooldown doubles, up to
        `longest`.
    silence: an answer that has begun and sends nothing for so long is cut off and has failed.
    repeats: fail a conversation that ends in so many rounds of the same calls with the same results.
    budget: for all calls together, reported at each of the `marks`; at 100 % no call is made.
    """

    failures: int | None = 5
    slow: float | None = None
    slow_calls: int = 3
    silence: float | None = None
    repeats: int | None = None
    budget: int | None = None
    marks: tuple[float, ...] = (0.7, 0.9, 1.0)
    cooldown: float = 30.0
    longest: float = 600.0


class Circuit:
    """A circuit: closed, open, or half-open (one call at a time). Pure arithmetic on a clock's seconds."""

    def __init__(self, rules: Breaking) -> None:
        self._rules = rules
        self._failures = self._slow = 0
        self._cooldown = rules.cooldown
        self._until: float | None = None
        self._probe: Pass | None = None
        self.opened = 0

    def admit(self, now: float) -> Pass | None:
        """Admit a call. Returns None when it must not be made. The caller reports the call's end to the pass, exactly
        once."""
        if self._until is None:
            return Pass(self, self.opened)
        if self.shut(now):
            return None
        self._probe = Pass(self, self.opened)
        return self._probe

    def shut(self, now: float) -> bool:
        """Return whether no call would be admitted."""
        return self._until is not None and (now < self._until or self._probe is not None)

    def left(self, now: float) -> float:
        """Return the seconds after which to ask again, at least 1."""
        return max(1.0, (self._until or now) - now)

    @property
    def closed(self) -> bool:
        return self._until is None

    def ended(self, call: Pass, now: float, *, good: bool | None, slow: bool) -> bool:
        """Record a call's end. Returns whether it opens or closes the circuit. Calls that began before it last opened
        are ignored."""
        probe, self._probe = self._probe is call, None if self._probe is call else self._probe
        if good is None or (call.opened != self.opened):
            return False
        rules = self._rules
        self._failures = 0 if good else self._failures + 1
        self._slow = self._slow + 1 if slow else 0
        if probe and good and not slow:
            self._until, self._cooldown, self._slow = None, rules.cooldown, 0
            return True
        too_many = rules.failures is not None and self._failures >= rules.failures
        if not (probe or too_many or (slow and self._slow >= rules.slow_calls)):
            return False
        if probe:
            self._cooldown = min(self._cooldown * 2, rules.longest)
        self._until, self._failures, self._slow = now + self._cooldown, 0, 0
        self.opened += 1
        return True


class Pass:
    """The admission of one call by a circuit. Report the call's end once: `good`, `bad` or `void`."""

    def __init__(self, circuit: Circuit, opened: int) -> None:
        self._circuit = circuit
        self.opened = opened

    def good(self, now: float, *, slow: bool = False) -> bool:
        return self._circuit.ended(self, now, good=True, slow=slow)

    def bad(self, now: float) -> bool:
        return self._circuit.ended(self, now, good=False, slow=False)

    def void(self, now: float) -> bool:
        """Record a call that says nothing about the model: cancelled, or failed by the request's own fault."""
        return self._circuit.ended(self, now, good=None, slow=False)


class Breaker:
    """The breaker of one model, for all sessions of a process. `spent` returns its budget's spending in nano-dollars
    from a ledger; without it the breaker adds up the costs it sees, from zero. A call of unknown cost adds nothing."""

    def __init__(
        self,
        rules: Breaking,
        *,
        clock: Clock | None = None,
        spent: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        self.rules = rules
        self.clock = clock or LoopClock()
        self.circuit = Circuit(rules)
        self._ask = spent
        self._seen = 0
        self._highest_mark = 0.0
        self._empty_until = float("-inf")

    async def spent(self) -> int:
        return self._seen if self._ask is None else await self._ask()

    def trouble(self) -> str | None:
        """Return why a call would not be admitted now, as far as is known without waiting; None when it would be."""
        now = self.clock.now()
        if self.circuit.shut(now):
            return f"failed too often or was too slow; left alone for {self.circuit.left(now):.0f} s"
        return "its budget is spent" if now < self._empty_until else None

    def add(self, usage: Usage | None) -> None:
        self._seen += (usage and usage.cost) or 0

    async def marks(self, name: str) -> tuple[list[Notice], bool]:
        """Return (a notice for each newly reached mark, whether the budget is spent). `name` is the model's. Raises
        what the ledger raises."""
        if self.rules.budget is None:
            return [], False
        spent, budget = await self.spent(), self.rules.budget
        reached = [mark for mark in sorted(self.rules.marks) if self._highest_mark < mark and spent >= mark * budget]
        # A new month may start below a mark reached before.
        self._highest_mark = max((mark for mark in self.rules.marks if spent >= mark * budget), default=0.0)
        about = {"budget": f"model:{name}", "spent": spent, "limit": budget}
        notices = [Notice("budget", {**about, "percent": round(mark * 100)}) for mark in reached]
        if spent >= budget:
            # Only for a while: a new month or a higher limit must be noticed.
            self._empty_until = self.clock.now() + _EMPTY_SECONDS
        return notices, spent >= budget


class Guarded(ModelWrapper):
    """Guard a model by its breaker. A call that is not admitted fails at once and costs nothing: `overloaded` with
    `retry_after` while the breaker is open, `quota` when the budget is spent, `stuck` for a conversation that repeats
    itself. Notices report opening and closing (`breaker`) and the budget's marks (`budget`). This layer is outside the
    limiter, whose notice `limit` restarts the time to the first output, and inside retry and chains."""

    def __init__(self, inner: Model, breaker: Breaker) -> None:
        super().__init__(inner)
        self._breaker = breaker

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        breaker, rules = self._breaker, self._breaker.rules
        notices, call = await self._ask(request)
        began, first = breaker.clock.now(), None
        watch = _Watch(breaker.clock, rules.silence)
        try:
            for event in notices:
                yield event
            if call is None:
                return
            async with events(self.inner, request) as stream:
                async for event in watch.over(stream):
                    if first is None and is_delta(event):
                        first = breaker.clock.now()
                    elif isinstance(event, Notice) and event.kind == HEARD:
                        continue  # a program's own model has no limits, so no layer consumed it
                    elif isinstance(event, Notice) and event.kind == "limit":
                        began = breaker.clock.now()
                    elif isinstance(event, Completed | Failed):
                        waited = (breaker.clock.now() if first is None else first) - began
                        for notice in await self._ended(call, event, waited):
                            yield notice
                    yield event
        except _Silent:
            assert call is not None, "only a call that was made is watched"
            error = ErrorData("timeout", f"{self.name}: nothing came for {rules.silence:g} s in the midst of it", True)
            failed = Failed(error)
            for notice in await self._ended(call, failed, 0.0):
                yield notice
            yield failed
        finally:
            watch.stop()
            if call is not None:
                call.void(breaker.clock.now())

    async def _ask(self, request: Request) -> tuple[list[ModelEvent], Pass | None]:
        """Return the events to yield first, and the pass; without a pass nothing else is yielded."""
        try:
            notices, spent = await self._breaker.marks(self.name)
        except RoostError as error:
            why = f"{self.name} was not called, the store cannot be asked for its budget: {error}"
            return [Failed(ErrorData("overloaded", why, True), sent=False)], None
        events: list[ModelEvent] = [*notices]
        if (refused := self._refuse(request, spent)) is not None:
            return [*events, Failed(refused, sent=False)], None
        now, circuit = self._breaker.clock.now(), self._breaker.circuit
        if (call := circuit.admit(now)) is None:
            left = circuit.left(now)
            message = f"{self.name} failed too often or was too slow; it is left alone for {left:.0f} s"
            events.append(Failed(ErrorData("overloaded", message, True, left), sent=False))
        return events, call

    def _refuse(self, request: Request, spent: bool) -> ErrorData | None:
        rules = self._breaker.rules
        if spent:
            return ErrorData("quota", f"the budget of {self.name} is spent; raise it or choose another model")
        if rules.repeats is not None and repeated(request.messages) >= rules.repeats:
            return ErrorData("stuck", f"{self.name} made the same calls {rules.repeats} times with the same results")
        return None

    async def _ended(self, call: Pass, event: Completed | Failed, waited: float) -> list[Notice]:
        breaker = self._breaker
        now = breaker.clock.now()
        if isinstance(event, Completed):
            slow = breaker.rules.slow is not None and waited > breaker.rules.slow
            changed = call.good(now, slow=slow)
        else:
            changed = call.bad(now) if event.sent and event.error.code in BAD else call.void(now)
        breaker.add(event.usage)
        notices = await self._marks()
        if changed:
            state = "closed" if breaker.circuit.closed else "open"
            left = {} if breaker.circuit.closed else {"seconds": breaker.circuit.left(now)}
            notices.append(Notice("breaker", {"model": self.name, "state": state, **left}))
        return notices

    async def _marks(self) -> list[Notice]:
        try:
            return (await self._breaker.marks(self.name))[0]
        except RoostError as error:  # the next call reports them; this answer is complete
            _log.debug("the budget of %s cannot be read: %s", self.name, error)
            return []


def repeated(messages: tuple[Message, ...]) -> int:
    """Count the equal rounds (the same calls with the same results) at the conversation's end."""
    last: object = None
    count = 0
    results: dict[str, ToolMessage] = {}
    for message in reversed(messages):
        if isinstance(message, ToolMessage):
            results[message.call] = message
        elif isinstance(message, UserMessage):
            break
        else:
            this = _round(message, results)
            results = {}
            if this is None or (last is not None and this != last):
                break
            last, count = this, count + 1
    return count


def _round(message: AssistantMessage, results: dict[str, ToolMessage]) -> object:
    if not message.calls:
        return None
    outcomes = [results.get(call.id) for call in message.calls]
    outcomes_in_order = [None if outcome is None else (outcome.parts, outcome.error) for outcome in outcomes]
    return [(call.name, call.arguments) for call in message.calls], outcomes_in_order


class _Silent(Exception):
    pass


class _Watch:
    """Cut a stream that has begun and then sends nothing for `seconds`. One timer per call, set again when it fires."""

    def __init__(self, clock: Clock, seconds: float | None) -> None:
        self._clock = clock
        self._seconds = seconds
        self._timer: Timer | None = None
        self._scope: Scope | None = None
        self._stream: AsyncGenerator[ModelEvent]
        self._since = 0.0

    def over(self, stream: AsyncGenerator[ModelEvent]) -> AsyncIterator[ModelEvent]:
        """Yield the events of `stream`; raises `_Silent`."""
        self._stream = stream
        return stream if self._seconds is None else self

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def __aiter__(self) -> AsyncIterator[ModelEvent]:
        return self

    async def __anext__(self) -> ModelEvent:
        if self._timer is None:
            event = await anext(self._stream)
            if self._seconds is not None and is_delta(event):
                self._timer = self._clock.call_at(self._clock.now() + self._seconds, self._look)
            return event
        self._since = self._clock.now()
        scope = self._scope = Scope()
        try:
            return await anext(self._stream)
        except asyncio.CancelledError:
            if scope.leave():
                raise _Silent from None
            raise
        finally:
            scope.leave()
            self._scope = None

    def _look(self) -> None:
        assert self._seconds is not None
        now = self._clock.now()
        # While the reader processes an event, it does not wait for the model.
        since = now if self._scope is None else self._since
        if self._scope is not None and now >= since + self._seconds:
            self._scope.cut()
            return
        self._timer = self._clock.call_at(since + self._seconds, self._look)
