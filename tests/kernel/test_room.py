"""A session whose workspace is full: its commands end, its file tools refuse, and the model knows what to do."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.kernel.sandboxes import Sandboxes
from roost.log import events as ev
from roost.log.content import Text
from roost.policy.loading import Policy
from roost.runtime import Runtime
from roost.sandbox.backend import Bounds, SandboxSpec
from roost.sandbox.choose import Isolation, Settings
from roost.sandbox.containers.bwrap import BwrapBackend
from roost.sandbox.host_process import ProcessSandbox
from roost.testing.scripted import Answer, ScriptedModel, by_step
from roost.workspace.files import Workspace

from .support import BRISK, calling, events, running

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
MB = 1024**2
FILL = "while :; do head -c 8000000 /dev/zero >> big; done"
TOOLS = ["shell", "shell_start", "shell_output", "write_file", "edit_file", "edit_files", "read_file"]


def filling(answers: list[Answer | str], *, level: int = 0, bounds: Bounds | None = None) -> Agent:
    isolation = Isolation(prefers=0 if level == 0 else 1, bounds=bounds or Bounds(workspace_bytes=40 * MB))
    model = ScriptedModel(by_step(answers))
    return Agent("a", model=model, tools=TOOLS, permissions="all", isolation=isolation)


def told(log: list[ev.Event]) -> list[tuple[str, list[str]]]:
    """What the model read of each call."""
    done = [event for event in log if isinstance(event, ev.ToolCompleted)]
    return [(event.outcome, [part.text for part in event.parts if isinstance(part, Text)]) for event in done]


def limits(log: list[ev.Event]) -> list[tuple[str, bool]]:
    return [(event.limit, event.killed) for event in log if isinstance(event, ev.SandboxLimit)]


@pytest.mark.parametrize("level", [0, 1])
async def test_it_is_told_and_can_make_room(level: int, tmp_path: Path) -> None:
    if level == 1 and not (probe := await BwrapBackend().probe()).able:
        pytest.skip(f"no bubblewrap here: {probe.why}")
    script: list[Answer | str] = [
        calling("shell", command=FILL),
        calling("write_file", path="note", content="x"),
        calling("edit_files", changes=[{"path": "other", "content": "x"}]),
        calling("shell", command="rm big; echo gone"),
        calling("write_file", path="note", content="x"),
        calling("shell", command="head -c 3000000 /dev/zero > more; echo fine"),
        "done",
    ]
    async with running(tmp_path, filling(script, level=level)) as runtime:
        session = await runtime.session("a")
        await session.ask("go")
        log = await events(session, runtime)
        folder = runtime.node.resources.private(session.id)
        assert sorted(os.listdir(folder)) == ["more", "note"]
    assert limits(log)[0] == ("workspace_bytes", True)
    first, note, other, gone, again, fine = told(log)
    assert first[0] == "error"
    assert "[killed: limit workspace_bytes]" in first[1][0]
    said = [text for text in first[1] if "more disk than it may (40 MB)" in text]
    assert said
    assert "Remove files" in said[0]
    for outcome, texts in (note, other):
        assert outcome == "error"
        assert "nothing was written. Remove files" in texts[0]
    assert gone == ("ok", ["gone"])
    assert again[0] == "ok"
    assert fine == ("ok", ["fine"])


async def test_files_can_be_made_smaller_and_removed(tmp_path: Path) -> None:
    script: list[Answer | str] = [
        calling("write_file", path="a", content="x" * 9000),
        calling("write_file", path="b", content="x" * 9000),
        calling("write_file", path="a", content="y" * 500),
        calling("edit_files", changes=[{"path": "a", "remove": True}, {"path": "b", "content": "small"}]),
        calling("write_file", path="c", content="x" * 9000),
        "done",
    ]
    async with running(tmp_path, filling(script, bounds=Bounds(workspace_bytes=20_000))) as runtime:
        session = await runtime.session("a")
        await session.ask("go")
        log = await events(session, runtime)
    assert [outcome for outcome, _ in told(log)] == ["ok", "error", "ok", "ok", "ok"]


async def test_a_job_in_the_background_is_ended(tmp_path: Path) -> None:
    script: list[Answer | str] = [
        calling("shell_start", command=f"until [ -e go ]; do sleep 0.02; done; {FILL}"),
        calling("shell", command="touch go; sleep 50"),
        calling(
            "shell", command="sleep 0.4; size=$(stat -c %s big); sleep 0.4; [ $(stat -c %s big) = $size ] && echo on"
        ),
        "done",
    ]
    async with running(tmp_path, filling(script)) as runtime:
        session = await runtime.session("a")
        async with asyncio.timeout(60):
            await session.ask("go")
        log = await events(session, runtime)
    assert ("workspace_bytes", True) in limits(log)
    assert any("more disk than it may" in text for _, texts in told(log) for text in texts)
    assert told(log)[2][1][0].startswith("on")


async def test_a_folder_of_the_users_has_no_bound_unless_it_is_said(tmp_path: Path) -> None:
    (folder := tmp_path / "mine").mkdir()
    some = "head -c 30000000 /dev/zero > big; sleep 0.6; echo fine"
    for bounds, fill, killed in ((Bounds(), some, False), (Bounds(workspace_bytes=10 * MB), FILL, True)):
        answers: list[Answer | str] = [calling("shell", command=fill), "done"]
        async with running(tmp_path / f"home{killed}", filling(answers, bounds=bounds)) as runtime:
            session = await runtime.session("a", workspace=str(folder))
            await session.ask("go")
            assert (("workspace_bytes", True) in limits(await events(session, runtime))) is killed
            (folder / "big").unlink()


async def test_the_policy_says_what_is_left_of_the_disk(tmp_path: Path) -> None:
    """More than there is, of which a sixteenth of the disk counts."""
    disk = os.statvfs(tmp_path)
    policy = Policy(sandbox=Settings(backends=(), free_bytes=10**18))
    answers: list[Answer | str] = [calling("write_file", path="a", content="x"), "done"]
    async with Runtime(tmp_path, agents=[filling(answers)], config=BRISK, policy=policy) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "done"
        log = await events(session, runtime)
    assert (told(log)[0][0] == "error") is (disk.f_bavail * 16 < disk.f_blocks)


async def test_who_has_the_same_workspace_has_the_same_room(tmp_path: Path) -> None:
    """File tools of several sessions do not fill it several times."""
    async with AsyncExitStack() as closing:
        sandboxes = Sandboxes(ProcessSandbox(marker="test-same"), [], marker="test-same")
        closing.push_async_callback(sandboxes.close)
        (folder := tmp_path / "shared").mkdir()
        spec = SandboxSpec(session="s", workspace=folder, marker="")
        isolation = Isolation(bounds=Bounds(workspace_bytes=20 * MB))
        several = [Workspace(folder, private=n == 0) for n in range(4)]
        for n, files in enumerate(several):
            sandboxes.of(f"s{n}", isolation, lambda: spec, tmp_path / f"n{n}", files, private=True)
        written = 0
        for n in range(40):
            if several[n % 4].room(MB, 1) is None:
                (folder / f"f{n}").write_bytes(bytes(MB))
                written += 1
        assert 18 <= written <= 20
