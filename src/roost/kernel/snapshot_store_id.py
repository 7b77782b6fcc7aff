"""All nodes of a database keep files in one snapshot store, and it can be used: looked at when a node starts."""

from __future__ import annotations

import asyncio

from roost.errors import ConfigError
from roost.ids import new_id
from roost.log.store_protocol import Store
from roost.workspace.object_store import Objects, ObjectsFailed

_SETTING = "snapshots"
_IDS = "id/"


async def agree(store: Store, objects: Objects, url: str) -> None:
    """That `objects`, opened from `url`, can be listed and written, and are those of this database's other nodes: an
    object in them has the id that the database knows. The first node makes both. Raises `ConfigError`, `StoreFailed`.
    """
    shown = url.partition("?")[0]  # what follows may be a secret
    try:
        known = await store.setting(_SETTING)  # before the objects: what it names was written first
        ids = await asyncio.to_thread(_ids, objects)
        if known is None:
            mine = min(ids, default=new_id("snapshots").replace("_", "-"))
            await _write(objects, mine)  # before the database knows it: a crash here leaves an id that harms nobody
            known = await store.setting(_SETTING, mine)
            ids = await asyncio.to_thread(_ids, objects)
        if known not in ids:
            raise ConfigError(
                f"the snapshot store {shown} is not that of this database's other nodes: it has no object"
                f" {_IDS}{known}. Give --snapshots as they do, and see that what they share is mounted here. If the"
                f" files were moved, copy every object to the new place; if they are given up, make that object there"
            )
        await _write(objects, known)  # that it can be written, by these credentials
    except ObjectsFailed as error:
        raise ConfigError(
            f"the snapshot store {shown} cannot be used: {error}. See that it exists and answers, and that this node"
            " may list, read and write it (for S3: bucket, endpoint, region, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
        ) from error


async def refuse_without(store: Store) -> None:
    """A node that keeps files nowhere would run sessions of others without theirs. Raises `ConfigError`."""
    if await store.setting(_SETTING) is not None:
        raise ConfigError(
            "the nodes of this database keep their sessions' files in a snapshot store, and this one was given none:"
            " give --snapshots (ROOST_SNAPSHOTS) as they do"
        )


def _ids(objects: Objects) -> set[str]:
    return {found.key.removeprefix(_IDS) for found in objects.list(_IDS)}


async def _write(objects: Objects, name: str) -> None:
    await asyncio.to_thread(objects.put, _IDS + name, b"All nodes of a database keep their files where this is.\n")
