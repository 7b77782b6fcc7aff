"""The folder in which live tools run, and what is left of one after a crash."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Generator
from pathlib import Path

from roost import registry
from roost.agent.definition import AgentSpec, PythonParts
from roost.errors import Invalid, TooLarge
from roost.kernel.resources import ResourceFactory
from roost.kernel.sandboxes import runs_commands
from roost.locks import Locks
from roost.tools.builtin import builtin_tool
from roost.workspace.files import Workspace

PREFIX = ".rpl_"
"""Beginning of the names of such folders: the node's own tidying leaves out names that begin with a dot."""
SHOWN = 1024 * 1024
"""Most bytes of a file that is returned."""


def live_tools(spec: AgentSpec, parts: PythonParts) -> frozenset[str]:
    """Return the tools that may run: Roost's own for files and for commands. Tools of a Python program, and those that
    reach other services or sessions, are recorded ones: nobody knows what they do outside."""
    others = registry.tools()
    return frozenset(
        name
        for name, tool in parts.toolbox(spec.tools).items()
        if name not in others and tool is builtin_tool(name) and ((tool.files and tool.inside) or runs_commands(tool))
    )


class LiveFolders:
    """The folders of replays with live tools at this home. A lock says which process has one."""

    def __init__(self, resources: ResourceFactory) -> None:
        self._resources = resources
        self._locks = Locks(resources.home_folder / "replays")

    @contextlib.contextmanager
    def lent(self, id: str, *, private: bool, begin: str | None) -> Generator[Workspace]:
        """Yield a folder for a replay, and remove it afterwards. private: as the recorded one was. begin: the folder
        whose copy it begins with. Blocks. Raises `Invalid`, `TooLarge`, `OSError`."""
        name = f"{PREFIX}{id}"
        self._locks.hold(name)
        try:
            folder = self._resources.private(name)
            files = self._resources.workspace(name, None if private else str(folder))
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if begin is not None:
                _copy(Path(begin), folder, self._resources.home_folder)
            yield files
        finally:
            self._remove(name)
            self._locks.drop(name)

    def _remove(self, name: str) -> None:
        self._resources.throw_away(name)
        self._resources.empty_bin(name)

    def tidy(self) -> None:
        """Remove the folders of processes that died. Blocks."""
        root = self._resources.private("x").parent
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(root):
                if name.startswith(PREFIX):
                    with self._locks.taking(name) as free:
                        if free:
                            self._remove(name)

    def close(self) -> None:
        self._locks.close()


def _copy(begin: Path, folder: Path, home: Path) -> None:
    """Copy a folder of the user. Links are copied as links."""
    real, hidden = begin.resolve(), home.resolve()
    if not real.is_dir():
        raise Invalid(f"there is no folder {str(begin)!r}")
    if real == hidden or hidden in real.parents or real in hidden.parents:
        raise Invalid(f"{str(begin)!r} holds Roost's home, or is in it: give another folder")
    for entry in os.scandir(real):
        if entry.is_dir(follow_symlinks=False):
            shutil.copytree(entry.path, folder / entry.name, symlinks=True)
        else:
            shutil.copy2(entry.path, folder / entry.name, follow_symlinks=False)


def read_files(files: Workspace, paths: list[str]) -> dict[str, str | None]:
    """Return the texts of files; None where there is none. Blocks. Raises `PathOutside`, `TooLarge`."""
    return {path: _read(files.resolve(path), path) for path in paths}


def _read(real: Path, path: str) -> str | None:
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(real, flags), "rb") as file:
            body = file.read(SHOWN + 1)
    except OSError:
        return None
    if len(body) > SHOWN:
        raise TooLarge(f"{path!r} has more than {SHOWN} bytes")
    return body.decode(errors="replace")
