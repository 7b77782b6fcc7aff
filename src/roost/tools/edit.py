"""`edit_file`: replace an exact piece of a file.

Safe to repeat: the digest that the model read decides. If undoing the edit gives exactly those bytes, an earlier
attempt was applied and nothing is left to do; if the digest is lost or fits neither, the model is told to read again.
So no edit is applied twice, even one whose result contains the text that it replaces.
"""

from __future__ import annotations

from typing import Annotated

from roost.policy.touched_paths import writes_at
from roost.threads import finished_in_thread
from roost.tools.base import ToolContext
from roost.tools.errors import ToolError
from roost.tools.function import tool
from roost.tools.text_limits import clean
from roost.tools.write import must_be_known
from roost.workspace.safe_paths import digest_of, is_binary, read_file, write_file

_UNDO_TRIES = 1000


@tool(safety="safe_write", replay="safe", inside=True, reach=writes_at("path"))
async def edit_file(
    path: Annotated[str, "a file of the workspace"],
    old: Annotated[str, "the exact text to replace, without line numbers; it must occur once"],
    new: Annotated[str, "the text to put in its place"],
    ctx: ToolContext,
    replace_all: Annotated[bool, "replace every occurrence"] = False,
) -> str:
    """Replace text in a file that was read with read_file. `old` must match exactly, with its spaces and line ends."""
    if not old:
        raise ToolError("`old` is empty; give the text to replace, or use write_file to write the whole file")
    if old == new:
        raise ToolError("`old` and `new` are the same; nothing would change")
    pair = clean(old).encode(), clean(new).encode()
    real, digest, text = await finished_in_thread(lambda: _edit(ctx, path, *pair, replace_all))
    ctx.seen[real] = digest
    return text


def _edit(ctx: ToolContext, path: str, old: bytes, new: bytes, everywhere: bool) -> tuple[str, str, str]:
    real = ctx.workspace.resolve(path)
    current = read_file(ctx.workspace, real)
    if is_binary(current.data):
        raise ToolError(f"{path!r} is a binary file; it cannot be edited as text")
    old, new = with_line_ends(current.data, old, new)
    if ctx.attempt > 1 and _already_applied(current.data, old, new, everywhere, ctx.seen.get(str(real))):
        return str(real), current.digest, f"Edited {path} (in an earlier attempt)"
    must_be_known(ctx, path, str(real), current.digest)
    data, count = replaced(path, current.data, old, new, everywhere)
    digest = write_file(ctx.workspace, real, data, expected=current.digest)
    return str(real), digest, f"Edited {path} ({count} replacement{'s' if count > 1 else ''})"


def replaced(path: str, data: bytes, old: bytes, new: bytes, everywhere: bool) -> tuple[bytes, int]:
    """Return `data` with `new` for `old`, and the number of replacements. Raises `ToolError` when `old` is missing
    or ambiguous."""
    count = data.count(old)
    if count == 0:
        raise ToolError(f"`old` does not occur in {path!r}; read the file and copy the text exactly")
    if not everywhere and (count > 1 or data.find(old, data.find(old) + 1) >= 0):
        raise ToolError(f"`old` occurs {max(count, 2)} times in {path!r}; add lines around it, or set replace_all")
    return data.replace(old, new), count


def with_line_ends(data: bytes, old: bytes, new: bytes) -> tuple[bytes, bytes]:
    """Return both texts with the file's line ends: in a file with CRLF a model's LF means CRLF."""
    if b"\r\n" not in data or b"\r\n" in old or data.count(b"\r\n") != data.count(b"\n"):
        return old, new
    return old.replace(b"\n", b"\r\n"), new.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _already_applied(data: bytes, old: bytes, new: bytes, everywhere: bool, seen: str | None) -> bool:
    """Return whether this edit, applied to the bytes with the digest `seen`, makes `data`."""
    if seen is None or not new or digest_of(data) == seen:
        return False
    if everywhere:
        return digest_of(data.replace(new, old)) == seen
    place = data.find(new)
    for _ in range(_UNDO_TRIES):
        if place < 0:
            return False
        if digest_of(data[:place] + old + data[place + len(new) :]) == seen:
            return True
        place = data.find(new, place + 1)
    return False
