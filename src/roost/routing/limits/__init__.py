"""Rate limits of models and accounts."""

from __future__ import annotations

from roost.routing.limits.config import Limit, Limits
from roost.routing.limits.limiter import Limiter, Permit, TooLong
from roost.routing.limits.model import Limited, Limiters

__all__ = ["Limit", "Limited", "Limiter", "Limiters", "Limits", "Permit", "TooLong"]
