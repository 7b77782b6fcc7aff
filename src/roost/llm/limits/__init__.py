"""Rate limits: how much may go to a model, an account, in a span of time."""

from __future__ import annotations

from roost.llm.limits.config import Limit, Limits
from roost.llm.limits.limiter import Limiter, Permit, TooLong
from roost.llm.limits.model import Limited, Limiters

__all__ = ["Limit", "Limited", "Limiter", "Limiters", "Limits", "Permit", "TooLong"]
