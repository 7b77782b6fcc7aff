"""What a home folder knows of itself: its name in the cluster, and the store whose sessions have their files in it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Container
from pathlib import Path

from roost.errors import ConfigError, StoreFailed
from roost.ids import is_id, new_id
from roost.locks import Locks
from roost.log.dispatch import Dispatcher
from roost.log.store_protocol import Store
from roost.syncing import sync

_LOOKS_APART = 0.2


def home_id(home: Path) -> str:
    """The lasting id of a home, made by the first who asks. Blocks. Raises `StoreFailed`."""
    found = _once(home / "home.id", new_id("home"))
    if not is_id(found):
        raise StoreFailed(f"{str(home / 'home.id')!r} holds no id: remove it, and the next start makes a new one")
    return found


async def store_name(store: Store) -> str:
    """The lasting name of a database, made by the first who asks. Raises `StoreFailed`."""
    name = await store.setting("store_id", new_id("store"))
    assert name is not None
    return name


def belongs_to(home: Path, store: str, *, own: bool) -> bool:
    """Whether every private folder of the home is of a session in this store. The first store that a home is used with
    is the one, if there are no folders yet or the store is the home's `own`. With any other none of the folders is ever
    removed as left over: their sessions may come, by moving house. Blocks. Raises `StoreFailed`."""
    path, workspaces = home / "home.store", home / "workspaces"
    strange = not own and not path.exists() and _has_folders(workspaces)
    return _once(path, "unknown" if strange else store) == store


async def refuse_copy(
    home: Path, name: str, here: Locks, dispatcher: Dispatcher, lease: float, *, dead: Container[str] = ()
) -> set[str]:
    """A node of another folder that bears this home's name: one of the two is a copy, and each would be given the
    other's sessions without their files. Nodes of this folder hold their ids in `here`. One that does not, and beats,
    is the proof; one that has just died does not beat: that is waited for, a lease (seconds) at most, unless it is
    known to be `dead`. Returns those that did not beat. Raises `ConfigError`."""
    until, seen = asyncio.get_running_loop().time() + lease, dict[str, float]()
    while True:
        strange = {
            one.card.id: one.beat_at
            for one in await dispatcher.nodes()
            if one.alive and one.card.home == name and one.card.id not in dead
            if await asyncio.to_thread(here.is_free, one.card.id)
        }
        if not strange:
            return set()
        for node, beat in strange.items():
            if beat != seen.setdefault(node, beat):
                raise ConfigError(
                    f"the home {str(home)!r} is a copy: node {node} runs in another folder or machine under the same"
                    f" name, {name}. Remove {str(home / 'home.id')!r} here and start again: it gets a name of its own;"
                    " private files of sessions stay with the original",
                    code="home_copied",
                )
        if asyncio.get_running_loop().time() > until:
            return set(strange)
        await asyncio.sleep(_LOOKS_APART)


def _has_folders(workspaces: Path) -> bool:
    return workspaces.is_dir() and any(not name.startswith(".") for name in os.listdir(workspaces))


def _once(path: Path, text: str) -> str:
    """The file's content; `text`, if it is not there yet. Whole or not at all, whoever else starts just now."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            fresh = path.with_name(f".{path.name}.{new_id('new')}")
            try:
                with open(fresh, "x") as file:
                    file.write(text + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                with contextlib.suppress(FileExistsError):
                    os.link(fresh, path)
                sync(path.parent)
            finally:
                fresh.unlink(missing_ok=True)
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreFailed(f"cannot read or make {str(path)!r}: {error}") from error
