"""When an agent's context is made smaller, and by whom."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

By: TypeAlias = Literal["model", "plain"]

_Share = Annotated[float, msgspec.Meta(gt=0.0, le=0.95)]


class Compaction(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """Past the share `at` of the model's room the context is brought down to the share `to`, or near it.

    `by` a model, or `plain` by rule; None leaves it to the model's kind: one that runs in this process would take
    minutes for a summary. `model` names the one that writes it; None is the agent's own, which has most of what it
    must read in its prompt cache. After `seconds` without one it is made by rule. The newest `keep_turns` turns stay
    word for word where there is room for them.

    `messages` is the most of the conversation that a request carries, results of tools included: of more than these the
    oldest leave without a summary, a quarter of them at a time. None: tokens alone decide.
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
