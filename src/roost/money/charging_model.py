"""A model whose every call is charged to the ledger."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator

import msgspec

from roost.log.content import AssistantPart, Text, Thinking, ToolCall, Usage
from roost.models.model_wrapper import ModelWrapper, events
from roost.models.request import (
    CallDelta,
    Completed,
    Failed,
    Model,
    ModelEvent,
    Notice,
    Request,
    TextDelta,
    ThinkingDelta,
)
from roost.models.tokens import MEDIA, estimate_request, foreign, margin
from roost.money.budgets import Spender
from roost.money.call_meter import Meter, affordable, dearest
from roost.money.ledger import Ledger
from roost.money.running_calls import TOKENS_PER_SECOND

LEAST = 1_024
"""Least tokens of an answer for which a call is made when the budget allows no more."""
_TRIES = 4
"""Attempts to reserve while concurrent calls reserve and settle."""


class Charging(ModelWrapper):
    """Reserve the highest cost before each call of `inner`, and settle with the real cost after it.

    Highest cost: the input, estimated a third too high, at the dearest of its prices, and the largest possible answer.
    Under a limit the request states that maximum: the provider may know another one. If only a smaller answer of at
    least 1,024 tokens fits, the request asks for it, and a notice `budget` tells so. A call that does not fit is not
    made: a notice `budget` (`refused`), then the failure `budget`, retryable when only calls in flight are in its way;
    `price_unknown` where a limit holds; `overloaded` where the store does not answer. A notice `budget` (`percent`)
    reports the marks of the month that a call passes.

    Real cost: the provider's value. Without one, because the call was cut off, it is an estimate of the tokens sent and
    received, a third too high, so that the ledger is not below the provider's count. An answer in one document shows
    nothing until its end, so it counts at its maximum. The request's bill gets each sent call once, however it ends.
    This is the innermost layer: every attempt is a call.
    speed: most output tokens per second of the model, which bounds the cost of a call whose process dies
        (`roost.money.running_calls`).
    """

    def __init__(self, inner: Model, ledger: Ledger, *, speed: float = TOKENS_PER_SECOND) -> None:
        super().__init__(inner)
        self._ledger = ledger
        self._speed = speed

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        who = Spender.of(request, self.name)
        heard = _Heard(request)
        meter = Meter(self._ledger, self.profile.price, who, heard=heard.output, speed=self._speed)
        await self._ledger.look_up(who)
        ask, notices = await self._reserve(meter, request, heard, limited=self._ledger.limit(who) is not None)
        spent: Usage | None = None
        sent, end, unheard = False, None, 0
        try:
            for event in notices:
                yield event
            if ask is None:
                return
            sent = True
            unheard = 0 if ask.stream else ask.max_output or self.profile.max_output
            async with events(self.inner, msgspec.structs.replace(ask, named=meter.name)) as stream:
                async for event in stream:
                    if isinstance(event, Completed | Failed):
                        end = event
                        sent = isinstance(event, Completed) or event.sent
                        break
                    heard.add(event)
                    meter.touch()
                    yield event
        finally:
            if sent:
                usage, counted = heard.usage(end, unheard)
                spent = meter.priced(usage)
                if request.bill is not None:
                    request.bill.add(self.name, spent, estimated=not counted)
            await meter.settle(spent)
        for notice in await self._ledger.warnings() if spent and spent.cost else ():
            yield notice
        if end is not None:
            yield _with(end, spent)

    async def _reserve(
        self, meter: Meter, request: Request, heard: _Heard, *, limited: bool
    ) -> tuple[Request | None, list[ModelEvent]]:
        """Reserve. Returns (the request to send, None to send nothing; the notices to yield first)."""
        price = self.profile.price
        # A free model, or one of unknown price, is not worth the counting.
        tokens = heard.sent if price is not None and dearest(price, Usage(input=1, output=1)) else 0
        wanted = room = self._room(request, tokens, limited=limited)
        notices: list[ModelEvent] = []
        refused = await meter.reserve(Usage(input=tokens, output=room), streamed=request.stream)
        for _ in range(_TRIES):
            if refused is None or refused.budget is None or price is None:
                break
            room = min(wanted, affordable(price, tokens, refused.left))
            if room < min(LEAST, wanted):
                break
            notices = [Notice("budget", {"budget": refused.budget, "max_output": room})] if room < wanted else []
            refused = await meter.reserve(Usage(input=tokens, output=room), streamed=request.stream)
        if refused is None:
            bound = notices or (limited and tokens)
            return (msgspec.structs.replace(request, max_output=room) if bound else request), notices
        no: list[ModelEvent] = [] if refused.budget is None else [Notice("budget", {"refused": refused.budget})]
        return None, [*no, Failed(refused.error, sent=False)]

    def _room(self, request: Request, tokens: int, *, limited: bool) -> int:
        """Return the most output tokens of an answer to an input of `tokens`."""
        most = request.max_output or max(1, self.profile.max_output)
        if request.max_output or not limited:
            return most
        # Strict servers refuse a maximum that does not fit into the window.
        return min(most, max(LEAST, self.profile.window - tokens))


class _Heard:
    """What is known of a call's cost while it runs: `sent`, the most tokens of its input, and the received output."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._plain = self._wide = 0

    @functools.cached_property
    def sent(self) -> int:
        return margin(estimate_request(self._request, media=MEDIA))

    def add(self, event: ModelEvent) -> None:
        match event:
            case TextDelta() | ThinkingDelta():
                text = event.text
            case CallDelta():
                text = event.arguments + (event.name or "")
            case _:
                return
        wide = foreign(text)
        self._plain += len(text) - wide
        self._wide += wide

    def output(self) -> int:
        """Return the output tokens received so far, a third too high."""
        return margin(self._plain // 4 + self._wide)

    def usage(self, end: Completed | Failed | None, unheard: int) -> tuple[Usage, bool]:
        """Return (the usage, whether the provider reported it). `unheard`: tokens that a cut call may have written
        without sending any."""
        counted = None if end is None else end.usage
        if counted is not None and (isinstance(end, Failed) or counted.input or counted.output):
            return counted, True
        if isinstance(end, Completed) and not (self._plain or self._wide):
            for part in end.parts:
                self.add(TextDelta(_text(part)))
        output = self.output()
        return Usage(input=self.sent, output=output if isinstance(end, Completed) else max(output, unheard)), False


def _text(part: AssistantPart) -> str:
    match part:
        case Text() | Thinking():
            return part.text
        case ToolCall():
            return part.arguments
        case _:
            return ""


def _with(end: Completed | Failed, spent: Usage | None) -> Completed | Failed:
    return end if spent is None else msgspec.structs.replace(end, usage=spent)
