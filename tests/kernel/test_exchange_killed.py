"""An import that dies at any of its commits leaves no session or the whole one; the same import again completes it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from roost.errors import NotFound, StoreFailed
from roost.kernel.check import check
from roost.runtime import Runtime
from roost.stores.open import open_store
from tests.harness.crash.killing import KillingStore, When

from .support import FAST, agent, place, running

_EVENTS = 1600
"""More than three pages of them."""
_STRIKES: list[tuple[int, When]] = [(1, "before"), (2, "before"), (3, "before"), (5, "before"), (1, "after")]
"""The first commit of an import is all of it, the next ones are its pages."""
_KILLS = _STRIKES[-2:]


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    path = tmp_path / "talk.jsonl"
    runtime = Runtime(tmp_path / "source", agents=[agent(["one"])], config=FAST)
    async with runtime:
        session = await runtime.session("a")
        assert await session.ask("first") == "one"
        await runtime.exchange.write(session.id, path)
    header, *events = path.read_bytes().splitlines(keepends=True)
    header = header.replace(b'"events":%d' % len(events), b'"events":%d' % _EVENTS)
    more = b'{"seq":%d,"event":{"type":"emitted","name":"x","data":"y","at":2.0}}\n'
    filled = (more % number for number in range(len(events) + 1, _EVENTS + 1))
    path.write_bytes(b"".join([header, *events, *filled]))
    return path


async def test_cut_off_at_every_commit(tmp_path: Path, file: Path) -> None:
    for at, when in _STRIKES:
        store = await place.open(tmp_path)
        journal = KillingStore(store, at=at, when=when, session=f"ses_{at}_{when}", how="fail")
        with contextlib.suppress(StoreFailed):
            async with Runtime(tmp_path, agents=[agent(["x"])], config=FAST, store=journal) as runtime:
                await runtime.exchange.read(file, id=f"ses_{at}_{when}", agent="a", key=f"{at}{when}")
        assert journal.dead, (at, when)
    await _complete(tmp_path, file)


async def test_killed_at_every_commit(tmp_path: Path, file: Path) -> None:
    for at, when in _KILLS:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.kernel.test_exchange_killed", str(tmp_path),
            place.url or str(tmp_path / "roost.db"), str(file), str(at), when,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([".", *sys.path])},
        )  # fmt: skip
        assert await process.wait() == -signal.SIGKILL, (at, when)
    await _complete(tmp_path, file, _KILLS)


async def _complete(home: Path, file: Path, strikes: list[tuple[int, When]] = _STRIKES) -> None:
    async with running(home, agent(["x"])) as runtime:
        for at, when in strikes:
            id = f"ses_{at}_{when}"
            assert await _is_there(runtime, id) == (when == "after"), id
            brought = await runtime.exchange.read(file, id=id, agent="a", key=f"{at}{when}")
            assert (brought.session.id, brought.duplicate) == (id, when == "after")
            log = await runtime.sessions.history(id, limit=10_000)
            assert [record.seq for record in log] == list(range(1, brought.session.head + 1)), id
            assert brought.session.head > _EVENTS
            assert await runtime.open(id).ask("go on") == "x"
    assert (await check(place.url or home / "roost.db")).faults == []


async def _is_there(runtime: Runtime, id: str) -> bool:
    try:
        await runtime.sessions.get(id)
    except NotFound:
        return False
    return True


async def _main(home: str, url: str, path: str, at: str, when: str) -> None:
    id = f"ses_{at}_{when}"
    moment: When = "before" if when == "before" else "after"
    journal = KillingStore(await open_store(url), at=int(at), when=moment, session=id)
    async with Runtime(Path(home), agents=[agent(["x"])], config=FAST, store=journal) as runtime:
        await runtime.exchange.read(Path(path), id=id, agent="a", key=f"{at}{when}")


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
