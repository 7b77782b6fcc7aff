"""Spaces: whose facts are whose.

`session:ID`, `agent:NAME`, `user:NAME` and `shared:NAME` are persistent; `turn:N` lasts until the turn ends and is in
the session's state alone. An agent reads and writes the spaces of its own session, of itself and of its user; its
definition grants others by globs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from roost.authority import account_of
from roost.errors import Invalid

KINDS = ("session", "agent", "user", "shared")
_NAME = re.compile(r"(session|agent|user|shared):[^\s*?\[\]\x00-\x1f]{1,128}")
_WILD = re.compile(r"[*?\[]")


def check_space(name: str) -> str:
    """Return the name if it is a valid name of a persistent space. Raises `Invalid`."""
    if _NAME.fullmatch(name) is None:
        raise Invalid(f"{name!r} is no space: use session:ID, agent:NAME, user:NAME or shared:NAME", code="bad_space")
    return name


def is_wild(pattern: str) -> bool:
    return _WILD.search(pattern) is not None


def beginning_of(pattern: str) -> str:
    """Return the literal prefix of a pattern."""
    return _WILD.split(pattern, maxsplit=1)[0]


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern matches the name, case-sensitively."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def own_spaces(session: str, agent: str, user: str | None) -> tuple[str, ...]:
    """Return the session's own spaces, the nearest first. An agent remembers for each account apart."""
    agent = f"{agent}@{account}" if (account := account_of(user)) is not None else agent
    more = (f"user:{user}",) if user and _NAME.fullmatch(f"user:{user}") else ()
    return (f"session:{session}", f"agent:{agent}", *more)


def scope_of(scope: str, own: Sequence[str]) -> str | None:
    """Return the space that a model means by `session`, `agent`, `user` or a full name; None if it has no such
    space."""
    if ":" in scope:
        return scope
    return next((name for name in own if name.startswith(f"{scope}:")), None)
