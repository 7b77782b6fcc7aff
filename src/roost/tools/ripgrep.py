"""Preselect files that may match, by ripgrep where it is installed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from typing import Any, cast

from roost.sandbox.base import Quota
from roost.tools.base import ToolContext

_WORTH = 200
"""Number of files from which an extra process pays."""
_LITERAL = 3
_NAMES = 16 * 1024 * 1024
_SECONDS = 10.0


async def likely(
    ctx: ToolContext, names: Sequence[str], path: str, pattern: str, *, ignore_case: bool
) -> Sequence[str]:
    """Return those of `names`, all below `path`, in which the pattern may match; all of them if that is unknown."""
    program = shutil.which("rg") if len(names) >= _WORTH else None
    text = None if program is None else literal_of(pattern, ignore_case=ignore_case)
    if program is None or text is None:
        return names
    options = ["--no-config", "--no-ignore", "--hidden", "--no-messages", "--text", "--encoding=none", "--null"]
    options += ["--glob=!.git", "--files-with-matches", "--fixed-strings", *(["--ignore-case"] if ignore_case else [])]
    real = ctx.workspace.resolve(path)
    result = await ctx.sandbox.exec(
        [program, *options, "-e", text, "--", f"./{ctx.workspace.relative(real)}"],
        cwd=str(ctx.workspace.root),
        quota=Quota(wall_seconds=_SECONDS, output_bytes=_NAMES),
    )
    if result.exit_code not in (0, 1) or result.truncated:
        return names
    found = {name.removeprefix("./").removeprefix("./") for name in result.stdout.split("\0")}
    return [name for name in names if name in found or not _plain(name)]


def _plain(name: str) -> bool:
    """Return whether another program prints the name unchanged."""
    return name.isprintable() and "\ufffd" not in name


def literal_of(pattern: str, *, ignore_case: bool) -> str | None:
    """Return a text contained in every line that the pattern matches; None where none is certain."""
    from re import _parser as parser  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]

    try:
        tree = cast("Any", parser).parse(pattern, re.IGNORECASE if ignore_case else 0)
    except (re.error, RecursionError, OverflowError):
        return None
    if tree.state.flags & re.IGNORECASE and not ignore_case:  # (?i) within the pattern
        return None
    runs = "".join(_letters(tree, ignore_case)).split("\0")
    longest = max(runs, key=len)
    return longest if len(longest) >= _LITERAL else None


def _letters(tree: Iterable[tuple[Any, Any]], ignore_case: bool) -> Iterable[str]:
    """Yield the literal characters in sequence; NUL where other text may come between."""
    for kind, value in tree:
        letter = chr(value) if str(kind) == "LITERAL" else "\0"
        # When ignoring case, Python matches 'i' with two more letters, and ripgrep does not.
        yield letter if letter.isascii() and letter.isprintable() and not (ignore_case and letter in "iI") else "\0"
