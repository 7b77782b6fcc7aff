"""Roost's models in this process: CPU of a streamed request, time to the first token, many streams at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from bench.worker import Clock, serve
from roost.log.content import Text, UserMessage
from roost.models.http import HttpClient
from roost.models.http_model import HttpModel
from roost.models.request import Completed, Model, Price, Profile, Request, TextDelta
from roost.models.wire import Endpoint
from roost.models.wires import wire as make_wire
from roost.money.ledger import Ledger
from roost.providers.model_stack import Parts, stacked
from roost.stores.sqlite.store import open_sqlite


@contextlib.asynccontextmanager
async def model(folder: Path, url: str, wire: str, *, layers: str, connections: int = 512) -> AsyncIterator[Model]:
    """`layers`: the adapter alone, with the `stack` around it, or with a price too, so that each call is `charged`."""
    client = HttpClient(max_connections=connections)
    profile = Profile(price=Price(1, 1) if layers == "charged" else None)
    bare = HttpModel(
        model="scripted",
        endpoint=Endpoint(base_url=url, key="none"),
        wire=make_wire(wire),
        profile=profile,
        client=client,
    )
    store = await open_sqlite(folder / "ledger.db")
    ledger = Ledger(store, owner="bench")
    try:
        yield bare if layers == "adapter" else stacked(bare, Parts(ledger=ledger))
    finally:
        await client.close()
        await ledger.close()
        await store.close()


def request(text: str) -> Request:
    return Request(instruction="Be brief.", messages=(UserMessage((Text(text),)),), max_output=2000)


async def stream(asked: Model, text: str) -> tuple[int, float]:
    """(pieces of text, seconds to the first)."""
    began, first, pieces = time.perf_counter(), 0.0, 0
    async for event in asked.stream(request(text)):
        if isinstance(event, TextDelta):
            first = first or time.perf_counter() - began
            pieces += 1
        elif isinstance(event, Completed):
            return pieces, first
    raise RuntimeError("the answer did not come")


async def cpu(folder: Path, *, url: str, wire: str, layers: str, requests: int, deltas: int) -> dict[str, Any]:
    async with model(folder, url, wire, layers=layers) as asked:
        await stream(asked, "warm up")
        clock = Clock()
        for number in range(requests):
            pieces, _ = await stream(asked, f"quick {number}")
            assert pieces == deltas, f"{pieces} pieces and not {deltas}"
        spent = clock.stop()
    return {**spent, "steps": requests}


async def latency(folder: Path, *, url: str, wire: str, requests: int, deltas: int) -> dict[str, Any]:
    """Milliseconds to the first token: of a bare socket, through the adapter, through the stack, and charged. In
    turns, over connections that are kept."""
    found: dict[str, list[float]] = {"raw": [], "adapter": [], "stack": [], "charged": []}
    raw = await _Raw.open(url)
    clock = Clock()
    async with contextlib.AsyncExitStack() as open_models:
        models = {
            name: await open_models.enter_async_context(_in(folder / name, url, wire, name))
            for name in ("adapter", "stack", "charged")
        }
        for number in range(-5, requests):
            times = {"raw": await raw.first()}
            for name, asked in models.items():
                times[name] = (await stream(asked, f"quick {number}"))[1]
            if number >= 0:
                for name, seconds in times.items():
                    found[name].append(seconds * 1e3)
    raw.close()
    return {**clock.stop(), "steps": requests, "ms": found}


@contextlib.asynccontextmanager
async def _in(folder: Path, url: str, wire: str, layers: str) -> AsyncIterator[Model]:
    folder.mkdir()
    async with model(folder, url, wire, layers=layers) as asked:
        yield asked


class _Raw:
    """One connection on which the same body is sent, and nothing is understood but where text begins and all ends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        self._reader, self._writer, self._head = reader, writer, head

    @classmethod
    async def open(cls, url: str) -> _Raw:
        host, _, rest = url.removeprefix("http://").partition("/")
        name, _, port = host.partition(":")
        reader, writer = await asyncio.open_connection(name, int(port))
        body = (
            b'{"model":"scripted","messages":[{"role":"system","content":"Be brief."},'
            b'{"role":"user","content":"quick"}],"max_tokens":2000,"stream":true,"stream_options":{"include_usage":true}}'
        )
        head = f"POST /{rest}/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer none\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return cls(reader, writer, head.encode() + body)

    async def first(self) -> float:
        began = time.perf_counter()
        self._writer.write(self._head)
        heard = b""
        while b'"content":"0000' not in heard:
            heard += await self._reader.read(65536)
        seconds = time.perf_counter() - began
        while not heard.endswith(b"0\r\n\r\n"):
            heard = heard[-8:] + await self._reader.read(65536)
        return seconds

    def close(self) -> None:
        self._writer.close()


async def together(folder: Path, *, url: str, wire: str, streams: int, deltas: int) -> dict[str, Any]:
    """All at once, in this process on one core."""
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    async with model(folder, url, wire, layers="stack", connections=streams + 10) as asked:
        await stream(asked, "warm up")
        clock = Clock()
        done = await asyncio.gather(*(stream(asked, f"slow {n}") for n in range(streams)), return_exceptions=True)
        spent = clock.stop()
    good = [one for one in done if not isinstance(one, BaseException) and one[0] == deltas]
    said = [f"{type(one).__name__}: {one}" for one in done if isinstance(one, BaseException)]
    return {**spent, "steps": streams, "failed": streams - len(good), "said": said[:3]}


def play(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    job = {"cpu": cpu, "latency": latency, "streams": together}[order.pop("job")]
    return asyncio.run(job(folder, **order))


if __name__ == "__main__":
    serve(play)
