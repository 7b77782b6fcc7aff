"""Machines that share a store of files, for tests of snapshots."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

from roost.testing.snapshots import tree as tree
from roost.workspace.manifest import PIECE
from roost.workspace.objects import open_objects
from roost.workspace.save import Caps
from roost.workspace.snapshots import Place, Saved
from roost.workspace.store import ObjectSnapshots

STOP = Event()
DAY = 86_400.0


class Machine:
    """A folder on some machine, and the store that all share."""

    def __init__(
        self, home: Path, url: str, *, caps: Caps | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.place = Place(home / "work", home / "memory")
        self.folder = self.place.folder
        self.snapshots = ObjectSnapshots(open_objects(url), caps=caps, clock=clock)
        self.last: str | None = None

    def save(self) -> Saved:
        saved = self.snapshots.save(self.place, self.last, STOP)
        self.last = saved.snapshot
        return saved

    def restore(self, snapshot: str | None) -> tuple[int, int]:
        self.last = snapshot
        return self.snapshots.restore(self.place, snapshot, STOP)

    def write(self, path: str, data: bytes | str) -> Path:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data.encode() if isinstance(data, str) else data)
        return place


def fill(machine: Machine) -> None:
    machine.write("readme.md", "hello")
    machine.write("src/deep/er/main.py", "print()\n" * 1000)
    machine.write("src.py", "sorts between src and src/deep")
    machine.write("empty", "")
    machine.write("run.sh", "#!/bin/sh\n").chmod(0o755)
    machine.write("secret", "x").chmod(0o400)
    machine.write("large.bin", os.urandom(PIECE + 12_345))
    (machine.folder / "nothing/in/here").mkdir(parents=True)
    (machine.folder / "closed").mkdir(mode=0o500)
    (machine.folder / "link").symlink_to("src/deep")
    (machine.folder / "broken").symlink_to("/nowhere/at/all")
    (machine.folder / "loop").symlink_to("loop")
    with open(os.fsencode(machine.folder) + b"/\xff\xfe not utf-8 \n", "wb") as file:
        file.write(b"odd name")


Machines = Callable[..., Machine]
