"""A model whose every call goes through the ledger."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator

import msgspec

from roost.log.content import AssistantPart, Text, Thinking, ToolCall, Usage
from roost.models.model_wrapper import Wrapped, events
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
"""Tokens of an answer for which a call is still made when the budget has no room for more."""
_TRIES = 4
"""To find room beside calls that take and leave some at the same time."""


class Charging(Wrapped):
    """Reserves before each call of `inner` what it may cost at most, and settles after it what it has cost.

    The most: the input, estimated a third too high, at the dearest of its prices, and the largest possible answer,
    which under a limit is also asked for in so many words: a provider may know another maximum than we do. Where only
    a smaller answer of at least 1,024 tokens fits it is asked for, and a notice `budget` says so. A call that does not
    fit is not made: a notice `budget` (`refused`), then the failure `budget`, retryable when only calls under way
    stand in its way; `price_unknown` where a limit holds; `overloaded` where the store does not answer.
    The marks of the month that a call passes are told with a notice `budget` (`percent`).

    What it has cost is the provider's word. Where there is none, because the call was cut off in its midst, it is an
    estimate of what was sent and heard, a third too high, so that the ledger is not below the provider's count; of an
    answer that comes in one document nothing is heard until its end, and it counts with the most that it may have. The
    bill of the request gets each call that was sent once, however it ends. Goes closest to the wire: every attempt is
    a call. `speed`: the output tokens that the model writes in a second at most, which bound what a call has cost whose
    process dies (`roost.money.running_calls`).
    """

    def __init__(self, inner: Model, ledger: Ledger, *, speed: float = TOKENS_PER_SECOND) -> None:
        super().__init__(inner)
        self._ledger = ledger
        self._speed = speed

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        who = Spender.of(request, self.name)
        heard = _Heard(request)
        meter = Meter(self._ledger, self.profile.price, who, heard=heard.output, speed=self._speed)
        ask, told = await self._reserve(meter, request, heard, limited=self._ledger.limit(who) is not None)
        spent: Usage | None = None
        sent, end, unheard = False, None, 0
        try:
            for event in told:
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
                usage, said = heard.usage(end, unheard)
                spent = meter.priced(usage)
                if request.bill is not None:
                    request.bill.add(self.name, spent, estimated=not said)
            await meter.settle(spent)
        for notice in await self._ledger.warnings() if spent and spent.cost else ():
            yield notice
        if end is not None:
            yield _with(end, spent)

    async def _reserve(
        self, meter: Meter, request: Request, heard: _Heard, *, limited: bool
    ) -> tuple[Request | None, list[ModelEvent]]:
        """(what to ask for, None for nothing; what is told first)."""
        price = self.profile.price
        # What costs nothing, or nobody knows what, is not worth the counting.
        tokens = heard.sent if price is not None and dearest(price, Usage(input=1, output=1)) else 0
        wanted = room = self._room(request, tokens, limited=limited)
        told: list[ModelEvent] = []
        refused = await meter.reserve(Usage(input=tokens, output=room), streamed=request.stream)
        for _ in range(_TRIES):
            if refused is None or refused.budget is None or price is None:
                break
            room = min(wanted, affordable(price, tokens, refused.left))
            if room < min(LEAST, wanted):
                break
            told = [Notice("budget", {"budget": refused.budget, "max_output": room})] if room < wanted else []
            refused = await meter.reserve(Usage(input=tokens, output=room), streamed=request.stream)
        if refused is None:
            bound = told or (limited and tokens)
            return (msgspec.structs.replace(request, max_output=room) if bound else request), told
        no: list[ModelEvent] = [] if refused.budget is None else [Notice("budget", {"refused": refused.budget})]
        return None, [*no, Failed(refused.error, sent=False)]

    def _room(self, request: Request, tokens: int, *, limited: bool) -> int:
        """The output tokens that an answer to so many of input may have."""
        most = request.max_output or self.profile.max_output
        if request.max_output or not limited:
            return most
        # Strict servers refuse a maximum that does not fit into the window.
        return min(most, max(LEAST, self.profile.window - tokens))


class _Heard:
    """What is known of a call's cost while it runs: `sent`, the most tokens of its input, and what was heard."""

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
        """The output tokens that were heard so far, a third too high."""
        return margin(self._plain // 4 + self._wide)

    def usage(self, end: Completed | Failed | None, unheard: int) -> tuple[Usage, bool]:
        """(the usage, whether it is the provider's word). `unheard`: tokens that a call which was cut off may have had
        for an answer without a word of it being heard."""
        said = None if end is None else end.usage
        if said is not None and (isinstance(end, Failed) or said.input or said.output):
            return said, True
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
