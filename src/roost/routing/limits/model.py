"""A model that waits for its rate limits."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from roost.errors import ConfigError, RoostError
from roost.log.content import ErrorData, Usage
from roost.log.coordination import Coordination
from roost.models.limit_headers import HEARD
from roost.models.model_wrapper import ModelWrapper, events
from roost.models.request import Completed, Failed, Model, ModelEvent, Notice, Profile, Request
from roost.models.tokens import MEDIA, estimate_request, margin
from roost.routing.clock import Clock
from roost.routing.limits.config import Limits
from roost.routing.limits.limiter import Limiter, Permit, TooLong

ELSEWHERE = 5.0
"""Longest wait in seconds for a model's limits when another model may be asked."""
_NOTABLE = 0.5
"""Seconds of waiting from which a notice is logged."""
_ANSWER_TOKENS = 4_096


class Limiters:
    """One limiter for each account, and for each model at an account, by the names `account` and `account/model`.
    `other` returns the limits of an unnamed model at its first use; None for none."""

    def __init__(
        self,
        limits: Mapping[str, Limits],
        *,
        clock: Clock | None = None,
        shared: Coordination | None = None,
        other: Callable[[str], Limits | None] | None = None,
    ) -> None:
        if shared is None and (name := next((name for name, each in limits.items() if each.cluster), None)):
            raise ConfigError(f"the limits of {name!r} are for the whole cluster, and there is no store to share them")
        self._all = {name: Limiter(name, each, clock=clock, shared=shared) for name, each in limits.items()}
        self._clock, self._shared = clock, shared
        self._other = other

    def change(self, limits: Mapping[str, Limits]) -> None:
        """Apply these limits, and `other`'s present ones. A limiter with unchanged limits keeps its counts; waiting
        calls keep waiting for their old limiter."""
        known, self._all = self._all, dict[str, Limiter]()
        for name, each in limits.items():
            kept = known.get(name)
            same = kept is not None and kept.limits == each
            self._all[name] = kept if same and kept else self._new(name, each)
        for name, limiter in known.items():
            if name not in self._all and self._other is not None and self._other(name) == limiter.limits:
                self._all[name] = limiter

    def _new(self, name: str, limits: Limits) -> Limiter:
        return Limiter(name, limits, clock=self._clock, shared=self._shared)

    def of(self, account: str, model: str) -> tuple[Limiter, ...]:
        """Return the limiters of a call, the model's own first; possibly none."""
        own = f"{account}/{model}"
        if self._other is not None and own not in self._all and (limits := self._other(own)) is not None:
            self._all[own] = Limiter(own, limits, clock=self._clock, shared=self._shared)
        return tuple(self._all[name] for name in (own, account) if name in self._all)


class Limited(ModelWrapper):
    """Let calls of `inner` pass as the limiters allow, in order of arrival.

    A notice `limit` reports a wait of half a second or more. A wait that would exceed a limiter's patience, or
    `ELSEWHERE` when another model may be asked (`meta["others"]`), fails as `rate_limited` with `retry_after`, before
    anything is sent. A call that is not sent for another reason is given back. This layer is outside `Charging` and
    inside retry: every attempt is a call, and nothing is reserved while it waits.
    """

    def __init__(self, inner: Model, limiters: Sequence[Limiter]) -> None:
        super().__init__(inner)
        self._limiters = tuple(limiters)

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        permits: list[Permit] = []
        tokens: float | None = None
        sent = False
        try:
            if (refused := await self._acquire(request, permits)) is not None:
                yield refused
                return
            if (waited := sum(permit.waited for permit in permits)) >= _NOTABLE:
                names = [limiter.name for limiter in self._limiters]
                yield Notice("limit", {"limits": names, "seconds": round(waited, 3)})
            sent = True
            async with events(self.inner, request) as stream:
                async for event in stream:
                    if isinstance(event, Notice) and event.kind == HEARD:
                        for permit in permits:
                            permit.hear(event.data)
                        continue
                    if isinstance(event, Completed | Failed):
                        tokens = _used(event)
                        sent = isinstance(event, Completed) or event.sent
                        self._mind(event)
                    yield event
        finally:
            for permit in permits:
                permit.done(tokens) if sent else permit.unused()

    async def _acquire(self, request: Request, permits: list[Permit]) -> Failed | None:
        if not self._limiters:
            return None
        tokens = estimate_tokens(request, self.profile)
        patience = ELSEWHERE if "others" in request.meta else None
        try:
            for limiter in self._limiters:
                permits.append(await limiter.acquire(tokens, patience=patience))  # noqa: PERF401  (each is kept as soon as it is had)
        except TooLong as error:
            return Failed(ErrorData("rate_limited", f"{self.name}: {error}", True, error.after), sent=False)
        except RoostError as error:
            # Send nothing without the cluster's permit.
            why = f"{self.name}: cannot ask the store for its limits: {error}"
            return Failed(ErrorData("overloaded", why, True), sent=False)
        return None

    def _mind(self, event: Completed | Failed) -> None:
        if isinstance(event, Failed) and event.error.code == "rate_limited" and event.error.retry_after:
            for limiter in self._limiters[:1]:
                limiter.close_for(event.error.retry_after)


def _used(event: Completed | Failed) -> float | None:
    usage = event.usage
    if usage is None or usage == Usage():
        return None
    # Tokens read from a prompt cache do not count against the limits of providers that say so (Anthropic's
    # documentation of rate limits); elsewhere the headers correct it.
    return max(0, usage.input - usage.cached) + usage.output


def estimate_tokens(request: Request, profile: Profile) -> float:
    """Estimate the tokens of input and answer, a third above the estimate that plans the context: too much waits a
    little, too little is refused. The answer counts at its maximum, up to 4,096 if the request names none."""
    answer = request.max_output or min(profile.max_output, _ANSWER_TOKENS)
    return margin(estimate_request(request, media=MEDIA)) + answer
