"""Guardrails: checks of the texts that an agent receives and writes."""

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
    """Check a text. `check` gets the whole text of a message (`on`: "input" to the agent, "output" by it) and returns
    why it must not pass, or None. A failure, or no reply within `seconds`, counts as a reason."""

    @property
    def name(self) -> str: ...

    @property
    def on(self) -> Sequence[Side]: ...

    @property
    def seconds(self) -> float: ...

    async def check(self, text: str) -> str | None: ...


class Tripped(NamedTuple):
    """A text that did not pass. guard: the guardrail's name. reason: why."""

    guard: str
    reason: str


class PatternGuard:
    """Reject texts in which `pattern`, a regular expression, matches. The search runs in its own process for at most
    `seconds`, so a slow pattern blocks nothing else."""

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
        """Return a copy that searches in a node's processes."""
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
    """Reject texts above a number of characters."""

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
    """Check a text with your own function, which returns why it must not pass, or None. A plain function runs in a
    thread."""

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
    """Run all guardrails in parallel and return the first rejection, which cancels the others; None if all pass."""
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
    except Exception as error:  # foreign code: a failing guardrail rejects the text
        log.warning("guardrail %r failed", guard.name, exc_info=error)
        return Tripped(guard.name, f"the guardrail failed with {type(error).__name__}")
    finally:
        work.cancel()
    return None if reason is None else Tripped(guard.name, reason)


def _slow(guard: Guard) -> Tripped:
    return Tripped(guard.name, f"the guardrail did not answer within {guard.seconds:g} seconds")
