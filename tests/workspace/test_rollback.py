"""Going back, by every means: the contract, on the stores that this machine has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from roost.testing.snapshots import Places, SnapshotsContract
from roost.workspace.cow.portable import PortableSnapshots
from roost.workspace.objects import open_objects
from roost.workspace.snapshots import Place, Snapshots
from roost.workspace.store import ObjectSnapshots


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return lambda name: Place(tmp_path / "workspaces" / name, tmp_path / "memory" / name)


class TestPortable(SnapshotsContract):
    @pytest.fixture
    def snapshots(self) -> Iterator[Snapshots]:
        made = PortableSnapshots()
        yield made
        made.close()


class TestShared(SnapshotsContract):
    @pytest.fixture
    def snapshots(self, store_url: str) -> Iterator[Snapshots]:
        made = ObjectSnapshots(open_objects(store_url))
        yield made
        made.close()
