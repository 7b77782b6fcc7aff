"""Tell the model about its environment at the start of a turn: the time and file names.

The text is part of the log, in the commit of the turn's first intent. A retried step and every later turn see the same
text, so a provider's prompt cache stays valid. It follows the user's words.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

from roost.agent.session import Session
from roost.agent.state import message_of
from roost.errors import RoostError
from roost.features.environment.events import EnvironmentNoted
from roost.features.environment.state import ENVIRONMENT, noted_in
from roost.memory.quoting import named
from roost.tools.errors import ToolError
from roost.tools.list_files import SKIPPED
from roost.workspace.files import Workspace
from roost.workspace.walk import Walk

FILES = "Files: "
_NAMES = 24
_LENGTH = 400
_WALKED = 2_000
_MANY = 8
"""Most files of a subfolder that are listed by name; a larger folder is listed with its file count."""


async def note_at_turn(session: Session) -> None:
    """Note the environment once, before the first model call of a turn. Raises `Interrupted`."""
    wanted, turn = session.spec.environment, session.state.turn
    if not wanted or turn is None or turn.steps:
        return
    entry = message_of(session.state, turn.number)
    if entry is None or noted_in(entry.message):
        return
    lines = [f"{ENVIRONMENT}: {told(time.time())}" if "clock" in wanted else ENVIRONMENT]
    if "files" in wanted:
        workspace = session.means.workspace
        names = await session.interrupts.interruptible(lambda: asyncio.to_thread(listing, workspace), steer=False)
        lines.append(FILES + names)
    session.log.note(EnvironmentNoted(at=time.time(), turn=turn.number, text="\n".join(lines) + "]"))


def told(at: float) -> str:
    """Format a time for the model, in this machine's time zone: `Sunday, 22 November 2026, 10:30 (UTC)`."""
    return datetime.fromtimestamp(at).astimezone().strftime("%A, %-d %B %Y, %H:%M (%Z)")


def listing(workspace: Workspace) -> str:
    """List file names in one line, top-level ones first; large folders and the excess are only counted. Blocks."""
    first, whole = _walk(workspace, depth=1), _walk(workspace)
    try:
        here, entries = list(first), list(whole)
    except (RoostError, ToolError, OSError):
        return "(cannot be listed)"
    below: dict[str, list[str]] = {}
    for entry in entries:
        folder, slash, _ = entry.path.partition("/")
        if slash and not entry.folder:
            below.setdefault(folder, []).append(named(entry.path))
    shown = [named(entry.path) for entry in here if not entry.folder]
    for folder in (entry.path for entry in here if entry.folder):
        names = below.get(folder, [])
        if len(names) > _MANY:
            shown.append(f"{named(folder + '/')} ({len(names)} files)")
        elif names or not whole.incomplete:
            shown += names
        else:
            shown.append(named(folder + "/"))  # not reached
    return _cut(shown) or "none"


def _walk(workspace: Workspace, **options: int) -> Walk:
    return Walk(
        workspace, workspace.root, tool="list_files", names=True, skip=SKIPPED, dots=False, cap=_WALKED, **options
    )


def _cut(names: list[str]) -> str:
    shown: list[str] = []
    room = _LENGTH
    for name in names[:_NAMES]:
        room -= len(name) + 2
        if room < 0:
            break
        shown.append(name)
    left = len(names) - len(shown)
    return ", ".join(shown) + (f" and {left} more" if left else "")
