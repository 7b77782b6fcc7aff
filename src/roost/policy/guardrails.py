"""Guardrails: what may not be said to an agent, and what it may not say."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

from roost.policy.foreign import call

log = logging.getLogger("roost.policy")
Side: TypeAlias = Literal["input", "output"]


class Guard(Protocol):
    """`check` gets the whole text of a message (of `on`: what is said to the agent, what it answers) and returns why it
    may not pass, or None. A failure, and no answer within `seconds`, count as a reason."""

    @property
    def name(self) -> str: ...

    @property
    def on(self) -> Sequence[Side]: ...

    @property
    def seconds(self) -> float: ...

    async def check(self, text: str) -> str | None: ...


class Tripped(NamedTuple):
    """Which guardrail a text did not pass, and why."""

    guard: str
    reason: str


class PatternGuard:
    """Nothing that `pattern`, a regular expression, finds. It runs on the event loop: write one that is quick."""

    seconds = 5.0

    def __init__(
        self, pattern: str, *, on: Sequence[Side] = ("input", "output"), name: str = "pattern", reason: str = ""
    ) -> None:
        self.name, self.on = name, tuple(on)
        self._found = re.compile(pattern).search
        self._reason = reason or "it holds what is not allowed here"

    async def check(self, text: str) -> str | None:
        return self._reason if self._found(text) else None


class LengthGuard:
    """At most so many characters."""

    seconds = 5.0

    def __init__(
        self, most: int, *, on: Sequence[Side] = ("input", "output"), name: str = "length", reason: str = ""
    ) -> None:
        self.name, self.on, self._most = name, tuple(on), most
        self._reason = reason

    async def check(self, text: str) -> str | None:
        said = self._reason or f"it has {len(text):,} characters, and {self._most:,} are allowed"
        return said if len(text) > self._most else None


class FunctionGuard:
    """A function of yours: it returns why a text may not pass, or None. A plain one runs in a thread."""

    def __init__(
        self,
        function: Callable[[str], Awaitable[str | None] | str | None],
        *,
        on: Sequence[Side] = ("input", "output"),
        name: str | None = None,
        seconds: float = 15.0,
    ) -> None:
        self.name = name or getattr(function, "__name__", "function")
        self.on, self.seconds, self._function = tuple(on), seconds, function

    async def check(self, text: str) -> str | None:
        said = await call(self._function, text)
        if said is None or isinstance(said, str):
            return said
        raise TypeError(f"it returned {type(said).__name__}, not a reason or None")


async def first_tripped(guards: Sequence[Guard], text: str) -> Tripped | None:
    """All at once; the first that says no ends the others."""
    tasks = [asyncio.create_task(_checked(guard, text)) for guard in guards]
    try:
        for done in asyncio.as_completed(tasks):
            if (tripped := await done) is not None:
                return tripped
        return None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _checked(guard: Guard, text: str) -> Tripped | None:
    work = asyncio.ensure_future(guard.check(text))
    try:
        done, _ = await asyncio.wait([work], timeout=guard.seconds)
        if not done:
            return Tripped(guard.name, f"the guardrail did not answer within {guard.seconds:g} seconds")
        reason = work.result()
    except Exception as error:  # foreign code: what it cannot judge does not pass
        log.warning("guardrail %r failed", guard.name, exc_info=error)
        return Tripped(guard.name, f"the guardrail failed with {type(error).__name__}")
    finally:
        work.cancel()
    return None if reason is None else Tripped(guard.name, reason)
