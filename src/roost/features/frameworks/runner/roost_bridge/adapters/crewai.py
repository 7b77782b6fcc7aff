"""CrewAI. Its tools are gated where they run: `BaseTool.run`, `arun`, and `CrewStructuredTool.invoke`. It does not say
which call of the model a tool runs for: the runtime finds it by name and arguments.

The object is a `Crew`, an `Agent` or a `Flow`, a function that returns one, or a class with a method `crew`."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import importlib
import importlib.metadata
import inspect
import json
import os
from collections.abc import Callable
from typing import Any, cast

from ..gate import Ended, announce, guarded, guarded_sync
from ..objects import made

EARLY = ("crewai", "crewai.tools", "crewai.flow.flow")
_QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "OTEL_SDK_DISABLED": "true",
}
_RUNS: contextvars.ContextVar[object] = contextvars.ContextVar("roost_crewai_runs", default=None)
"""The tool that is being run: a class that extends another's `run` is asked about once."""


def version() -> str:
    return importlib.metadata.version("crewai")


def install() -> None:
    os.environ.update(_QUIET)
    tools = importlib.import_module("crewai.tools.base_tool")
    structured = importlib.import_module("crewai.tools.structured_tool").CrewStructuredTool
    sanitized = importlib.import_module("crewai.utilities.string_utils").sanitize_tool_name
    for kind in (tools.BaseTool, tools.Tool):
        for name in ("run", "arun"):
            setattr(kind, name, _gated(vars(kind)[name], sanitized, _of_run))
    for name in ("invoke", "ainvoke"):
        setattr(structured, name, _gated(vars(structured)[name], sanitized, _of_invoke))
    for name in ("delegate_work_to_coworker", "ask_question_to_coworker"):
        announce(name, "agent")


def _of_run(given: tuple[Any, ...], named: dict[str, Any]) -> str:
    return _json(named if not given else {"arguments": list(given), **named})


def _of_invoke(given: tuple[Any, ...], named: dict[str, Any]) -> str:
    asked = given[0] if given else named.get("input", {})
    return asked if isinstance(asked, str) else _json(asked)


def _gated(run: Any, sanitized: Callable[[str], str], arguments: Callable[..., str]) -> Any:
    @functools.wraps(run)
    def gated(self: Any, *given: Any, **named: Any) -> Any:
        if _RUNS.get() is self:
            return run(self, *given, **named)
        work = functools.partial(run, self, *given, **named)
        return _result(guarded_sync(sanitized(self.name), arguments(given, named), _alone(self, work), text=_text))

    @functools.wraps(run)
    async def agated(self: Any, *given: Any, **named: Any) -> Any:
        if _RUNS.get() is self:
            return await run(self, *given, **named)

        async def work() -> Any:
            token = _RUNS.set(self)
            try:
                return await run(self, *given, **named)
            finally:
                _RUNS.reset(token)

        return _result(await guarded(sanitized(self.name), arguments(given, named), work, text=_text))

    return agated if inspect.iscoroutinefunction(run) else gated


def _alone(tool: Any, work: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> Any:
        token = _RUNS.set(tool)
        try:
            return work()
        finally:
            _RUNS.reset(token)

    return run


def _result(ended: Ended) -> str:
    if ended.failed:
        raise ended.error()
    return ended.text


def _text(value: Any) -> str:
    if hasattr(value, "model_dump_json"):
        return value.model_dump_json()
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


async def run(agent: Any, text: str, memory: list[Any]) -> tuple[str, list[Any]]:
    runner = await made(agent)
    if not hasattr(runner, "kickoff") and hasattr(runner, "crew"):
        runner = await made(runner.crew)
    asked = {"role": "user", "content": text}
    if hasattr(runner, "role"):  # an agent alone
        output = await asyncio.to_thread(runner.kickoff, [*memory, asked])
    else:
        output = await asyncio.to_thread(runner.kickoff, inputs=_inputs(runner, text, memory))
    output = await output if asyncio.iscoroutine(output) else output
    said = _text(getattr(output, "raw", output))
    return said, [*memory, asked, {"role": "assistant", "content": said}]


def _inputs(runner: Any, text: str, memory: list[Any]) -> dict[str, Any]:
    """Return what a crew is given: the members of a message that is a JSON object, else the message for each of its
    placeholders. `history` is the conversation before."""
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    known = {"history": "\n".join(f"{one['role']}: {one['content']}" for one in memory)}
    if isinstance(given, dict):
        return {**known, **cast("dict[str, Any]", given)}
    wanted: set[str] = runner.fetch_inputs() if hasattr(runner, "fetch_inputs") else set()
    return {"input": text, **dict.fromkeys(sorted(wanted), text), **known}
