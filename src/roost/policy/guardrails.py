"""Guardrails: what may not be said to an agent, and what it may not say."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

from roost.policy.user_callbacks import call

if TYPE_CHECKING:
    from roost.policy.patterns import Patterns

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
    """Nothing that `pattern`, a regular expression, finds within `seconds`. It is searched for in a process of its own,
    so a slow one stops nobody else."""

    def __init__(
        self,
        pattern: str,
        *,
        on: Sequence[Side] = ("input", "output"),
        name: str = "pattern",
        reason: str = "",
        seconds: float = 5.0,
    ) -> None:
        re.compile(pattern)
        self.name, self.on, self.seconds, self._pattern = name, tuple(on), seconds, pattern
        self._reason = reason or "it holds what is not allowed here"
        self._patterns: Patterns | None = None

    def searched_by(self, patterns: Patterns) -> PatternGuard:
        """The same, with the processes of a node."""
        made = copy.copy(self)
        made._patterns = patterns
        return made

    async def check(self, text: str) -> str | None:
        if self._patterns is not None:
            return await self._searched(self._patterns, text)
        from roost.policy.patterns import Patterns
        from roost.sandbox.host_process import ProcessSandbox

        hands = ProcessSandbox(marker=f"guardrail-{os.getpid()}")
        try:
            return await self._searched(Patterns(hands), text)
        finally:
            await hands.close()

    async def _searched(self, patterns: Patterns, text: str) -> str | None:
        return self._reason if await patterns.found(self._pattern, text, seconds=self.seconds) else None


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
            return _slow(guard)
        reason = work.result()
    except TimeoutError:
        return _slow(guard)
    except Exception as error:  # foreign code: what it cannot judge does not pass
        log.warning("guardrail %r failed", guard.name, exc_info=error)
        return Tripped(guard.name, f"the guardrail failed with {type(error).__name__}")
    finally:
        work.cancel()
    return None if reason is None else Tripped(guard.name, reason)


def _slow(guard: Guard) -> Tripped:
    return Tripped(guard.name, f"the guardrail did not answer within {guard.seconds:g} seconds")
