"""`read_history`, and `pin` and `unpin`: keep texts word for word, however long the conversation becomes.

They count as reading, because they change nothing but the conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from roost.features.compaction.history import read_history as read_history
from roost.features.compaction.ports import OwnPins
from roost.ids import is_id
from roost.tools.base import ToolContext
from roost.tools.errors import ToolError
from roost.tools.function import tool

MOST = 8_000
"""Most characters of all pins together."""

_Key = Annotated[str, Meta(description="A short name for it, as in deploy-rule; `task` replaces the first message.")]


@tool(replay="safe", safety="read_only", inside=True, files=False)
async def pin(context: ToolContext, key: _Key, text: Annotated[str, "What to keep, word for word."]) -> str:
    """Keep a fact or a rule word for word for the rest of the conversation, also when earlier messages are
    summarized. A second pin of the same key replaces the first."""
    if not is_id(key):
        raise ToolError(f"{key!r} cannot be a key: use letters, digits and ._:- (at most 128)")
    if not text.strip():
        raise ToolError("the text is empty; unpin takes a pin away")
    pins = context.port(OwnPins)
    if not fits(pins.all(), key, text):
        raise ToolError(f"all pins together have at most {MOST} characters; unpin or shorten one of: {_names(pins)}")
    await pins.set(key, text)
    return f"pinned under {key}"


def fits(pins: Mapping[str, str], key: str, text: str) -> bool:
    """Return whether the pin fits beside the others."""
    return sum(len(name) + len(kept) for name, kept in {**pins, key: text}.items()) <= MOST


@tool(replay="safe", safety="read_only", inside=True, files=False)
async def unpin(context: ToolContext, key: Annotated[str, "Its name."]) -> str:
    """Take a pin away."""
    pins = context.port(OwnPins)
    if key not in pins.all():
        raise ToolError(f"nothing is pinned under {key!r}; the pins are: {_names(pins)}")
    await pins.set(key, None)
    return f"{key} is not pinned any more"


def _names(pins: OwnPins) -> str:
    return ", ".join(pins.all()) or "none"
