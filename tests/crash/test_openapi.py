"""Calls of an API that a kill -9 cut off: repeated where the method or a key allows it, else told to the model."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.agent.openapi_options import OpenApi
from roost.log import events as ev
from roost.log.content import Text
from roost.policy.rules import Rule
from roost.runtime import Runtime
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from tests.harness.crash.inside import CONFIG
from tests.tools.openapi.api_server import document, serving, streamed, text

_PROCESS = """
import asyncio, sys
from pathlib import Path
from roost.runtime import Runtime
from tests.crash.test_openapi import clerk

async def main():
    folder, private, operation, store = sys.argv[1:]
    agents = [clerk(Path(folder), private, operation)]
    async with Runtime(Path(folder) / "home", agents=agents, store=store or None) as runtime:
        session = await runtime.session("a", id="s")
        await session.send("go")
        await asyncio.sleep(600)

asyncio.run(main())
"""
KEYED = {"parameters": [{"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}}]}
PATHS = {
    "/get": {"get": {"operationId": "get"}},
    "/put": {"put": {"operationId": "put"}},
    "/delete": {"delete": {"operationId": "delete"}},
    "/post": {"post": {"operationId": "post"}},
    "/keyed": {"post": {"operationId": "keyed", **KEYED}},
}


def clerk(folder: Path, private: str, operation: str) -> Agent:
    steps = [Answer(calls=(Call(f"api__{operation}", {}),)), "end"]
    api = OpenApi(name="api", spec=str(folder / "api.json"), private=[private], seconds=600)
    rules = (Rule(effect="allow", tool="api__*"),)
    return Agent("a", model=ScriptedModel(by_step(steps)), openapi=[api], permissions="all", rules=rules)


async def hanging() -> AsyncIterator[bytes]:
    yield b"."
    await asyncio.sleep(600)


@contextlib.asynccontextmanager
async def _store(request: pytest.FixtureRequest, kind: str) -> AsyncIterator[str]:
    if kind == "sqlite":
        yield ""
        return
    async with request.getfixturevalue("postgres").borrowed() as url:
        yield url


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        *((name, "sqlite") for name in ("get", "put", "delete", "post", "keyed")),
        ("post", "postgres"),
        ("get", "postgres"),
    ],
)
async def test_kill_9_in_mid_call(tmp_path: Path, request: pytest.FixtureRequest, operation: str, kind: str) -> None:
    async with _store(request, kind) as store, serving() as api:
        api.answers[f"/{operation}"] = lambda _, number: streamed(hanging()) if number == 1 else text("done")
        (tmp_path / "api.json").write_bytes(document(PATHS, servers=[{"url": api.url}]))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _PROCESS, str(tmp_path), api.host, operation, store),
            env={**os.environ, "PYTHONPATH": "."},
        )
        try:
            async with asyncio.timeout(120):
                while not api.asked:
                    await asyncio.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()
        # The document's source is gone: the session goes on with the one that it pinned.
        (tmp_path / "api.json").unlink()
        agents = [clerk(tmp_path, api.host, operation)]
        async with Runtime(tmp_path / "home", agents=agents, config=CONFIG, store=store or None) as runtime:
            end = await runtime.open("s").bus.wait_for(ev.TurnCompleted, after=0, timeout=120)
            log = [record.event for record in await runtime.sessions.history("s")]
    assert end.outcome == "answered"
    (done,) = [event for event in log if isinstance(event, ev.ToolCompleted)]
    said = "".join(part.text for part in done.parts if isinstance(part, Text))
    if operation == "post":
        assert (done.outcome, len(api.asked)) == ("interrupted", 1)
        assert "it is not known whether this call took effect" in said
        return
    assert (done.outcome, len(api.asked)) == ("ok", 2)
    assert said.endswith("done")
    keys = {one["headers"].get("idempotency-key") for one in api.asked}
    assert len(keys) == 1
    assert (None in keys) == (operation != "keyed")
