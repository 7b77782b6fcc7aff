"""What people see of a difference."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import msgspec

from roost.agent.definition import AgentSpec, encode_spec
from roost.log.content import Text

_LINES = 200
"""Most lines of a diff."""
_TEXT = 20_000
"""Most characters of what is compared."""


def diff_of(recorded: str, now: str) -> str:
    """Return the lines that differ, as `diff -u` shows them."""
    if recorded == now:
        return ""
    before, after = shortened(recorded).splitlines(), shortened(now).splitlines()
    lines = [line.rstrip("\n") for line in difflib.unified_diff(before, after, "recorded", "now", lineterm="", n=3)]
    more = [f"… {len(lines) - _LINES} more lines"] if len(lines) > _LINES else []
    return "\n".join([*lines[:_LINES], *more])


def shortened(text: str) -> str:
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}\n… {len(text) - _TEXT} more characters"


def call_text(name: str, arguments: str) -> str:
    """Return a call as lines that a diff can compare: its name, and each argument."""
    try:
        value = msgspec.json.decode(arguments)
        shown = msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2).decode()
    except (msgspec.MsgspecError, RecursionError):
        shown = arguments
    return f"{name} {shown}".replace("\\n", "\n")


def result_of(outcome: str, parts: Sequence[Any], code: int | None) -> str:
    """Return a tool's result as text."""
    shown = [part.text if isinstance(part, Text) else f"[{getattr(part, 'media_type', 'data')}]" for part in parts]
    return "\n".join([outcome if code is None else f"{outcome}, exit code {code}", *shown])


_OF_REQUESTS = (
    *("model", "tools", "max_output", "temperature", "intent", "effort", "constraints", "output_hint", "knobs"),
    *("horizon", "intents"),
)


def request_text(spec: AgentSpec) -> str:
    """Return what of a definition stands in its requests, as lines: options, then the instructions."""
    fields: dict[str, Any] = msgspec.json.decode(encode_spec(spec))
    shown = {name: fields[name] for name in _OF_REQUESTS if name in fields}
    options = [f"{name}: {msgspec.json.encode(value, order='sorted').decode()}" for name, value in shown.items()]
    return "\n".join([*options, "", *spec.instructions.splitlines()])
