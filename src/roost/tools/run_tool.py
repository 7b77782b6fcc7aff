"""Run one tool call, and turn every failure into data for the model."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import msgspec

from roost.errors import Invalid, NotFound, TooLarge
from roost.log.content import Audio, File, Image, ResultPart, Text, ToolOutcome, Video
from roost.scope import Allowed
from roost.tools.base import Tool, ToolContext
from roost.tools.errors import NeedsPerson, ToolError
from roost.tools.text_limits import RESULT_CAP, capped, clean

_log = logging.getLogger(__name__)
_decode = msgspec.json.Decoder().decode
_NOTHING = (Text("(no output)"),)


async def run_tool(tool: Tool, ctx: ToolContext, arguments_json: str) -> tuple[ToolOutcome, tuple[ResultPart, ...]]:
    """Run the tool. Returns the outcome, `ok` or `error`, and the parts for the model: at least one, together at most
    about 64 KiB of text, always encodable. Raises only the cancellation of the calling task, and `NeedsPerson`. At
    `tool.timeout` the tool is cancelled; a synchronous function cannot be, and its thread runs on."""
    arguments = arguments_of(tool, arguments_json)
    if isinstance(arguments, str):
        return "error", (Text(capped(arguments)),)
    allowed = Allowed(tool.timeout)
    try:
        result = await allowed.over(tool.run(ctx, arguments))
        return "error" if result.error else "ok", _fit(result.parts)
    except (ToolError, Invalid, NotFound, TooLarge) as error:
        return _failed(str(error) or type(error).__name__)
    except asyncio.CancelledError as error:
        if allowed.leave():
            return _failed(f"{tool.name!r} was stopped: it took longer than {tool.timeout:g} seconds")
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # This call was not cancelled: the tool awaited something that was, which is the tool's own failure.
        return _crashed(tool, ctx, error)
    except NeedsPerson:
        raise
    except (Exception, SystemExit) as error:  # a tool is foreign code; the model handles its failure
        return _crashed(tool, ctx, error)
    finally:
        allowed.leave()


def arguments_of(tool: Tool, text: str) -> dict[str, Any] | str:
    """Return the arguments, or the error for the model."""
    try:
        found = _decode(text or "{}")
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return f"The arguments of {tool.name!r} are not valid JSON: {error}. Send one JSON object."
    if not isinstance(found, dict):
        kind = _json_type(cast("object", found))
        return f"The arguments of {tool.name!r} must be one JSON object such as {{...}}, not {kind}."
    return cast("dict[str, Any]", found)


def _json_type(value: object) -> str:
    names: dict[type, str] = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _fit(parts: tuple[ResultPart, ...]) -> tuple[ResultPart, ...]:
    if len(parts) == 1 and type(part := parts[0]) is Text:
        text = part.text
        if text.isascii() and 0 < len(text) <= RESULT_CAP:
            return parts
    fitted: list[ResultPart] = []
    left = RESULT_CAP
    for part in parts:
        if isinstance(part, Text):
            text = capped(part.text, max(left, 200))
            left -= len(text.encode())
            fitted.append(Text(text))
        elif isinstance(part, Image | Audio | Video | File):  # pyright: ignore[reportUnnecessaryIsInstance]  # a tool is foreign code
            fitted.append(part)
        else:
            raise TypeError(f"a ToolResult holds Text, Image, Audio, Video and File parts, not {type(part).__name__}")
    if not any(not isinstance(part, Text) or part.text for part in fitted):
        return _NOTHING
    return tuple(fitted)


def _failed(message: str) -> tuple[ToolOutcome, tuple[ResultPart, ...]]:
    return "error", (Text(capped(message)),)


def _crashed(tool: Tool, ctx: ToolContext, error: BaseException) -> tuple[ToolOutcome, tuple[ResultPart, ...]]:
    _log.warning("session %s: tool %r failed in call %s", ctx.session, tool.name, ctx.call, exc_info=error)
    try:
        detail = clean(str(error))
    except Exception:  # an exception whose __str__ fails must not hide the failure itself
        detail = ""
    return _failed(f"{tool.name!r} failed with {type(error).__name__}{': ' + detail if detail else ''}")
