"""What a schedule is, as data: when its text is said to the agent, and what the turns that begin so may use."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Missed: TypeAlias = Literal["skip", "once", "all"]


class TurnLimits(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of a turn, beside those of the agent: the tighter one counts. Units as of `AgentSpec.limits`."""

    steps: int | None = None
    tokens: int | None = None
    money: float | None = None
    seconds: float | None = None


class ScheduleSpec(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """One of: `cron`, five fields read in the time zone `zone`; `every` so many seconds; once `at` a wall time (seconds
    since 1970).

    A firing that begins more than `grace` seconds late was missed. `missed` says what happens to such: `skip` drops
    them, `once` runs the newest for all, `all` runs each, at most the `catch_up` newest. Each firing is put off by up
    to `jitter` seconds, always the same for the same firing.

    `fresh`: its turns do not see the conversation; their answers are added to it. `heartbeat`: fresh too, and an answer
    that says that there was nothing to do is not; after `idle_after` of these in a row it rests until a person says
    something. `limits` are those of its turns."""

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
