"""Hooks: the user's programs and functions, which observe an agent's steps and may deny or change them."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Any, Literal, Protocol, TypeAlias, get_args

import msgspec

from roost.policy.user_callbacks import call
from roost.sandbox.base import Quota, Sandbox

log = logging.getLogger("roost.policy")
When: TypeAlias = Literal[
    "session_start", "turn_start", "pre_model", "post_model", "pre_tool", "post_tool", "turn_end", "session_end"
]
HookDecision: TypeAlias = Literal["allow", "deny", "modify", "passthrough"]
MOMENTS: tuple[When, ...] = get_args(When)
_CLEANING = 2.0
_INTERPRETER = re.compile(r"(?:ba|da|z|k|fi)?sh|(?:python|perl|ruby|node|php|bun|deno)[\d.]*|env|uv")
_NAME = 40
"""Characters of a name derived from a command."""
_CHANGES: dict[When, str] = {"pre_tool": "arguments", "post_tool": "text", "pre_model": "text", "post_model": "text"}


class Moment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Input of a hook; a program gets it as JSON on stdin. Secrets are masked in it.

    text: the message (`session_start`, `turn_start`), the agent's instructions (`pre_model`), the answer
    (`post_model`), a tool's result (`post_tool`), or the last answer (`turn_end`, `session_end`). outcome: of a call or
    a turn; at `session_start` the session's origin (`created`, `forked`, `imported`), at `session_end` what ends it
    (`stopped`, `deleted`, or the outcome of its task)."""

    on: When
    session: str
    agent: str
    turn: int
    text: str = ""
    tool: str | None = None
    call: str | None = None
    arguments: Any = None
    outcome: str | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Reply of a hook; a program writes it as JSON to stdout. `modify` needs new `arguments` (an object; before a tool)
    or a new `text` (elsewhere). After `allow` and `passthrough` alike the next hook is asked: `allow` loosens
    nothing."""

    decision: HookDecision = "passthrough"
    reason: str = ""
    arguments: dict[str, Any] | None = None
    text: str | None = None


class Hook(Protocol):
    """Judge a moment. on: moments at which it is asked. tool: glob of the tools whose calls it judges. `judge` may
    raise or hang; both count as deny, after at most `seconds`."""

    @property
    def name(self) -> str: ...

    @property
    def on(self) -> Sequence[When]: ...

    @property
    def tool(self) -> str: ...

    @property
    def seconds(self) -> float: ...

    async def judge(self, moment: Moment, hands: Sandbox) -> Answer: ...


class HookFailed(Exception):
    """A hook failed; the message says how, for the log."""


_decode = msgspec.json.Decoder(Answer).decode
_encode = msgspec.json.Encoder().encode


class ShellHook:
    """A program on this machine, outside the agent's sandbox, with a clean environment, in the folder of the file that
    names it. Exit code 0 with empty output means `passthrough`. The default `name` is that of the program, or of the
    script that an interpreter runs."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        on: Sequence[When],
        folder: Path,
        tool: str = "*",
        seconds: float = 10.0,
        name: str | None = None,
    ) -> None:
        if not command:
            raise ValueError("a hook's command needs at least a program, such as ['./check.py']")
        self.name = name or _name_of(command)
        self.on, self.tool, self.seconds = tuple(on), tool, seconds
        self._command, self._folder = tuple(command), folder

    async def judge(self, moment: Moment, hands: Sandbox) -> Answer:
        quota = Quota(wall_seconds=self.seconds)
        done = await hands.exec(self._command, cwd=str(self._folder), stdin=_encode(moment), quota=quota)
        if done.killed_by is not None:
            raise HookFailed(f"it was ended: {done.killed_by}")
        if done.exit_code != 0:
            said = done.stderr.strip().splitlines()
            raise HookFailed(f"exit code {done.exit_code}" + (f": {said[-1][:200]}" if said else ""))
        if not done.stdout.strip():
            return Answer()
        try:
            return _decode(done.stdout.encode())
        except msgspec.MsgspecError as error:
            raise HookFailed(f"its answer is not understood: {error}") from error


def _name_of(command: Sequence[str]) -> str:
    program = PurePath(command[0]).name
    if not _INTERPRETER.fullmatch(program):
        return program
    for place, word in enumerate(command[1:], 1):
        if not word.startswith("-"):
            inline = command[place - 1].startswith("-") and not command[place - 1].startswith("--")
            said = " ".join(word.split()) if inline and place > 1 else PurePath(word).name
            return said if len(said) <= _NAME else said[: _NAME - 3] + "..."
    return program


class PythonHook:
    """A function of the moment. It returns an `Answer`, None for `passthrough`, or False for deny. A plain function
    runs in a thread, which cannot be stopped: a hanging one occupies it."""

    def __init__(
        self,
        function: Callable[[Moment], Awaitable[Answer | bool | None] | Answer | bool | None],
        *,
        on: Sequence[When],
        tool: str = "*",
        seconds: float = 10.0,
        name: str | None = None,
    ) -> None:
        self.name = name or getattr(function, "__name__", "hook")
        self.on, self.tool, self.seconds = tuple(on), tool, seconds
        self._function = function

    async def judge(self, moment: Moment, hands: Sandbox) -> Answer:
        said = await call(self._function, moment)
        match said:
            case Answer():
                return said
            case None | True:
                return Answer()
            case False:
                return Answer(decision="deny")
            case _:
                raise HookFailed(f"it returned {type(said).__name__}, not an Answer")


def concerns(hook: Hook, moment: Moment) -> bool:
    return moment.tool is None or fnmatchcase(moment.tool, hook.tool)


async def ask(hook: Hook, moment: Moment, hands: Sandbox) -> Answer:
    """Return the hook's answer within its time limit; deny with a reason if it fails, hangs or returns an invalid
    answer. Raises only the caller's cancellation."""
    work = asyncio.ensure_future(hook.judge(moment, hands))
    try:
        # A program's quota ends it, and leaves no process behind.
        done, _ = await asyncio.wait([work], timeout=hook.seconds + (1.0 if isinstance(hook, ShellHook) else 0.0))
        if not done:
            return _denied(f"the hook {hook.name!r} did not answer within {hook.seconds:g} seconds")
        return _sensible(hook, moment, work.result())
    except HookFailed as error:
        return _denied(f"the hook {hook.name!r} failed: {error}")
    except asyncio.CancelledError:
        if not work.done() or (task := asyncio.current_task()) is None or task.cancelling():
            work.cancel()
            await asyncio.wait([work], timeout=_CLEANING)
            raise
        return _denied(f"the hook {hook.name!r} was cancelled")
    except Exception as error:  # foreign code: a failing hook denies
        log.warning("hook %r failed", hook.name, exc_info=error)
        return _denied(f"the hook {hook.name!r} failed with {type(error).__name__}")
    finally:
        work.cancel()


def _sensible(hook: Hook, moment: Moment, answer: Answer) -> Answer:
    if answer.decision == "deny" and not answer.reason:
        return _denied(f"the hook {hook.name!r} does not allow it")
    if answer.decision == "modify":
        field = _CHANGES.get(moment.on)
        if field is None or getattr(answer, field) is None:
            return _denied(f"the hook {hook.name!r} changes nothing that can be changed at {moment.on}")
    return answer


def _denied(reason: str) -> Answer:
    return Answer(decision="deny", reason=reason)
