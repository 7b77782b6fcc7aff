"""Settings of compaction."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

By: TypeAlias = Literal["model", "plain"]

_Share = Annotated[float, msgspec.Meta(gt=0.0, le=0.95)]


class Compaction(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """When the context exceeds the share `at` of the context budget, compact it to about the share `to`.

    by: "model" writes the summary, "plain" makes it by rule; None = by rule for a model in this process, which would
    take minutes, else by model. model: name of the model that writes it; None = the agent's own, whose prompt cache
    holds most of the text. seconds: time limit, after which it is made by rule. keep_turns: newest turns that stay word
    for word if the budget allows it.

    messages: most messages in a request, tool results included; above it the oldest leave without a summary, a quarter
    of it at a time. None: tokens alone decide.
    """

    model: str | None = None
    at: _Share = 0.8
    to: _Share = 0.5
    keep_turns: Annotated[int, msgspec.Meta(ge=0)] = 2
    by: By | None = None
    seconds: Annotated[float, msgspec.Meta(gt=0.0)] = 120.0
    messages: Annotated[int, msgspec.Meta(ge=4)] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.to < self.at <= 0.95:
            raise ValueError(f"it needs 0 < to < at <= 0.95, and not to = {self.to}, at = {self.at}")
