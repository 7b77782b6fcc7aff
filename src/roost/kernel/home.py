"""Identity of a home folder: its id in the cluster, and the store whose sessions keep files in it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Container
from pathlib import Path

from roost.errors import ConfigError, StoreFailed
from roost.ids import is_id, new_id
from roost.locks import Locks
from roost.log.dispatch import Dispatcher
from roost.log.store import Store
from roost.syncing import make_once

_LOOKS_APART = 0.2


def home_id(home: Path) -> str:
    """Return the permanent id of a home, creating it at the first call. Blocks. Raises `StoreFailed`."""
    found = _once(home / "home.id", new_id("home"))
    if not is_id(found):
        raise StoreFailed(f"{str(home / 'home.id')!r} holds no id: remove it, and the next start makes a new one")
    return found


async def store_name(store: Store) -> str:
    """Return the permanent name of a database, creating it at the first call. Raises `StoreFailed`."""
    name = await store.coordination.setting("store_id", new_id("store"))
    assert name is not None
    return name


def belongs_to(home: Path, store: str, *, own: bool) -> bool:
    """Return whether every private folder of the home belongs to a session of this store. A home belongs to the first
    store that it is used with, if it has no folders yet or the store is the home's `own`. With any other store no
    folder is ever removed as an orphan: its session may still be migrated into it. Blocks. Raises `StoreFailed`."""
    path, workspaces = home / "home.store", home / "workspaces"
    strange = not own and not path.exists() and _has_folders(workspaces)
    return _once(path, "unknown" if strange else store) == store


async def refuse_copy(
    home: Path, name: str, here: Locks, dispatcher: Dispatcher, lease: float, *, dead: Container[str] = ()
) -> set[str]:
    """Refuse to run beside a node of another folder with this home's name: one of the two is a copy, and each would get
    the other's sessions without their files. Nodes of this folder hold their ids in `here`; a node that holds none
    there and sends heartbeats is the proof. A node that just died sends none: wait for that, at most a lease (seconds),
    unless it is known to be `dead`. Returns the nodes that sent none. Raises `ConfigError`."""
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
    """Return the file's content; if the file is missing, write `text` first."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path.read_text().strip() if path.exists() else make_once(path, text)
    except (OSError, UnicodeDecodeError) as error:
        raise StoreFailed(f"cannot read or make {str(path)!r}: {error}") from error
