"""A process that delivers, keeps checkpoints, forks and deletes is killed: all of a commit is there, or nothing."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest

from roost.kernel.check import check
from roost.stores.open import open_store
from roost.testing.forks import log_of
from roost.testing.stores import new, said

BUSY = """
import asyncio, sys
from roost.log.protocols import Delivery
from roost.stores.open import open_store
from roost.testing.deliveries import append, point
from roost.testing.forks import fork
from roost.testing.stores import own

async def main():
    store = await open_store(sys.argv[1])
    await store.dispatch.leave("n")
    claim = await own(store, "child", "n")
    head, made = claim.info.head, []
    print("ready", flush=True)
    while True:
        sent = [Delivery("parent", claim.inbox[0].input, f"end {head + 1}")]
        head = await append(store, claim, f"child{head + 1}", head=head, deliver=sent, checkpoint=point(head + 1))
        source = f"f{head - 1}" if head - 1 in made else "child"
        await asyncio.gather(fork(store, "child", head, f"f{head}"), fork(store, source, 2, f"g{head}"))
        made.append(head)
        if len(made) > 2:
            old = made.pop(0)
            await asyncio.gather(*(store.sessions.delete(f"{kind}{old}") for kind in "fg"))

asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", "postgres"])
async def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return await request.getfixturevalue("postgres").database()
    return str(tmp_path / "roost.db")


async def test_killed_at_any_moment(where: str) -> None:
    store = await open_store(where)
    for session in ("child", "parent"):
        await new(store, session)
    await store.inboxes.accept("child", said("done"))
    before = 1
    for seed in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", BUSY, where, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        async with asyncio.timeout(60):
            while (await store.sessions.get("child")).head == before:
                await asyncio.sleep(0.01)
        await asyncio.sleep(random.Random(seed).uniform(0.1, 0.4))
        process.kill()
        await process.wait()
        head = (await store.sessions.get("child")).head
        assert head > before
        before = head
        assert len(await store.inboxes.pending("parent")) == head - 1
        assert [one.seq for one in await store.logs.checkpoints("child")] == list(range(head, 1, -1))
        await store.sessions.purge()
        assert process.returncode == -9
        forks = [session async for session in store.portable.sessions() if session[0] in "fg"]
        for session in forks:
            at = int(session[1:]) if session[0] == "f" else 2
            assert await log_of(store, session) == [*(f"child{n}" for n in range(2, at + 1)), f"{session}{at + 1}"]
            await store.sessions.delete(session)
    await store.dispatch.leave("n")
    await store.sessions.purge()
    await store.close()
    await (await open_store(where)).close()
    assert (await check(where)).faults == []
