"""A schedule as data: when its text is sent to the agent, and the limits of the turns that it starts."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Missed: TypeAlias = Literal["skip", "once", "all"]


class TurnLimits(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of a turn, in addition to those of the agent: the tighter one counts. Units as in `AgentSpec.limits`."""

    steps: int | None = None
    tokens: int | None = None
    money: float | None = None
    seconds: float | None = None


class ScheduleSpec(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """One of: `cron`, five fields read in the time zone `zone`; `every`, seconds; `at`, a wall time (seconds
    since 1970).

    A firing that begins more than `grace` seconds late counts as missed. missed: `skip` drops missed firings, `once`
    runs the newest for all, `all` runs each, at most the `catch_up` newest. jitter: each firing is delayed by up to
    this many seconds, always the same delay for the same firing.

    fresh: its turns do not see the conversation; their answers are added to it. heartbeat: also fresh, and an answer
    that reports nothing to do is not added; after `idle_after` such answers in a row it pauses until a person writes.
    limits: those of its turns.
    """

    text: str
    cron: str | None = None
    every: float | None = None
    at: float | None = None
    zone: str = "UTC"
    missed: Missed = "once"
    catch_up: int = 24
    grace: float = 60.0
    jitter: float = 0.0
    fresh: bool = False
    heartbeat: bool = False
    idle_after: int = 6
    limits: TurnLimits | None = None
