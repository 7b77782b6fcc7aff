"""Rate limits: how much may go to a model, an account, in a span of time."""

from __future__ import annotations

from roost.routing.limits.config import Limit, Limits
from roost.routing.limits.limiter import Limiter, Permit, TooLong
from roost.routing.limits.model import Limited, Limiters

__all__ = ["Limit", "Limited", "Limiter", "Limiters", "Limits", "Permit", "TooLong"]
