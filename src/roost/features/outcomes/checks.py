"""Check what can be checked without a model, in a copy of the files."""

from __future__ import annotations

import asyncio
from pathlib import Path

from roost.features.outcomes.goal import Finding, Goal
from roost.features.outcomes.ports import Copy
from roost.sandbox.base import ExecResult, Quota
from roost.tools.text_limits import capped

_SHOWN = 4_000
"""Most characters of a command's output that the agent gets to read."""
_ENTRIES = 100_000
"""Most entries of the folder that a pattern is compared with."""


async def check(goal: Goal, copy: Copy) -> tuple[Finding, ...]:
    """Look for the files, and then run the commands, one after the other. Raises `SandboxError`."""
    found = await asyncio.to_thread(_files, goal, copy.folder)
    for line in goal.commands:
        found.append(await _command(line, goal.seconds, copy))
    return tuple(found)


async def _command(line: str, seconds: float, copy: Copy) -> Finding:
    quota = Quota(wall_seconds=seconds, cpu_seconds=None, output_bytes=_SHOWN)
    result = await copy.sandbox.exec(["sh", "-c", line], cwd=str(copy.folder), quota=quota)
    met = result.exit_code == 0
    return Finding("command", line, met, "" if met else _detail(result, seconds))


def _detail(result: ExecResult, seconds: float) -> str:
    if result.killed_by == "wall_seconds":
        how = f"it did not end within {seconds:g} seconds"
    elif result.killed_by is not None:
        how = f"it was killed by the limit {result.killed_by}"
    else:
        how = f"exit code {result.exit_code}"
    said = "\n".join(one.strip() for one in (result.stdout, result.stderr) if one.strip())
    return f"{how}\n{capped(said, _SHOWN)}".rstrip()


def _files(goal: Goal, folder: Path) -> list[Finding]:
    return [Finding("file", pattern, *_is_there(folder, pattern)) for pattern in goal.files]


def _is_there(folder: Path, pattern: str) -> tuple[bool, str]:
    """Return whether a file that is not empty matches, and if not, why. A link that leads out of the folder does not
    count."""
    if pattern.startswith("/") or ".." in Path(pattern).parts:
        return False, "it is no path inside the folder"
    empty = False
    try:
        for number, path in enumerate(folder.glob(pattern)):
            real = path.resolve()
            if real.is_file() and folder in real.parents:
                if real.stat().st_size:
                    return True, ""
                empty = True
            if number >= _ENTRIES:
                break
    except (OSError, ValueError) as error:
        return False, str(error)
    return False, "the file is empty" if empty else "there is no such file"
