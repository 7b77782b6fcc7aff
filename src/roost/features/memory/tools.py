"""`remember`, `recall`, `update_memory`, `forget`: facts that an agent keeps beyond the conversation."""

from __future__ import annotations

import time
from typing import Annotated

from msgspec import Meta

from roost.features.memory.recall import CallMemory
from roost.log.facts import Category
from roost.memory.quoting import quoted
from roost.memory.search import FoundFact
from roost.tools.base import ToolContext
from roost.tools.function import tool

_Scope = Annotated[
    str | None, Meta(description="Who shall know it: turn, session, agent, user, or a shared space as in shared:team.")
]
_Sure = Annotated[float, Meta(ge=0, le=1, description="How sure it is, from 0 to 1.")]
_Id = Annotated[str, Meta(description="The fact's id, as recall shows it.")]
_MOST = 50


def _memory(context: ToolContext) -> CallMemory:
    return context.port(CallMemory, "there is no memory here")


@tool(replay="safe", safety="safe_write", inside=True, files=False)
async def remember(
    context: ToolContext,
    text: Annotated[str, "One fact, in a sentence that can be understood by itself."],
    category: Category = "fact",
    scope: _Scope = None,
    key: Annotated[str | None, "A name for what has one value at a time, as in favourite-colour."] = None,
    confidence: _Sure = 1.0,
) -> str:
    """Keep a fact for later conversations. It replaces a fact with the same key, or one that it corrects."""
    learned = await _memory(context).remember(text, scope, category, key, confidence)
    if learned.op == "known":
        return f"that is known already, as {learned.former[0].id}"
    told = f"remembered as {learned.fact.id}"
    if learned.former:
        former = "; ".join(f"{fact.text!r}" for fact in learned.former)
        told += f" in place of {former}. If both hold, remember the former with a key."
    if learned.unsure:
        unsure = "; ".join(f"{fact.text!r} [{fact.id}]" for fact in learned.unsure)
        told += f" Kept beside it: {unsure}. Forget what does not hold any more."
    return told


@tool(replay="safe", safety="read_only", inside=True, files=False)
async def recall(
    context: ToolContext,
    query: Annotated[str, "What is sought, in words or as a question."],
    scope: Annotated[str | None, "Only of this one: session, agent, user or a whole space."] = None,
    category: Category | None = None,
    limit: Annotated[int, Meta(ge=1, le=_MOST)] = 10,
) -> str:
    """Find facts that were remembered, by words and by meaning, the best first."""
    found = await _memory(context).recall(query, scope, category, limit)
    lines = [_line(one) for one in found.facts] or ["nothing fits"]
    if found.why is not None:
        lines.append(f"[{'searched by words alone' if found.how == 'words' else 'perhaps not all'}: {found.why}]")
    return "\n".join(lines)


@tool(replay="safe", safety="safe_write", inside=True, files=False)
async def update_memory(
    context: ToolContext,
    id: _Id,
    text: Annotated[str, "What holds now."],
    confidence: _Sure | None = None,
) -> str:
    """Put a new text in the place of a fact."""
    learned = await _memory(context).update(id, text, confidence)
    return "it says so already" if learned.op == "known" else f"it is {learned.fact.id} now"


@tool(replay="safe", safety="safe_write", inside=True, files=False)
async def forget(context: ToolContext, id: _Id) -> str:
    """Take a fact out of the memory, because it is wrong or not wanted any more."""
    fact = await _memory(context).forget(id)
    return f"forgotten: {quoted(fact.text)}"


def _line(one: FoundFact) -> str:
    fact = one.fact
    day = time.strftime("%Y-%m-%d", time.gmtime(fact.created))
    more = "".join(
        [
            f", key {quoted(fact.key)}" if fact.key else "",
            f", confidence {fact.confidence:g}" if fact.confidence < 1 else "",
            ", from outside" if fact.tainted else "",
        ]
    )
    return f"- {quoted(fact.text)} [{fact.id}, {fact.space}, {fact.category}, {day}{more}]"
