from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.s3 import S3Server

from .machines import Machine, Machines

_prefixes = itertools.count()


@pytest.fixture(params=["folder", "s3"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty object store of each kind."""
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        return server.url(f"test-{next(_prefixes)}")
    (tmp_path / "objects").mkdir()
    return f"file://{tmp_path}/objects"


@pytest.fixture
def machines(tmp_path: Path, store_url: str) -> Iterator[Machines]:
    """Machines by name, on one store of each kind."""
    made: list[Machine] = []

    def make(name: str, **options: object) -> Machine:
        made.append(Machine(tmp_path / name, store_url, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.snapshots.close()


@pytest.fixture
def store_folder(tmp_path: Path) -> str:
    (tmp_path / "objects").mkdir(exist_ok=True)
    return f"file://{tmp_path}/objects"


@pytest.fixture
def here(tmp_path: Path, store_folder: str) -> Machine:
    return Machine(tmp_path / "here", store_folder)


@pytest.fixture
def there(tmp_path: Path, store_folder: str) -> Machine:
    return Machine(tmp_path / "there", store_folder)
