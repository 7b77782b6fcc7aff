"""Retry model calls."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec

from roost.log.content import ErrorData
from roost.models.model_wrapper import ModelWrapper, events, is_shown
from roost.models.request import Completed, Failed, Model, ModelEvent, Notice, Request
from roost.routing.clock import Clock, LoopClock, sleep

_chance = random.Random().random
"""Its own generator: the program's may be seeded."""


class Retry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules for retries. Times are in seconds.

    tries: the most calls.
    seconds: no wait ends later than this after the first call began.
    base, longest, jitter: the wait before try n + 1 is `base * 2 ** (n - 1)`, at most `longest`, of which the part
        `jitter` is random. It is never shorter than a provider asks (Retry-After).
    patience: a longer Retry-After is not waited for.
    elsewhere: replaces `seconds` if another model may be asked (`meta["others"]`).
    restart: retry also after part of the answer was shown.
    """

    tries: int = 5
    seconds: float = 300.0
    base: float = 0.5
    longest: float = 30.0
    jitter: float = 0.5
    patience: float = 120.0
    elsewhere: float = 5.0
    restart: bool = False

    def pause(self, failures: int, asked: float | None, chance: float) -> float:
        """Return the wait after `failures` (from 1); `asked`: the provider's Retry-After; `chance`: within 0 and 1."""
        backoff = min(self.base * 2.0 ** min(failures - 1, 60), self.longest)
        drawn = backoff * (1 - self.jitter * chance)
        # Jitter keeps callers with the same Retry-After from returning at the same moment.
        return drawn if asked is None else max(drawn, asked + backoff * self.jitter * chance)


class Retrying(ModelWrapper):
    """Retry after a `retryable` failure or an empty answer. A notice `retry` holds the cost of the failed try. After
    part of an answer was shown it retries only with `Retry.restart`, and a notice `restart` precedes the new answer.
    The last failure is returned unchanged. `chance` draws within 0 and 1."""

    def __init__(
        self,
        inner: Model,
        rules: Retry | None = None,
        *,
        clock: Clock | None = None,
        chance: Callable[[], float] = _chance,
    ) -> None:
        super().__init__(inner)
        self._rules = rules or Retry()
        self._clock = clock or LoopClock()
        self._chance = chance

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        rules = self._rules
        seconds = min(rules.seconds, rules.elsewhere) if "others" in request.meta else rules.seconds
        latest = self._clock.now() + seconds
        tried = 0
        while True:
            tried += 1
            shown = False
            failed: Failed | None = None
            async with events(self.inner, request) as stream:
                async for event in stream:
                    if isinstance(event, Completed) and not event.parts and event.cut is None:
                        event = Failed(ErrorData("empty", f"{self.name} answered nothing", True), event.usage)
                    if isinstance(event, Failed):
                        failed = event
                        break
                    shown = shown or is_shown(event)
                    yield event
            if failed is None:
                return
            pause = self._pause(failed, tried, shown, latest)
            if pause is None:
                yield failed
                return
            yield Notice("retry", failure_fields(failed) | {"try": tried + 1, "seconds": round(pause, 3)})
            await sleep(self._clock, pause)
            if shown:
                yield Notice("restart")

    def _pause(self, failed: Failed, tried: int, shown: bool, latest: float) -> float | None:
        """Return the wait before the next try; None when there is none."""
        rules, error = self._rules, failed.error
        if not error.retryable or tried >= rules.tries or (shown and not rules.restart):
            return None
        if (error.retry_after or 0.0) > rules.patience:
            return None
        pause = rules.pause(tried, error.retry_after, self._chance())
        return pause if self._clock.now() + pause <= latest else None


def failure_fields(failed: Failed) -> dict[str, Any]:
    """Return the notice's data for a failure that is recovered from."""
    usage = {} if failed.usage is None else {"usage": msgspec.to_builtins(failed.usage)}
    return {"code": failed.error.code, "message": failed.error.message, **usage}
