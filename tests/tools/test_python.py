"""`python`: an interpreter that keeps its state, in a real process."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roost.tools.background_jobs import Jobs
from roost.tools.base import ToolContext
from roost.tools.builtin import builtin_tools
from roost.tools.run_tool import run_tool

TOOL = builtin_tools()["python"]


async def run(ctx: ToolContext, code: str, **more: Any) -> tuple[str, str]:
    outcome, parts = await run_tool(TOOL, ctx, json.dumps({"code": code, **more}))
    return outcome, "".join(part.text for part in parts)  # pyright: ignore


def _alive(pid: int) -> bool:
    """A zombie that nobody has fetched yet is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.fixture
async def warm(ctx: ToolContext) -> ToolContext:
    """With an interpreter that runs."""
    assert (await run(ctx, "import os, sys"))[1] == "[new interpreter: nothing is kept from earlier calls]\n(no output)"
    return ctx


async def test_state_stays(warm: ToolContext) -> None:
    assert await run(warm, "x = 20\ndef double(n):\n    return 2 * n") == ("ok", "(no output)")
    assert await run(warm, "print('hi')\ndouble(x) + 2") == ("ok", "hi\n42")
    assert await run(warm, "_ + 1") == ("ok", "43")
    assert await run(warm, "'ä\\ud800'")  # whatever it is, there is an answer
    assert await run(warm, "") == ("ok", "(no output)")
    assert (await run(warm, "sys.path[0] == os.getcwd()"))[1] == "True"


async def test_errors_are_shown_and_state_stays(warm: ToolContext) -> None:
    outcome, text = await run(warm, "y = 1\ndef f():\n    raise ValueError('boom')\nf()")
    assert outcome == "error"
    assert "ValueError: boom" in text
    assert "line 3, in f" in text
    assert "raise ValueError('boom')" in text
    assert "python_worker" not in text
    outcome, text = await run(warm, "1 +")
    assert (outcome, "SyntaxError" in text) == ("error", True)
    assert "the interpreter goes on" in (await run(warm, "sys.exit(3)"))[1]
    assert "EOFError" in (await run(warm, "input()"))[1]
    assert (await run(warm, "y"))[1] == "1"


async def test_outputs_of_all_kinds_are_caught_and_capped(warm: ToolContext) -> None:
    code = "import subprocess\nprint('a')\nprint('b', file=sys.stderr)\n"
    code += "subprocess.run(['echo', 'c']); os.write(2, b'd\\n')"
    _, text = await run(warm, code)
    assert sorted(text.split()[:4]) == ["a", "b", "c", "d"]
    _, text = await run(warm, "print('x' * 50_000_000)\n'y' * 100_000")
    assert len(text) < 60_000
    assert "bytes cut" in text
    assert "characters cut" in text
    assert await run(warm, "sys.stdout.close()\n1") == ("ok", "1")
    assert await run(warm, "2") == ("ok", "2")


async def test_files_are_named(warm: ToolContext) -> None:
    root = warm.workspace.root
    _, text = await run(warm, "open('made.txt', 'w').write('x'); os.makedirs('sub', exist_ok=True); os.chdir('sub')")
    assert "[files made or changed: made.txt]" in text
    assert (root / "made.txt").read_text() == "x"
    assert (await run(warm, "os.getcwd()"))[1] == repr(str(root))
    (root / "helper.py").write_text("value = 7\n")
    assert (await run(warm, "import helper; helper.value"))[1].startswith("7")


async def test_time_ends_it_and_that_is_said(warm: ToolContext) -> None:
    await run(warm, "x = 1\nimport subprocess; child = subprocess.Popen(['sleep', '1000'])")
    pid = int((await run(warm, "child.pid"))[1])
    outcome, text = await run(warm, "while True: pass", timeout=0.3)
    assert (outcome, "the interpreter was ended" in text) == ("error", True)
    assert not _alive(pid)
    outcome, text = await run(warm, "x")
    assert text.startswith("[new interpreter: nothing is kept from earlier calls]")
    assert "NameError" in text


async def test_restart_and_death(warm: ToolContext) -> None:
    await run(warm, "x = 1")
    _, text = await run(warm, "'x' in globals()", restart=True)
    assert text == "[new interpreter: nothing is kept from earlier calls]\nFalse"
    outcome, text = await run(warm, "import os; os._exit(5)")
    assert (outcome, "exit code 5" in text) == ("error", True)
    outcome, text = await run(warm, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert (outcome, "signal 9" in text) == ("error", True)
    assert (await run(warm, "1"))[1] == "[new interpreter: nothing is kept from earlier calls]\n1"


async def test_a_cancelled_call_leaves_nothing(warm: ToolContext) -> None:
    pid = int((await run(warm, "os.getpid()"))[1])
    code = "open('begun', 'w').write('x')\nwhile True: pass"
    task = asyncio.create_task(run(warm, code))
    async with asyncio.timeout(30):
        while not (warm.workspace.root / "begun").exists():
            await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not os.path.exists(f"/proc/{pid}")


async def test_code_that_speaks_for_the_interpreter_fools_itself_alone(warm: ToolContext) -> None:
    forged = "frames = sys._current_frames().values()\nfor f in frames:\n    while f:\n"
    forged += (
        "        if 'replies' in f.f_locals: r = f.f_locals['replies']; n = f.f_locals['nonce']\n        f = f.f_back\n"
    )
    assert (await run(warm, forged + "r.write((n + 'no json\\n').encode())"))[0] == "error"
    outcome, text = await run(warm, "r.write(b'x' * 3_000_000)")
    assert outcome == "ok" or "more than it may" in text
    assert (await run(warm, "1", restart=True))[1].endswith("1")


async def test_closing_the_session_ends_it(ctx: ToolContext, tmp_path: Path) -> None:
    jobs = Jobs()
    mine = msgspec.structs.replace(ctx, ports={Jobs: jobs})
    pid = int((await run(mine, "import os; os.getpid()"))[1].split()[-1])
    assert await jobs.close() == ["the Python interpreter"]
    assert not os.path.exists(f"/proc/{pid}")
    assert await jobs.close() == []
    bare = msgspec.structs.replace(ctx, ports={})
    assert "use shell" in (await run(bare, "1"))[1]
