from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost.testing.s3 import NoWeed, S3Server

_prefixes = itertools.count()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    try:
        server = S3Server()
        server.__enter__()
    except NoWeed as error:
        pytest.skip(str(error))
    yield server
    server.close()


@pytest.fixture(params=["folder", "s3"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty object store of each kind."""
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        return server.url(f"test-{next(_prefixes)}")
    (tmp_path / "objects").mkdir()
    return f"file://{tmp_path}/objects"
