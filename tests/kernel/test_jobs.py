"""What a session keeps running between its calls ends with its sleep, and the log says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roost.log import events as ev
from roost.log.content import Text
from roost.testing.scripted import Answer

from .support import agent, calling, events, of_limits, running

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

_BEAT = "while :; do echo x >> {}; sleep 0.05; done"
_PYTHON = "import subprocess; child = subprocess.Popen(['sh', '-c', '" + _BEAT.format("python.beat") + "'])"
_PYTHON += "\nknown = 'x' in globals()\nx = 41\nknown"


async def _beats(file: Path) -> bool:
    """Whether something writes to it: true of what runs at any level of isolation."""
    before = file.stat().st_size
    await asyncio.sleep(0.4)
    return file.stat().st_size > before


async def test_state_stays_within_a_turn_and_ends_with_sleep(tmp_path: Path) -> None:
    script: list[Answer | str] = [
        calling("python", code=_PYTHON),
        calling("shell_start", command=_BEAT.format("shell.beat")),
        calling("python", code="import time; time.sleep(0.2); x + 1"),
        "done",
    ]
    async with running(tmp_path, agent(script, ["python", "shell_start", "shell_output"])) as runtime:
        session = await runtime.session("a")
        await session.ask("go")
        ended = await session.bus.wait_for(ev.SandboxEnded, after=0, timeout=20)
        assert ended.background == 2
        assert "the Python interpreter" in ended.reason
        assert "shell.beat" in ended.reason
        folder = runtime.kernel.workshop.private(session.id)
        assert not await _beats(folder / "python.beat")
        assert not await _beats(folder / "shell.beat")
        await session.ask("again")
        log = await events(session, runtime)
    done = [event for event in log if isinstance(event, ev.ToolCompleted)]
    texts = [part.text for event in done for part in event.parts if isinstance(part, Text) and not of_limits(part.text)]
    assert texts[2].startswith("42")
    assert texts[0].startswith("[new interpreter: nothing is kept from earlier calls]\nFalse")
    assert texts[3].startswith("[new interpreter: nothing is kept from earlier calls]\nFalse")


async def test_stopping_the_node_ends_what_runs(tmp_path: Path) -> None:
    script = [calling("shell_start", command=_BEAT.format("beat")), calling("shell", command="sleep 1000")]
    async with running(tmp_path, agent(script, ["shell_start", "shell"])) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        file = runtime.kernel.workshop.private(session.id) / "beat"
        async with asyncio.timeout(20):
            while not file.exists():
                await asyncio.sleep(0.02)
        assert await _beats(file)
    assert not await _beats(file)
