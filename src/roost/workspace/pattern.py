"""Glob patterns over relative paths: `*`, `?`, `[...]` within a name, `**` for any number of folders, `{a,b}`."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate

from roost.errors import Invalid

_LENGTH = 500
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_WILD = re.compile(r"[*?]")
_ALTERNATIVES = 64


class BadPattern(Invalid):
    code = "bad_pattern"


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return a test for paths whose names are separated by `/`. Its time is at most proportional to pattern times path.
    Raises `BadPattern`."""
    alternatives = [(_needle(one), _compiled(one)) for one in _expanded(pattern)]
    return lambda path: any(needle in path and _matches(one, path.split("/")) for needle, one in alternatives)


def plain_parts(pattern: str) -> list[str]:
    """Return texts of which every matching path contains at least one. Raises `BadPattern`."""
    return [_needle(one) for one in _expanded(pattern)]


def _needle(pattern: str) -> str:
    """Return the longest literal text within a name that every match contains: a quick test for most paths."""
    plain = (piece for name in pattern.removeprefix("./").split("/") for piece in _WILD.split(name.partition("[")[0]))
    return max(plain, key=len, default="")


def _expanded(pattern: str) -> list[str]:
    if not pattern or len(pattern) > _LENGTH:
        raise BadPattern(f"a pattern has 1 to {_LENGTH} characters, such as '**/*.py'")
    done: list[str] = []
    waiting = [pattern]
    while waiting:
        one = waiting.pop()
        braces = _BRACES.search(one)
        if braces is None:
            done.append(one)
        else:
            waiting += [one[: braces.start()] + choice + one[braces.end() :] for choice in braces[1].split(",")]
        if len(done) + len(waiting) > _ALTERNATIVES:
            raise BadPattern(f"{pattern!r} has more than {_ALTERNATIVES} alternatives in braces")
    return done


def _compiled(pattern: str) -> list[re.Pattern[str] | None]:
    """Return one entry per name; None stands for `**`."""
    names = [name for name in pattern.removeprefix("./").split("/") if name]
    if pattern.startswith("/") or ".." in names:
        raise BadPattern(f"{pattern!r} must be relative and without '..', such as '**/*.py'")
    try:
        return [None if name == "**" else re.compile(translate(name)) for name in names]
    except re.error as error:
        raise BadPattern(f"{pattern!r} is not a glob pattern: {error}") from error


def _matches(pattern: list[re.Pattern[str] | None], names: list[str]) -> bool:
    reached = {0}
    for name in names:
        reached = _skip_any(pattern, reached)
        following: set[int] = set()
        for place in reached:
            if place < len(pattern):
                test = pattern[place]
                if test is None:
                    following.add(place)
                elif test.match(name):
                    following.add(place + 1)
        reached = following
    return len(pattern) in _skip_any(pattern, reached)


def _skip_any(pattern: list[re.Pattern[str] | None], reached: set[int]) -> set[int]:
    """Add the positions after `**`, as it may also match nothing."""
    more = set(reached)
    for place in sorted(reached):
        while place < len(pattern) and pattern[place] is None:
            place += 1
            more.add(place)
    return more
