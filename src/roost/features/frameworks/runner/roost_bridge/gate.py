"""Tool calls: ask before each, record its outcome after it, and use a recorded outcome in place of a second run."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import json
import re
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, cast

from .channel import Channel

_SCOPE: contextvars.ContextVar[str] = contextvars.ContextVar("roost_scope", default="")
QUESTION = "ask_person"
"""The tool by which the runtime knows a question of the agent, such as an interrupt of LangGraph."""
_FAILED = re.compile(r"([A-Za-z_]\w*): ?(.*)", re.DOTALL)
_state: dict[str, Any] = {"channel": None, "clock": 0.0, "name": "", "tools": {}}


class ToolFailed(Exception):
    """A tool raised an exception. A recorded one is raised again as this class, with the name of the first."""


class ToolRefused(Exception):
    """A tool was not run: the gate or a person said no, or it is not known whether it took effect."""


class Ended:
    """The outcome of a call. text: as it is recorded. failed: the tool raised an exception."""

    def __init__(self, text: str, is_error: bool) -> None:
        self.text, self.is_error = text, is_error
        match = _FAILED.fullmatch(text) if is_error else None
        self.failed = match is not None

    def error(self) -> Exception:
        """Return the exception, alike in the first run and in every later one."""
        match = _FAILED.fullmatch(self.text)
        assert match is not None
        return type(match[1], (ToolFailed,), {})(match[2])


def begin(channel: Channel, clock: float, name: str) -> None:
    _state["channel"], _state["clock"], _state["name"] = channel, clock, name


def announce(name: str, source: str = "") -> None:
    """Tell the runtime of a tool. Only those announced before the turn count."""
    _state["tools"][name] = source


def announce_handoff(name: str) -> None:
    """Tell the runtime of a call by which another agent goes on. A tool of that name is a tool."""
    _state["tools"].setdefault(name, "handoff")


def announce_question() -> None:
    """Tell the runtime that the agent may ask a person (`person_answers`)."""
    _state["tools"][QUESTION] = "question"


def announced() -> list[dict[str, str]]:
    return [{"name": name, "source": source} for name, source in _state["tools"].items()]


def scope() -> str:
    return _SCOPE.get()


def turn_time() -> float:
    """Return the time at which the turn began, in seconds since 1970: the same when the turn runs again."""
    return float(_state["clock"])


def run_name() -> str:
    """Return what names the run in its session: the same when it begins once more."""
    return str(_state["name"])


def source() -> str:
    """Return the folder of the agent's code, which is the first place that its imports are looked for in."""
    return sys.path[0]


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


async def guarded(
    name: str,
    arguments: str,
    run: Callable[[], Awaitable[Any]],
    *,
    call_id: str = "",
    text: Callable[[Any], str] = text_of,
) -> Ended:
    """Run a tool if the runtime says so, and return its outcome once that is recorded."""
    channel, number, asked = _begin(name, arguments, call_id)
    answer = await asyncio.wrap_future(asked)
    if answer["type"] != "tool.run":
        return Ended(answer["content"], answer["is_error"])
    token = _SCOPE.set(_inner(answer["id"]))
    try:
        content, failed = text(await run()), False
    except Exception as error:
        content, failed = f"{type(error).__name__}: {error}", True
    finally:
        _SCOPE.reset(token)
    done = await asyncio.wrap_future(_end(channel, number, content, failed))
    return Ended(done["content"], done["is_error"])


def guarded_sync(
    name: str, arguments: str, run: Callable[[], Any], *, call_id: str = "", text: Callable[[Any], str] = text_of
) -> Ended:
    """As `guarded`, in a thread that may block."""
    channel, number, asked = _begin(name, arguments, call_id)
    answer = asked.result()
    if answer["type"] != "tool.run":
        return Ended(answer["content"], answer["is_error"])
    token = _SCOPE.set(_inner(answer["id"]))
    try:
        content, failed = text(run()), False
    except Exception as error:
        content, failed = f"{type(error).__name__}: {error}", True
    finally:
        _SCOPE.reset(token)
    done = _end(channel, number, content, failed).result()
    return Ended(done["content"], done["is_error"])


async def person_answers(question: str) -> Any:
    """Ask a person, and return the answer: True for a yes, False for a no, or what the person gave in place of the
    arguments. question: JSON."""
    ended = await guarded(QUESTION, json.dumps({"question": json.loads(question)}), _unanswered)
    if ended.is_error:
        return False
    answer: Any = json.loads(ended.text.rpartition("\n")[2])  # before it may be a note that a person changed it
    return cast("dict[str, Any]", answer).get("answer", cast("Any", answer)) if isinstance(answer, dict) else answer


async def _unanswered() -> Any:
    raise RuntimeError("a question inside a tool call reaches no person: ask it in the graph itself")


class Call:
    """A tool call that a program beside this one runs, such as Claude Code: its begin and its end are told apart."""

    def __init__(self, name: str, arguments: str, call_id: str) -> None:
        self._about = name, arguments, call_id
        self._number = 0

    async def begin(self) -> Ended | None:
        """Ask for the call. Returns its outcome if it must not run: a recorded one, or a refusal."""
        _, self._number, asked = _begin(*self._about)
        answer = await asyncio.wrap_future(asked)
        return None if answer["type"] == "tool.run" else Ended(answer["content"], answer["is_error"])

    async def end(self, content: str, *, failed: bool = False) -> Ended:
        """Report the outcome, and return it once it is recorded."""
        done = await asyncio.wrap_future(_end(_state["channel"], self._number, content, failed))
        return Ended(done["content"], done["is_error"])


def _inner(call: str) -> str:
    return f"{_SCOPE.get()}/{call}" if _SCOPE.get() else call


def _begin(name: str, arguments: str, call_id: str) -> tuple[Channel, int, Future[dict[str, Any]]]:
    channel: Channel | None = _state["channel"]
    if channel is None:
        raise RuntimeError(f"the tool {name!r} was called before the turn began")
    if call_id and call_id == scope().rpartition("/")[2]:
        call_id = ""  # a tool that calls another one, and passes on its own id
    number = channel.number()
    message = {"type": "tool.begin", "n": number, "name": name, "scope": scope()}
    return channel, number, channel.ask({**message, "call_id": call_id, "arguments": arguments or "{}"})


def _end(channel: Channel, number: int, content: str, failed: bool) -> Future[dict[str, Any]]:
    return channel.ask({"type": "tool.end", "n": number, "content": content, "is_error": failed})


def tool(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function a tool of Roost: each call is judged and recorded, and its result, which must fit JSON, is used
    again when the turn runs again. Raises `ToolRefused` when it may not run."""
    name, shape = function.__name__, inspect.signature(function)
    announce(name)

    def arguments(given: tuple[Any, ...], named: dict[str, Any]) -> str:
        bound = shape.bind(*given, **named)
        return json.dumps(bound.arguments, default=str, ensure_ascii=False)

    @functools.wraps(function)
    async def asynchronous(*given: Any, **named: Any) -> Any:
        run = functools.partial(function, *given, **named)
        return _value(name, await guarded(name, arguments(given, named), run, text=_json))

    @functools.wraps(function)
    def synchronous(*given: Any, **named: Any) -> Any:
        run = functools.partial(function, *given, **named)
        return _value(name, guarded_sync(name, arguments(given, named), run, text=_json))

    return asynchronous if inspect.iscoroutinefunction(function) else synchronous


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _value(name: str, ended: Ended) -> Any:
    if ended.failed:
        raise ended.error()
    if ended.is_error:
        raise ToolRefused(f"{name}: {ended.text}")
    try:
        return json.loads(ended.text)
    except ValueError:
        return ended.text  # it was too long to be recorded whole
