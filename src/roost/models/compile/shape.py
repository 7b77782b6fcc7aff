"""Building blocks of the families' compilers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from roost.log.content import Text, UserMessage
from roost.models.compile.intents import words
from roost.models.prompt import Prompt
from roost.models.request import Effort, Intent, Request

Efforts: TypeAlias = Mapping[Intent, Effort]
"""Effort by intent, for requests that name none; an intent that is missing leaves it to the model."""

TALK: tuple[Intent, ...] = ("chat", "chat_friendly")
THOUGHT: tuple[Intent, ...] = ("design", "plan", "replan", "review")
"""TALK: small talk, which needs little thought. THOUGHT: results that later work builds on, which need most."""


def made(
    request: Request, stable: Iterable[str], later: Iterable[str] = (), *, efforts: Efforts | None = None
) -> Prompt:
    """Make a prompt from the request with these system blocks. stable: those that never change. Empty blocks are left
    out."""
    first = tuple(filter(None, stable))
    return Prompt(
        system=(*first, *filter(None, later)),
        messages=request.messages,
        tools=request.tools,
        tool_choice=request.tool_choice,
        output_schema=request.output_schema,
        max_output=request.max_output,
        stop=request.stop,
        knobs=asked(request, efforts or {}),
        stable=len(request.messages),
        stable_system=len(first),
    )


def asked(request: Request, efforts: Efforts) -> dict[str, Any]:
    """Return the request's settings, with the effort for its intent unless the request names one."""
    effort = request.effort
    if effort is None and request.intent is not None and "effort" not in request.knobs:
        effort = efforts.get(request.intent)
    named = {"temperature": request.temperature, "effort": effort}
    return {**request.knobs, **{name: value for name, value in named.items() if value is not None}}


def task(request: Request, *families: str) -> str:
    """Return the text for the request's intent, from the first of these families that has its own."""
    return words(request.intent, *families) if request.intent is not None else ""


def rules(request: Request, heading: str = "Rules:\n") -> str:
    lines = "\n".join(f"- {rule}" for rule in request.constraints)
    return heading + lines if lines else ""


def form(request: Request, heading: str = "The answer: ") -> str:
    return heading + request.output_hint if request.output_hint else ""


def fenced(tag: str, text: str, attributes: str = "") -> str:
    """Put `text`, unchanged, between tags that do not occur in it, so that it cannot close them."""
    name, number = tag, 1
    while f"</{name}" in text or f"<{name}" in text:
        number += 1
        name = f"{tag}_{number}"
    return f"<{name}{attributes}>\n{text}\n</{name}>"


def reminded(prompt: Prompt, *again: str) -> Prompt:
    """Repeat these texts after the user's newest message, if it is the last message.

    Between a call and its continuation nothing is added: a user's message there would end the turn, and the reasoning
    of a running turn must be kept. The next request sends this message without the repetition, so it is not stable.
    """
    text = "\n".join(filter(None, again))
    last = prompt.messages[-1] if prompt.messages else None
    if not text or not isinstance(last, UserMessage):
        return prompt
    message = UserMessage((*last.parts, Text(f"\nRemember.\n{text}")))
    return msgspec.structs.replace(prompt, messages=(*prompt.messages[:-1], message), stable=len(prompt.messages) - 1)
