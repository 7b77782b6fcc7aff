"""Each tool that runs something, once, where commands run behind a wall."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roost.sandbox.backend import SandboxSpec
from roost.sandbox.containers.bwrap import BwrapBackend
from roost.tools.background_jobs import Jobs
from roost.tools.base import ToolContext
from roost.tools.builtin import builtin_tools
from roost.tools.run_tool import run_tool

from .web import Reply, serving

TOOLS = builtin_tools()


@pytest.fixture
async def walled(ctx: ToolContext) -> AsyncIterator[ToolContext]:
    backend = BwrapBackend()
    probe = await backend.probe()
    if not probe.able:
        pytest.skip(f"no level 1 here: {probe.why}")
    marker = f"test-{secrets.token_hex(4)}"
    guest = await backend.create(SandboxSpec(session="s", workspace=ctx.workspace.root, marker=marker))
    yield msgspec.structs.replace(ctx, sandbox=guest)
    if (jobs := ctx.find(Jobs)) is not None:
        await jobs.close()
    await guest.close()


async def call(ctx: ToolContext, name: str, /, **arguments: Any) -> str:
    outcome, parts = await run_tool(TOOLS[name], ctx, json.dumps(arguments))
    text = "".join(part.text for part in parts)  # pyright: ignore
    assert outcome == "ok", text
    return text


async def test_they_work_behind_a_wall(walled: ToolContext, monkeypatch: pytest.MonkeyPatch) -> None:
    root = walled.workspace.root
    (root / "a.py").write_text("def f(x): return x\n")
    assert await call(walled, "shell", command="echo $PWD") == str(root)
    assert "a.py:1: def f" in await call(walled, "grep", pattern="def f")
    assert "def f(x)" in await call(walled, "analyze_code", path="a.py")
    assert (
        await call(walled, "python", code="import a; y = a.f(41)")
        == "[new interpreter: nothing is kept from earlier calls]\n(no output)"
    )
    assert "42" in await call(walled, "python", code="y + 1")
    text = await call(walled, "shell_start", command="read x < pipe; echo got $x")
    job = text.rpartition("[")[2].split()[0]
    assert "has ended" in await call(walled, "shell_output", job=job, wait=5) or "running" in text
    assert job in await call(walled, "shell_stop", job=job)
    with serving({"/": Reply(b"<h1>Head</h1><p>body")}) as server:
        monkeypatch.setenv("ROOST_WEB_ALLOW", f"127.0.0.1:{server.port}")
        assert "# Head\n\nbody" in await call(walled, "web_fetch", url=server.url)


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git on this machine")
async def test_git_works_behind_a_wall(walled: ToolContext) -> None:
    (walled.workspace.root / "a.py").write_text("x\n")
    for do in ("init", "add"):
        await call(walled, "git_write", do=do)
    await call(walled, "git_write", do="commit", message="m")
    assert "+x" in await call(walled, "git_read", what="show")


async def test_the_end_of_the_sandbox_is_the_end_of_what_runs(walled: ToolContext) -> None:
    await call(walled, "python", code="x = 1")
    text = await call(walled, "shell_start", command="echo here; sleep 1000")
    job = text.rpartition("[")[2].split()[0]
    await walled.sandbox.close()
    assert "has ended" in await call(walled, "shell_output", job=job, wait=5)
    outcome, _ = await run_tool(TOOLS["python"], walled, '{"code": "x"}')
    assert outcome == "error"


async def test_the_interpreter_is_behind_the_wall(walled: ToolContext, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    text = await call(walled, "python", code=f"import os; os.path.exists({str(tmp_path / 'outside')!r})")
    assert text.endswith("False")
