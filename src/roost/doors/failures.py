"""Why a model or an agent gave no answer, as problems that each door puts into its own shape."""

from __future__ import annotations

from roost.server.problems import Problem, problem

_STATUS = {
    "rate_limited": 429,
    "quota": 429,
    "budget": 429,
    "overloaded": 503,
    "context_overflow": 400,
    "bad_request": 400,
    "unsupported": 400,
    "refusal": 400,
    "refused": 400,
    "timeout": 504,
}
"""The status for the code of a model's error; of any other it is 502."""
MONEY = {"money", "session_money", "price_unknown", "month", "user", "agent", "model"}
"""How the reasons of limits of money begin."""


def of_model(code: str, message: str) -> Problem:
    """Return the problem for a failed model call, with the error's own code."""
    return problem(_STATUS.get(code, 502), code, message)


def of_turn(outcome: str, reason: str | None) -> Problem:
    """Return the problem for a turn that ended without an answer."""
    if outcome == "cancelled":
        return problem(409, "turn_cancelled", f"the turn was cancelled: {reason or 'by an order'}")
    if outcome == "limit":
        return _of_limit(reason or "")
    code, _, message = (reason or "").partition(": ")
    known = message and " " not in code
    return of_model(code, message) if known else problem(502, "turn_failed", reason or "no answer")


def _of_limit(reason: str) -> Problem:
    """Return the problem for a turn that a limit ended before the agent said anything."""
    if reason.partition(":")[0] in MONEY:
        return of_model("budget", f"the agent was not asked: a limit of its money is reached ({reason})")
    return problem(400, "turn_limit", f"the agent reached a limit before it said anything: {reason}")
