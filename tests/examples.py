"""Numbers of Hypothesis examples, in proportion to the profile: `pytest --quick` makes 30 of 100."""

from __future__ import annotations

from hypothesis import settings


def examples(full: int) -> int:
    """Return how many of `full` examples this run makes; all of them in `make test-all`."""
    return max(5, full * min(settings().max_examples, 100) // 100)
