"""A summary by a model. The request repeats the conversation that the model knows, so that a prompt cache serves most
of it, and the answer is validated before it is used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from roost.agent import model_request
from roost.agent.session import Session
from roost.agent.state import Entry
from roost.features.compaction.extractive_summary import shortened
from roost.log.content import AssistantMessage, ErrorData, Text, UserMessage
from roost.models.model_wrapper import events
from roost.models.request import Bill, Completed, Failed, Model, Notice, Request
from roost.models.tokens import estimate, estimate_text

TITLE = "What was said before, in your own notes:"
_WORDS = 0.6
"""Words per token."""
_SHORTEST = 8
"""Least characters of a summary. A single word is rejected too."""
_FACTOR, _LEAST = 4, 2_048
"""Output limit as a multiple of the summary's cap, and its minimum in tokens: a model may think first."""
_ASK = """[This is not from the user.] The conversation grows too long for you. Write down what you need of it to go on:
afterwards you see the task, what is pinned, your notes, and only what was said after this. Call no tool and answer
nobody. Note, in this order and only what applies:
1. what is wanted in the end, and the rules and wishes of the user;
2. what was done and found: exact names, paths, numbers, commands, and in which turn (this is turn {turn});
3. what was decided, and why;
4. what is open, and what comes next.
Keep what earlier notes say and still holds. At most {words} words, nothing but the notes."""


class Told(NamedTuple):
    """Answer of the model. text: the summary. error: why there is none."""

    text: str = ""
    error: ErrorData | None = None
    notices: Sequence[Notice] = ()


def asked(session: Session, entries: Sequence[Entry], *, cap: int) -> Request:
    """Build the request for a summary of `entries`, the oldest of the context, in at most `cap` tokens. It begins like
    every request of the session, and has its own bill."""
    turn = max((entry.turn for entry in entries), default=0)
    ask = _ASK.format(words=int(cap * _WORDS), turn=turn or session.state.turns)
    request = model_request.build(session, Bill())
    most = request.max_output or session.means.model.profile.max_output
    return msgspec.structs.replace(
        request,
        messages=(*(entry.message for entry in entries), UserMessage((Text(ask),))),
        since=len(entries),
        output_schema=None,  # that of the user's answer
        max_output=min(most, max(_FACTOR * cap, _LEAST)),
    )


def fits(request: Request, model: Model, *, fixed: int, scale: float) -> bool:
    """Whether the request fits the model's window, by our estimate."""
    tokens = (fixed + sum(map(estimate, request.messages))) * scale
    return tokens + (request.max_output or 0) <= model.profile.window


async def told(model: Model, request: Request, *, cap: int, seconds: float) -> Told:
    """Ask the model for a summary of at most `cap` tokens within `seconds`. Raises nothing."""
    notices: list[Notice] = []
    outcome: Completed | Failed | None = None
    try:
        async with asyncio.timeout(seconds), events(model, request) as stream:
            async for event in stream:
                if isinstance(event, Completed | Failed):
                    outcome = event
                    break
                if isinstance(event, Notice) and event.kind != "restart":
                    notices.append(event)
    except TimeoutError:
        error = ErrorData("timeout", f"no summary within {seconds:g} seconds")
        return Told(error=error, notices=notices)
    return _judged(outcome, cap)._replace(notices=notices)


def _judged(outcome: Completed | Failed | None, cap: int) -> Told:
    match outcome:
        case Failed():
            return Told(error=outcome.error)
        case Completed():
            answer = AssistantMessage(outcome.parts)
        case None:
            return Told(error=ErrorData("malformed", "the model's stream ended without an outcome"))
    text = answer.text.strip()
    if answer.calls:
        return Told(error=ErrorData("tool_calls", "the model called a tool in place of writing a summary"))
    if outcome.stop == "refusal":
        return Told(error=ErrorData("refusal", "the model refused to write a summary"))
    if not text:
        return Told(error=ErrorData("empty", "the model wrote no summary"))
    if len(text) < _SHORTEST or (text.isascii() and len(text.split()) < 2):
        return Told(error=ErrorData("too_short", f"the model wrote {text[:40]!r} in place of a summary"))
    return Told(f"{TITLE}\n{shortened(text, cap - estimate_text(TITLE))}")
