"""Reload agent files while their agents are in use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from roost.agent.agent_files import (
    PACKAGED,
    AgentFile,
    check_found,
    files_of,
    load_place_file,
    present,
    search_path,
    servers_of,
)
from roost.agent.definition import Agent
from roost.errors import ConfigError

Stamp: TypeAlias = tuple[int, int, int] | None
"""Modification time (ns), size and inode, which reveal a change of a file; None if there is no file."""
_HARMLESS = (
    "instructions", "description", "model", "limits", "max_output", "temperature", "intent", "effort", "constraints",
    "output_hint", "knobs", "horizon", "compaction",
)  # fmt: skip
"""Fields that a file outside the home may change without a person's reload: none of them widens an agent's rights."""


def stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class _Known(NamedTuple):
    tried: Stamp
    """Of the file at the last attempt to read it, failed or not."""
    files: list[AgentFile]
    fault: str | None


class AgentFiles:
    """The agents defined in the files of `search_path`, with `base` as fallback.

    Files that were merely found in the working directory are untrusted: their Python never runs. A file that cannot be
    used leaves its agents as they were, and `faults` tells why, by path. Without a person's reload no changed Python
    file runs, and no file outside the home may widen an agent's rights; each such change is a fault until the reload.
    Not thread-safe.
    """

    def __init__(self, home: Path, *, cwd: Path, extra: Sequence[Path] = (), base: Sequence[Agent] = ()) -> None:
        self._home, self._cwd, self._extra = home, cwd, tuple(extra)
        self._base = tuple(base)
        self._known: dict[Path, _Known] = {}
        self._chosen: dict[str, AgentFile] = {}
        self.faults: dict[str, str] = {}

    @property
    def agents(self) -> list[Agent]:
        """All agents, as last read, sorted by name."""
        found = {agent.name: agent for agent in self._base}
        found |= {name: file.agent for name, file in self._chosen.items()}
        return [found[name] for name in sorted(found)]

    @property
    def files(self) -> list[AgentFile]:
        return [self._chosen[name] for name in sorted(self._chosen)]

    def first(self) -> list[Agent]:
        """Read all files for the first time. Raises `ConfigError` if a file named in `extra` cannot be used; other
        failures go to `faults`. Runs Python; blocks."""
        agents = self.read(ordered=True)
        named = {"--agents", *(str(path) for path in self._extra if not path.is_dir())}
        for path, fault in self.faults.items():
            if path in named:
                raise ConfigError(fault)
        return agents

    def read(self, *, ordered: bool = True) -> list[Agent]:
        """Read changed files again and return all agents. ordered: a person asked for the reload. Blocks; raises
        nothing."""
        try:
            places = search_path(self._home, cwd=self._cwd, extra=self._extra)
        except ConfigError as error:
            self.faults = {"--agents": error.message}
            return self.agents
        faults: dict[str, str] = {}
        chosen: dict[str, AgentFile] = {}
        seen: dict[Path, _Known] = {}
        for place in places:
            chosen = {**self._place(place, seen, faults, ordered=ordered), **chosen}
        self._known, self._chosen, self.faults = seen, chosen, faults
        return self.agents

    def _place(
        self, place: Path, seen: dict[Path, _Known], faults: dict[str, str], *, ordered: bool
    ) -> dict[str, AgentFile]:
        here: dict[str, AgentFile] = {}
        come_upon, careful = self._is_come_upon(place), not (ordered or self._is_own(place))
        try:
            paths = files_of(place, code=not come_upon)
        except OSError as error:
            faults[str(place)] = f"cannot read {place}: {error.strerror}"
            return {name: file for name, file in self._chosen.items() if place in (file.path, file.path.parent)}
        for path in paths:
            known = seen[path] = self._file(place, path, come_upon=come_upon, ordered=ordered, careful=careful)
            if known.fault is not None:
                faults[str(path)] = known.fault
            for file in known.files:
                self._add(here, file, faults)
        return here

    def _add(self, here: dict[str, AgentFile], file: AgentFile, faults: dict[str, str]) -> None:
        """Add an agent. If two files of one folder define the same name, the one that defined it before wins."""
        name = file.agent.name
        twin = here.get(name)
        if twin is not None:
            faults[str(file.path)] = f"{file.path} and {twin.path} both define {name!r}: rename one"
            before = self._chosen.get(name)
            if before is None or before.path != file.path:
                return
        here[name] = file

    def _file(self, place: Path, path: Path, *, come_upon: bool, ordered: bool, careful: bool) -> _Known:
        """Read one file if it changed. careful: reject changes that widen an agent's rights."""
        now, known = stamp(path), self._known.get(path, _Known(None, [], None))
        if now == known.tried and not (ordered and known.fault is not None):
            return known
        if not ordered and path.suffix == ".py":
            return _Known(now, known.files, f"{path} was changed: `roost reload` runs it")
        try:
            found = load_place_file(place, path)
            for file in found if come_upon else ():
                check_found(file)
        except ConfigError as error:
            return _Known(now, known.files, error.message)
        except OSError as error:
            return _Known(now, known.files, f"cannot read {path}: {error.strerror}")
        if careful and not all(self._is_harmless(file) for file in found):
            return _Known(
                now, known.files, f"{path} is new or changes what an agent may do: `roost reload` puts it in force"
            )
        return _Known(now, found, None)

    def _is_come_upon(self, place: Path) -> bool:
        named = {path.resolve() for path in self._extra}
        return place.resolve() not in named and place.resolve() in {
            path.resolve() for path in (*present(self._cwd, self._home), self._home / PACKAGED)
        }

    def _is_own(self, place: Path) -> bool:
        return place.resolve() == (self._home / "agents").resolve()

    def _is_harmless(self, file: AgentFile) -> bool:
        before = self._chosen.get(file.agent.name)
        if before is None or before.path != file.path:
            return False
        old, new = before.agent.spec, file.agent.spec
        if servers_of(new) - servers_of(old):
            return False
        return new.replace(**{name: getattr(old, name) for name in _HARMLESS}) == old
