"""Rate limits as data."""

from __future__ import annotations

from typing import Literal

import msgspec

from roost.errors import ConfigError
from roost.models.limit_headers import Unit
from roost.routing.limits.gauges import Bucket, Gauge, Window


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most `amount` requests or tokens in `seconds`.

    window: holds in every span of `seconds`.
    bucket: refills evenly and lets `burst` (by default `amount`) pass at once.
    Raises `ConfigError` for a limit that no call could pass.
    """

    unit: Unit = "requests"
    amount: float
    seconds: float = 60.0
    kind: Literal["bucket", "window"] = "bucket"
    burst: float | None = None

    def __post_init__(self) -> None:
        burst = self.amount if self.burst is None else self.burst
        if not (self.amount > 0 and self.seconds > 0 and burst > 0):
            raise ConfigError("a limit needs an amount, seconds and a burst above 0; to switch a model off, remove it")
        if self.unit == "requests" and min(burst, self.amount) < 1:
            raise ConfigError("a limit of less than one request lets none through; give it more seconds instead")

    @property
    def rate(self) -> float:
        return self.amount / self.seconds

    @property
    def most(self) -> float:
        return self.amount if self.burst is None or self.kind == "window" else self.burst

    def gauge(self, now: float) -> Gauge:
        if self.kind == "window":
            return Window(self.amount, self.seconds)
        return Bucket(self.rate, self.most, now)


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of one account, or of one model at an account.

    adaptive: also obey what the provider's headers say is left.
    cluster: hold the limits for all nodes together, as buckets.
    patience: the longest wait in seconds; a call that would wait longer fails as `rate_limited`.
    """

    limits: tuple[Limit, ...] = ()
    adaptive: bool = True
    cluster: bool = False
    patience: float | None = None
