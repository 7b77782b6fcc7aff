"""How much CPU does a door add to a turn over Roost's own HTTP?

Turns of all doors take turns in one process, without sockets, each door with conversations of a few messages. The
figure of a door is the median of its turn's CPU time less that of the turn over our own HTTP of the same round. The CPU
is of the whole process, such as the writer of the store, but for the client's reading of the answer's JSON."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from starlette.types import ASGIApp
from tests.harness.doors.clients import CLIENTS, Client
from tests.harness.doors.transport import Http, Parsing, Within

from roost import Agent, Runtime
from roost.server.app import build_app
from roost.testing.scripted import Answer, ScriptedModel

TEXT = "a word or two " * 20
_MESSAGES = 8
"""Of a conversation; then a new one begins."""
_REST = 0.02
"""Seconds for what a turn leaves to be done behind its answer: the CPU of it is the turn's, not the next one's."""


async def measure(doors: Sequence[str], rounds: int) -> dict[str, tuple[float, float]]:
    """Return for each door the CPU of its turn, and what that is more than our own HTTP's, in milliseconds."""
    model = ScriptedModel(lambda _: Answer(text=TEXT, piece=20), deltas=True)
    with tempfile.TemporaryDirectory() as folder:
        async with Runtime(Path(folder) / "home", agents=[Agent("clerk", model=model)]) as runtime:
            app, _ = build_app(runtime, token=None)
            return await _rounds(app, doors, rounds)


async def _rounds(app: ASGIApp, doors: Sequence[str], rounds: int) -> dict[str, tuple[float, float]]:
    http = Within(app)
    names = ["own", *(name for name in doors if name != "own")]
    took: dict[str, list[float]] = {name: [] for name in names}
    clients: dict[str, Client] = {}
    for number in range(rounds + _MESSAGES):
        if number % _MESSAGES == 0:
            for client in clients.values():
                await client.leave()
            clients = {name: CLIENTS[name]("clerk", f"{name}-{number}") for name in names}
        for name, client in clients.items():
            began, parsed = time.process_time(), Parsing.seconds
            await _say(http, client, f"message {number}")
            await asyncio.sleep(_REST)
            if number >= _MESSAGES and number % _MESSAGES:  # the first message of a conversation makes it
                took[name].append(time.process_time() - began - (Parsing.seconds - parsed))
    for client in clients.values():
        await client.leave()
    own = took["own"]
    return {
        name: (
            1e3 * statistics.median(times),
            1e3 * statistics.median(one - base for one, base in zip(times, own, strict=True)),
        )
        for name, times in took.items()
    }


async def _say(http: Http, client: Client, text: str) -> None:
    answer = await client.say(http, text)
    assert answer == (text if type(client).__name__ == "AgentRuntime" else TEXT), (client, answer)
