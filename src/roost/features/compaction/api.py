"""Compaction of a session's context on request, and pins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Meta

from roost.api.shapes import AcceptedInput
from roost.log.session_info import SessionInfo
from roost.operation import DELETE, POST, PUT

Came: TypeAlias = Literal["smaller", "nothing", "no_gain", "cut_off", "waits"]
_PIN = "/sessions/{session}/pins/{key}"


class Compaction(msgspec.Struct, frozen=True, kw_only=True):
    """`before`, `after`: estimated tokens of messages. `messages` left the model's context for a summary written `by` a
    model or by rule; of `outputs` of tools one line is left. `why`: why not by the model, or not at all.

    nothing: all content must stay word for word.
    no_gain: a summary would be no smaller than its source.
    cut_off: ended by a control, a rollback or the turn's deadline, and given up.
    waits: accepted, and still pending.
    """

    outcome: Came
    before: int
    after: int
    by: Literal["model", "plain"] | None = None
    messages: int = 0
    outputs: int = 0
    why: str | None = None


class Compacted(SessionInfo, frozen=True, kw_only=True):
    """The session after a compaction."""

    compaction: Compaction


def _compacted(done: Compacted, given: Mapping[str, Any]) -> int:
    return 202 if done.compaction.outcome == "waits" else 200


class CompactionApi(Protocol):
    @POST(
        "/sessions/{session}/compact",
        (200, 202),
        status=_compacted,
        errors=(404, 409),
        keyed=True,
        adopts="always",
        right="use",
    )
    async def compact(self, session: str, *, key: str | None = None, wait: float | None = None) -> Compacted:
        """Make what the model sees smaller: a summary takes the place of earlier messages. 202: it waits."""
        ...

    @PUT(_PIN, 202, body="PinBody", errors=(404,), right="use")
    async def pin(self, session: str, key: str, text: Annotated[str, Meta(min_length=1)]) -> AcceptedInput:
        """Keep a text word for word, whatever leaves the model's context."""
        ...

    @DELETE(_PIN, 202, errors=(404,), right="use")
    async def unpin(self, session: str, key: str) -> AcceptedInput:
        """Remove a pin."""
        ...
