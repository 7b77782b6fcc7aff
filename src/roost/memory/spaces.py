"""Spaces: whose facts are whose.

`session:ID`, `agent:NAME`, `user:NAME` and `shared:NAME` are kept; `turn:N` lasts as long as the turn and is in the
session's state alone. An agent reads and writes those of its own session, itself and its user; what else, its
definition says by globs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from roost.errors import Invalid

KINDS = ("session", "agent", "user", "shared")
_NAME = re.compile(r"(session|agent|user|shared):[^\s*?\[\]\x00-\x1f]{1,128}")
_WILD = re.compile(r"[*?\[]")


def check_space(name: str) -> str:
    """The name, if it can be one of a kept space. Raises `Invalid`."""
    if _NAME.fullmatch(name) is None:
        raise Invalid(f"{name!r} is no space: use session:ID, agent:NAME, user:NAME or shared:NAME", code="bad_space")
    return name


def is_wild(pattern: str) -> bool:
    return _WILD.search(pattern) is not None


def beginning_of(pattern: str) -> str:
    """What every name that fits begins with."""
    return _WILD.split(pattern, maxsplit=1)[0]


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Case counts."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def own_spaces(session: str, agent: str, user: str | None) -> tuple[str, ...]:
    """The nearest first."""
    more = (f"user:{user}",) if user and _NAME.fullmatch(f"user:{user}") else ()
    return (f"session:{session}", f"agent:{agent}", *more)


def scope_of(scope: str, own: Sequence[str]) -> str | None:
    """The space that a model means by `session`, `agent`, `user` or a whole name; None when it has none such."""
    if ":" in scope:
        return scope
    return next((name for name in own if name.startswith(f"{scope}:")), None)
