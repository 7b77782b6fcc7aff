"""The agents of accepted packages, as files in the home."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path, PurePath

from roost.agent.agent_files import load_agent_file
from roost.errors import ConfigError


def write_agents(packages: Sequence[Path], folder: Path) -> None:
    """Make the files of `folder` those of the packages' agents; of two agents with one name the first counts. A file
    is named after its agent, and replaced as a whole. Blocks. Raises `OSError`."""
    wanted: dict[str, bytes] = {}
    taken: set[str] = set()
    for path in (path for package in packages for path in _files(package / "agents")):
        try:
            (found,) = load_agent_file(path)
        except ConfigError:  # this version of Roost does not know an option that the one which accepted it knew
            continue
        if found.agent.name not in taken:
            taken.add(found.agent.name)
            wanted[f"{found.agent.name}{path.suffix}"] = path.read_bytes()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in set(os.listdir(folder)) - wanted.keys():
        (folder / name).unlink(missing_ok=True)
    for name, data in wanted.items():
        if (folder / name).exists() and (folder / name).read_bytes() == data:
            continue
        fresh = folder / f".{secrets.token_hex(8)}"
        fresh.write_bytes(data)
        os.replace(fresh, folder / name)


def is_agent_file(name: str) -> bool:
    """Whether a file of the folder `agents` of a package defines an agent."""
    path = PurePath(name)
    return path.suffix in (".md", ".toml") and path.stem.lower() != "readme" and not name.startswith((".", "_"))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_agent_file(path.name)) if folder.is_dir() else []
