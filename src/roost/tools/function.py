"""`@tool`: make a tool from a typed function."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, overload

import msgspec

from roost.errors import ConfigError
from roost.log.content import Replay
from roost.policy.gate import Safety
from roost.policy.touched_paths import Reach
from roost.tools.base import Tool, ToolContext, ToolResult
from roost.tools.errors import ToolError
from roost.tools.signature import Signature, read_signature

_Function = Callable[..., Any]


@overload
def tool(function: _Function, /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    replay: Replay = "never",
    safety: Safety = "high_risk",
    inside: bool = False,
    files: bool | None = None,
    timeout: float = 120.0,
    taints: bool = False,
    reach: Reach | None = None,
    secrets: Sequence[str] = (),
    early: bool = True,
) -> Callable[[_Function], Tool]: ...
def tool(
    function: _Function | str | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    replay: Replay = "never",
    safety: Safety = "high_risk",
    inside: bool = False,
    files: bool | None = None,
    timeout: float = 120.0,
    taints: bool = False,
    reach: Reach | None = None,
    secrets: Sequence[str] = (),
    early: bool = True,
) -> Tool | Callable[[_Function], Tool]:
    """Make a `Tool` from a function: the annotations become the schema, the docstring the description.

    A parameter is described by `Annotated[int, "what it is"]` or a `msgspec.Meta`; one annotated `ToolContext` gets the
    context and is not in the schema. Without such a parameter the tool cannot reach the session's files, so `files`
    defaults to False. `reach` tells the gate what a call would touch, `secrets` names the secrets that the context may
    reveal, `early` is as in `Tool`. A plain function runs in a thread and should bound its own time: a thread cannot be
    stopped. It returns text, bytes (decoded), a `ToolResult`, None, or anything that JSON can hold. Raises `TypeError`
    for a signature that a model cannot call, and `ConfigError` for a wrong option.
    """
    if isinstance(function, str):
        raise ConfigError(f"@tool({function!r}): an option needs its name; write @tool(name={function!r})")
    names = sys._getframe(1).f_locals  # pyright: ignore[reportPrivateUsage]

    def make(function: _Function) -> Tool:
        signature = read_signature(function, names)
        called = name or function.__name__
        if isinstance(secrets, str):
            raise ConfigError(f"tool {called!r}: secrets={secrets!r} is wrong; write secrets=[{secrets!r}]")
        return Tool(
            name=called,
            description=inspect.cleandoc(description or function.__doc__ or ""),
            schema=signature.schema,
            run=_runner(called, function, signature),
            replay=replay,
            safety=safety,
            inside=inside,
            files=signature.context is not None if files is None else files,
            timeout=timeout,
            taints=taints,
            reach=reach,
            secrets=tuple(secrets),
            early=early,
            function=function,
        )

    return make if function is None else make(function)


def _runner(
    name: str, function: _Function, signature: Signature
) -> Callable[[ToolContext, dict[str, Any]], Awaitable[ToolResult]]:
    arguments, fields, context = signature.arguments, signature.fields, signature.context
    is_async = inspect.iscoroutinefunction(function)

    async def run(ctx: ToolContext, given: dict[str, Any]) -> ToolResult:
        try:
            values = msgspec.convert(given, arguments, strict=False)
        except msgspec.ValidationError as error:
            raise ToolError(signature.explain(name, error)) from None
        named = {field: getattr(values, field) for field in fields}
        if context is not None:
            named[context] = ctx
        return _result(await function(**named) if is_async else await asyncio.to_thread(_called, function, named))

    return run


def _called(function: _Function, named: dict[str, Any]) -> Any:
    try:
        return function(**named)
    except StopIteration as error:  # a future cannot carry it: the caller would wait forever
        raise RuntimeError("the tool raised StopIteration") from error


def _result(value: Any) -> ToolResult:
    if isinstance(value, str):
        return ToolResult.of(value)
    if isinstance(value, ToolResult):
        return value
    if value is None:
        return ToolResult(())
    if isinstance(value, bytes | bytearray):
        return ToolResult.of(value.decode("utf-8", "replace"))
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError("the function returned a coroutine; write `async def` and `await` what it calls")
    return ToolResult.of(msgspec.json.encode(value).decode())
