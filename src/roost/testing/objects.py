"""Conformance suite of `Objects`. Every object store must pass it.

    class TestMine(ObjectsContract):
        @pytest.fixture
        def objects(self): return MyObjects(...)

The fixture returns an empty store.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import pytest

from roost.workspace.object_store import ObjectMissing, Objects


def _keys(objects: Objects, prefix: str) -> list[str]:
    return sorted(found.key for found in objects.list(prefix))


class ObjectsContract:
    @pytest.mark.parametrize("size", [0, 1, 5_000_000])
    def test_bytes_come_back(self, objects: Objects, size: int) -> None:
        data = os.urandom(size)
        objects.put("blobs/1/ab", data)
        assert objects.get("blobs/1/ab") == data

    def test_what_is_not_there(self, objects: Objects) -> None:
        objects.put("blobs/1/ab", b"x")
        for key in ("blobs/1/abc", "blobs/1", "blobs/2/ab", "ab"):
            with pytest.raises(ObjectMissing):
                objects.get(key)

    def test_putting_again_changes_nothing(self, objects: Objects) -> None:
        for _ in range(3):
            objects.put("blobs/1/ab", b"same")
        assert objects.get("blobs/1/ab") == b"same"
        assert _keys(objects, "blobs/") == ["blobs/1/ab"]

    def test_listing(self, objects: Objects) -> None:
        assert _keys(objects, "") == []
        names = ["blobs/1/ab", "blobs/1/cd", "blobs/12/ef", "snapshots/1/ab"]
        began = time.time()
        for name in names:
            objects.put(name, name.encode())
        assert _keys(objects, "") == names
        assert _keys(objects, "blobs/") == names[:3]
        assert _keys(objects, "blobs/1/") == names[:2]
        assert _keys(objects, "nothing/") == []
        for found in objects.list("blobs/"):
            assert found.size == len(found.key)
            assert began - 10 < found.modified < time.time() + 10

    def test_more_than_one_page(self, objects: Objects) -> None:
        names = [f"blobs/1/{number:04}" for number in range(1203)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(objects.put, names, repeat(b"")))
        assert _keys(objects, "blobs/") == names
        objects.delete(names[1:])
        assert _keys(objects, "") == names[:1]

    def test_deleting(self, objects: Objects) -> None:
        for name in ("blobs/1/ab", "blobs/1/cd"):
            objects.put(name, b"x")
        objects.delete(["blobs/1/ab", "blobs/1/never"])
        objects.delete(["blobs/1/ab"])
        objects.delete([])
        assert _keys(objects, "") == ["blobs/1/cd"]
        with pytest.raises(ObjectMissing):
            objects.get("blobs/1/ab")
        objects.put("blobs/1/ab", b"again")
        assert objects.get("blobs/1/ab") == b"again"

    def test_many_threads_at_once(self, objects: Objects) -> None:
        def work(number: int) -> bool:
            key = f"blobs/1/{number % 20:02}"
            objects.put(key, key.encode() * 1000)
            return objects.get(key) == key.encode() * 1000

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(work, range(200)))
