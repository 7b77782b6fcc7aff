"""Kill a node while the streams of all doors are open at it: each client goes on at the next node."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
from tests.harness.crash.daemon import Settings
from tests.harness.crash.hands import PATIENCE
from tests.harness.crash.plans import message, script
from tests.harness.crash.process import DaemonProcess
from tests.harness.crash.witness import effects
from tests.harness.doors.clients import CLIENTS
from tests.harness.doors.transport import Loopback
from tests.harness.doors.users import Conversation, address_of, strays

from roost.client.daemon_address import Endpoint
from roost.stores.open import open_store
from roost.stub.provider import ProviderServer

_FOREVER = 3600.0
"""Seconds that a tool takes at the node that is killed."""
_TURNLESS = ("agentruntime",)


async def kill_in_midstream(folder: Path, *, store: str | None = None) -> None:
    """Let a conversation of each door wait for a tool at a node, kill the node, and let each go on at another node of
    `store`, else at a new daemon of the same home. Raises `AssertionError`."""
    (folder / "snapshots").mkdir()
    with ProviderServer(script(pace=0.005)) as provider:
        first = Settings(
            home=folder / "one",
            model=f"{provider.url}#scripted",
            witness=folder / "effects.jsonl",
            tools=(_FOREVER, _FOREVER),
            store=store,
            snapshots=f"file://{folder}/snapshots" if store else None,
        )
        home = folder / "two" if store else first.home
        second = msgspec.structs.replace(first, home=home, tools=(0.0, 0.01))
        nodes = [DaemonProcess(first), DaemonProcess(second)]
        try:
            await _kill(nodes, first.witness, store or str(first.home / "roost.db"))
        finally:
            for node in nodes:
                node.close()


async def _kill(nodes: list[DaemonProcess], witness: Path, store: str) -> None:
    one, two = nodes
    serving = one

    def endpoint() -> Endpoint:
        return serving.endpoint()

    await one.start()
    http = Loopback(address_of(endpoint))
    found = [Conversation(door, f"{door}-1") for door in CLIENTS]
    try:
        async with asyncio.TaskGroup() as group:
            for conversation in found:
                group.create_task(_three(conversation, http))
            await _all_work(witness, len(CLIENTS) - len(_TURNLESS))
            if one.settings.home != two.settings.home:
                await two.start()
            one.kill()
            serving = two
            if one.settings.home == two.settings.home:
                await two.start()
    finally:
        for conversation in found:
            await conversation.client.leave()
    uncut = [one.door for one in found if not one.cuts and one.door not in _TURNLESS]
    assert not uncut, f"no stream was cut off: {uncut}"
    await _check(found, witness, store)
    await two.stop()


async def _three(conversation: Conversation, http: Loopback) -> None:
    """Say something before the kill, something that is cut off by it, and something behind it."""
    for plan in ("say", "two", "say"):
        await conversation.say(http, message(plan))


async def _all_work(witness: Path, count: int) -> None:
    """Wait until a tool of every session has begun."""
    deadline = time.monotonic() + PATIENCE
    while len({one.session for one in effects(witness)}) < count:
        assert time.monotonic() < deadline, f"tools of {count} sessions did not begin: {effects(witness)}"
        await asyncio.sleep(0.05)


async def _check(found: list[Conversation], witness: Path, url: str) -> None:
    store = await open_store(url)
    try:
        done = effects(witness)
        wrong = [problem for conversation in found for problem in await conversation.problems(store, done)]
        wrong += await strays(store, {name for one in found for name in (one.session, one.client.beside)})
        assert not wrong, "\n".join(wrong)
    finally:
        await store.close()
