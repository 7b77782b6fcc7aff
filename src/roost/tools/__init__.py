"""Tools: what an agent can do, and the built-in set."""

from roost.tools.function import tool

__all__ = ["tool"]
