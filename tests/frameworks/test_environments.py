"""Environments of hosted agents: their locks are the store's, and what nobody uses is removed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.features.frameworks.installations import CODE_DAYS, ENVIRONMENT_DAYS, LOCK, InstalledAgents
from roost.features.frameworks.ports import InstallFailed
from roost.log.documents import DocumentQuery, Put
from roost.stores.open import open_store
from tests.frameworks.hosting import hosted

SPEC = Agent("coder", **hosted("python")).spec


async def test_a_node_uses_the_lock_of_the_store(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "roost.db")
    try:
        first = await InstalledAgents(tmp_path / "one", store.documents).environment(SPEC)
        (kept,) = await store.documents.find(DocumentQuery(kind=LOCK))
        await store.documents.write([Put(kind=LOCK, id=kept.id, body=b"# another node was first\n")])
        other = InstalledAgents(tmp_path / "two", store.documents)
        found = await other.environment(SPEC)
        assert found.id != first.id
        assert (other.folder / "locks" / f"{kept.id}.txt").read_text() == "# another node was first\n"
        with pytest.raises(InstallFailed, match="which this machine does not have"):
            await other.environment(SPEC, first.id)
        again = InstalledAgents(tmp_path / "one", store.documents)
        assert (await again.environment(SPEC, first.id)).python == first.python  # a turn goes on where it began
        assert (await again.environment(SPEC)).id == found.id
        with pytest.raises(InstallFailed):
            await again.code(SPEC, "../../one")
    finally:
        await store.close()


async def test_what_nobody_used_for_long_is_removed(tmp_path: Path) -> None:
    installed = InstalledAgents(tmp_path)
    used, unused = await installed.code(SPEC), tmp_path / "frameworks" / "environments" / ("0" * 24)
    kept = unused.with_name("1" * 24)
    for folder in (unused, kept):
        (folder / "bin").mkdir(parents=True)
    code = Path(used.folder)
    old = code.with_name("2" * 24)
    old.mkdir()
    os.utime(unused, (1, time.time() - (ENVIRONMENT_DAYS + 1) * 86400))
    os.utime(old, (1, time.time() - (CODE_DAYS + 1) * 86400))
    os.utime(code, (1, time.time() - (CODE_DAYS + 1) * 86400))
    await installed.code(SPEC)  # it is used again
    installed.tidy()
    assert (unused.exists(), kept.exists(), old.exists(), code.exists()) == (False, True, False, True)
    assert not [one for one in unused.parent.iterdir() if one.name.startswith(".")]
