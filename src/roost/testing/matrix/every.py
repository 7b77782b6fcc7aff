"""Every behaviour of the matrix."""

from __future__ import annotations

from roost.testing.matrix import ends, history, talking, tools
from roost.testing.matrix.base import Behaviour, known


def behaviours() -> list[Behaviour]:
    """Return all behaviours, in the order of the table."""
    modules = [module.__name__ for module in (talking, tools, history, ends)]
    return sorted(known.values(), key=lambda one: modules.index(one.check.__module__))
