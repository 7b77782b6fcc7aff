"""Model notices (events during a model call), as one line for people."""

from __future__ import annotations

from typing import Any

from roost.log import events as ev
from roost.money.budgets import called
from roost.terminal_text import one_line

_WIDTH = 300
_LONG_WAIT = 2.0
"""Seconds; shorter waits for a limit are not shown."""
_LIMITS = ("steps", "tokens", "money", "seconds", "session_steps", "session_tokens", "session_money", "session_seconds")
_BUDGETS = ("month:", "user:", "agent:", "model:")


def notice_line(event: ev.ModelNotice) -> str | None:
    """Return the line; None for notices that people need not see."""
    data = event.data
    match event.kind:
        case "retry":
            return f"the model call failed {_why(data)}; trying again in {_seconds(data):.3g} s"
        case "fallback":
            return f"{data.get('from')} failed {_why(data)}; asking {data.get('to')}"
        case "recovery" if data.get("type") == "STREAMING_RETRY":
            return f"the answer broke off {_why(data)}; asking for it again"
        case "recovery" if data.get("type") == "CONTEXT_OVERFLOW":
            return "the conversation was too long for the model; trying with less of it"
        case "limit" if _seconds(data) >= _LONG_WAIT:
            return f"waited {_seconds(data):.3g} s for a limit"
        case "breaker" if data.get("state") == "open":
            return f"{data.get('model')} is not asked for a while: it failed too often"
        case "budget":
            return _budget(data)
        case _:
            return None


def ending(outcome: str, reason: str | None) -> str:
    """Describe how a turn ended without an answer; limits are explained."""
    if reason is None:
        return outcome
    if outcome == "limit" and reason in _LIMITS:
        return f"limit: {reason} are used up (limits of the agent, or of the schedule)"
    if outcome == "limit" and reason.startswith(_BUDGETS):
        return f"limit: {called(reason)} has no room left ([budget] in models.toml)"
    return f"{outcome}: {reason}"


def _budget(data: dict[str, Any]) -> str | None:
    name = data.get("budget")
    if "refused" in data or not name:
        return None  # the end of the turn reports it
    budget = called(str(name))
    if "percent" in data:
        return f"{data['percent']} % of {budget} are spent"
    if "max_output" in data:
        return f"{budget} is nearly spent: the answer may have {data['max_output']} tokens"
    return f"{budget} is nearly spent"


def _why(data: dict[str, Any]) -> str:
    return f"({data.get('code')}): {one_line(str(data.get('message', '')), _WIDTH)}".rstrip(": ")


def _seconds(data: dict[str, Any]) -> float:
    seconds = data.get("seconds")
    return seconds if isinstance(seconds, int | float) else 0.0
