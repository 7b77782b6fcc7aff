"""What holds for every door."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.harness.doors.clients import CLIENTS

from roost import registry

_UNKNOWN = """
import asyncio, sys, tempfile
from pathlib import Path
from roost import Runtime, registry
from roost.server.app import build_app


async def ask(app, *token):
    said = []
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        said.append(message)
    headers = [(b"host", b"localhost"), *token]
    scope = {"type": "http", "method": "GET", "path": "/v1/models", "query_string": b"", "headers": headers}
    await app(scope, receive, send)
    return said[0]["status"]

async def main():
    with tempfile.TemporaryDirectory() as folder:
        async with Runtime(Path(folder) / "home") as runtime:
            app, _ = build_app(runtime, token="secret")
            before = set(sys.modules)
            assert await ask(app) == 401
            doors = {name for name in set(sys.modules) - before if name.startswith("roost.")}
            heads = [f"roost.doors.{name}" for name in registry.DOORS]
            own = {name for name in doors if name == "roost.doors" or name.startswith(tuple(heads))}
            assert doors == own, f"a door's module `door` imports what only its routes need: {doors - own}"
            assert "roost.doors.openai.service" not in doors
            assert await ask(app, (b"x-api-key", b"secret")) == 200
            assert "roost.doors.openai.service" in sys.modules

asyncio.run(main())
"""


def test_a_request_without_the_token_loads_no_more_than_the_shape_of_its_refusal():
    done = subprocess.run([sys.executable, "-c", _UNKNOWN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


_KILLED = {
    "gemini": "tests/doors/test_gateways_killed.py",
    "console": "tests/doors/test_gateways_killed.py",
    "coding_agents": "tests/doors/test_coding_agents_killed.py",
    "bots": "tests/bots/test_killed.py",
    "shares": "tests/files/test_files_killed.py",
}
"""Tests that kill a daemon in mid-stream, of doors whose clients the crash and cluster harness does not have."""


def test_each_door_is_killed_in_midstream() -> None:
    harness = {name.partition(".")[0] for name in CLIENTS}
    assert set(registry.DOORS) == (harness - {"own"}) | _KILLED.keys()
    root = Path(__file__).parents[2]
    assert all((root / path).is_file() for path in _KILLED.values())
