"""What the families' compilers are built of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from roost.log.content import Text, UserMessage
from roost.models.compile.intents import words
from roost.models.prompt import Prompt
from roost.models.request import Effort, Intent, Request

Efforts: TypeAlias = Mapping[Intent, Effort]
"""How hard a family thinks about what it is asked for where the request does not say; what is not in it is left to the
model."""

TALK: tuple[Intent, ...] = ("chat", "chat_friendly")
THOUGHT: tuple[Intent, ...] = ("design", "plan", "replan", "review")
"""Small talk, which needs little thought, and what others will build on, which needs most."""


def made(
    request: Request, stable: Iterable[str], later: Iterable[str] = (), *, efforts: Efforts | None = None
) -> Prompt:
    """The request with these blocks as its system, `stable` those that stay the same; empty ones are left out."""
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
    """The settings that a request names, and the effort that its intent is worth. What is named wins."""
    effort = request.effort
    if effort is None and request.intent is not None and "effort" not in request.knobs:
        effort = efforts.get(request.intent)
    named = {"temperature": request.temperature, "effort": effort}
    return {**request.knobs, **{name: value for name, value in named.items() if value is not None}}


def task(request: Request, *families: str) -> str:
    """What the call is for, in the words of the first of these families that has its own."""
    return words(request.intent, *families) if request.intent is not None else ""


def rules(request: Request, heading: str = "Rules:\n") -> str:
    lines = "\n".join(f"- {rule}" for rule in request.constraints)
    return heading + lines if lines else ""


def form(request: Request, heading: str = "The answer: ") -> str:
    return heading + request.output_hint if request.output_hint else ""


def fenced(tag: str, text: str, attributes: str = "") -> str:
    """`text`, unchanged, between tags that do not occur in it: nothing in it can end it early."""
    name, number = tag, 1
    while f"</{name}" in text or f"<{name}" in text:
        number += 1
        name = f"{tag}_{number}"
    return f"<{name}{attributes}>\n{text}\n</{name}>"


def reminded(prompt: Prompt, *again: str) -> Prompt:
    """`prompt` with these words said again behind the newest words of the user's, where these are the last.

    Between a call and what follows it nothing is added: words of the user's would end the turn there, and the reasoning
    of a turn that goes on must be kept. The message so changed will be sent plain next time and is not stable.
    """
    text = "\n".join(filter(None, again))
    last = prompt.messages[-1] if prompt.messages else None
    if not text or not isinstance(last, UserMessage):
        return prompt
    said = UserMessage((*last.parts, Text(f"\nRemember.\n{text}")))
    return msgspec.structs.replace(prompt, messages=(*prompt.messages[:-1], said), stable=len(prompt.messages) - 1)
