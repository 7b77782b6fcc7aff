"""The open indexes of a node, one for each folder. The least recently used are closed; `tidy` removes those of folders
that are gone, or that nobody has searched for a month."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from roost.features.files.folder_index import FolderIndex
from roost.features.files.texts import text_of
from roost.features.files.watching import Inotify
from roost.local.embed.base import Embedder
from roost.policy.rules import Rule, held_back
from roost.policy.system_rules import system_rules

log = logging.getLogger("roost.files")
MOST_OPEN = 32
_IDLE_SECONDS = 1800.0
_UNUSED_SECONDS = 30 * 86_400.0
_ROOT = "folder"


class FileIndexes:
    """kept: the folder of the indexes. rules: the operator's rules as they are now. embedder: as in `FolderIndex`."""

    def __init__(self, kept: Path, *, rules: Callable[[], Sequence[Rule]], embedder: Callable[[], Embedder]) -> None:
        self._kept, self._rules, self._embedder = kept, rules, embedder
        self._open: OrderedDict[str, tuple[FolderIndex, str]] = OrderedDict()
        self._used: dict[str, float] = {}
        self._lock = asyncio.Lock()
        self._watch = Inotify()
        self._work: ThreadPoolExecutor | None = None
        self._reading = -1

    async def of(self, root: Path) -> FolderIndex:
        """Return the index of a real folder, open. Raises `OSError`, `Damaged`."""
        rules = (tuple(self._rules()), tuple(system_rules()))
        about = hashlib.blake2b(repr(rules).encode(), digest_size=16).hexdigest()
        key = _key(root)
        async with self._lock:
            known = self._open.get(key)
            failed = None if known is None else known[0].failed
            if failed is not None:
                log.warning("the index of %s had stopped and is opened again", root, exc_info=failed)
            if known is not None and (known[1] != about or failed is not None):
                await self._close(key)
                known = None
            if known is None:
                known = await self._make(key, root, rules, about), about
                self._open[key] = known
            self._open.move_to_end(key)
            self._used[key] = time.monotonic()
            while len(self._open) > MOST_OPEN:
                await self._close(next(iter(self._open)))
        return known[0]

    async def _make(self, key: str, root: Path, rules: Sequence[Sequence[Rule]], about: str) -> FolderIndex:
        folder = self._kept / key
        await asyncio.to_thread(_note, folder, root)
        if self._work is None:
            self._work = ThreadPoolExecutor(1, "roost-files")
        if self._reading < 0 and (fd := self._watch.start()) >= 0:
            asyncio.get_running_loop().add_reader(fd, self._watch.hear)
            self._reading = fd
        index = FolderIndex(
            root,
            folder,
            read_text=text_of,
            watch=self._watch,
            embedder=self._embedder,
            work=self._work,
            held=held_back(rules, "read_file", root, str(root)),
            about=about,
        )
        await index.open()
        return index

    async def _close(self, key: str) -> None:
        index, _ = self._open.pop(key)
        self._used.pop(key, None)
        await index.close()

    async def forget(self, root: Path) -> None:
        """Remove the index of a folder. Raises `OSError`."""
        key = _key(root)
        async with self._lock:
            if key in self._open:
                await self._close(key)
            await asyncio.to_thread(shutil.rmtree, self._kept / key, True)

    async def tidy(self) -> None:
        """Close what nobody has searched lately, and remove what is not needed any more. Raises `OSError`."""
        async with self._lock:
            for key in [key for key, at in self._used.items() if time.monotonic() - at > _IDLE_SECONDS]:
                await self._close(key)
            await asyncio.to_thread(_tidy, self._kept, set(self._open))

    async def close(self) -> None:
        async with self._lock:
            for key in list(self._open):
                await self._close(key)
            if self._reading >= 0:
                asyncio.get_running_loop().remove_reader(self._reading)
                self._reading = -1
            self._watch.close()
            if self._work is not None:
                await asyncio.to_thread(self._work.shutdown)


def _key(root: Path) -> str:
    return hashlib.blake2b(os.fsencode(root), digest_size=16).hexdigest()


def _note(folder: Path, root: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / _ROOT).write_bytes(os.fsencode(root))  # its time says when the index was opened last


def _tidy(kept: Path, open: set[str]) -> None:
    if not kept.is_dir():
        return
    for folder in kept.iterdir():
        if folder.name in open:
            continue
        note = folder / _ROOT
        with contextlib.suppress(OSError):
            root, used = os.fsdecode(note.read_bytes()), note.stat().st_mtime
            if os.path.isdir(root) and time.time() - used < _UNUSED_SECONDS:
                continue
        shutil.rmtree(folder, ignore_errors=True)
