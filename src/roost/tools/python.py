"""`python`: run code in an interpreter that keeps its variables between the calls of a session.

The interpreter is a process in the session's sandbox, at any level, and lives until it is restarted or a call times
out. It is suspended with the session where the sandbox keeps memory, and ended otherwise. Its first result after a
start says that the interpreter is new.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from roost.errors import SandboxError
from roost.policy.rules import Touches
from roost.sandbox.backend import Terminal
from roost.tools.background_jobs import Jobs, jobs_of, spawner
from roost.tools.base import ToolContext, ToolResult
from roost.tools.errors import ToolError
from roost.tools.function import tool
from roost.tools.text_limits import clean

_LONGEST = 600
_CODE = 256 * 1024
_REPLY = 1024 * 1024
_KEY = "python"
_NEW = "[new interpreter: nothing is kept from earlier calls]"


class Reply(msgspec.Struct):
    """A reply of `python_worker`. It may be forged, since the code runs in the same process."""

    number: int = 0
    output: str = ""
    result: str | None = None
    error: str | None = None
    files: list[str] = []
    more: int = 0


class Interpreter:
    """One interpreter process. Calls run one after the other. `calls`: number of earlier calls."""

    name = "the Python interpreter"

    def __init__(self, terminal: Terminal, nonce: str, *, calls: int = 0) -> None:
        self.terminal, self.nonce, self.calls = terminal, nonce, calls
        self._pieces: AsyncIterator[bytes] = terminal.read()
        self._rest = b""
        self.running = True

    async def run(self, code: str) -> Reply | None:
        """Run code. Returns None when the process has ended."""
        self.calls += 1
        await self.terminal.write(json.dumps({"code": code}).encode() + b"\n")
        while True:
            while b"\n" in self._rest:
                line, _, self._rest = self._rest.partition(b"\n")
                _, found, reply = line.rpartition(self.nonce.encode())
                if found and (said := _decoded(reply)).number in (0, self.calls):
                    return said
            piece = await anext(self._pieces, None)
            if piece is None or len(self._rest) > _REPLY:
                self.running = False
                return None
            self._rest += piece

    async def ending(self) -> str:
        """Describe how the process ended."""
        if len(self._rest) > _REPLY:
            return "it sent more than it may"
        try:
            code = await self.terminal.wait()
        except SandboxError:
            return "with its sandbox"
        return f"exit code {code}" if code >= 0 else f"killed by signal {-code}, perhaps for its memory"

    async def close(self) -> None:
        self.running = False
        await self.terminal.close()


def _decoded(line: bytes) -> Reply:
    try:
        return msgspec.json.decode(line, type=Reply)
    except msgspec.MsgspecError:
        return Reply(error="the interpreter's answer cannot be read")


def _reach(arguments: Mapping[str, Any], root: Path) -> Touches:
    return Touches(unknown=True, outside=True)


@tool(safety="high_risk", replay="never", timeout=_LONGEST + 30, reach=_reach)
async def python(
    code: Annotated[
        str, msgspec.Meta(max_length=_CODE, description="Python code; the value of a last expression is shown")
    ],
    ctx: ToolContext,
    timeout: Annotated[float, msgspec.Meta(gt=0, le=_LONGEST, description="seconds until it is stopped")] = 60,
    restart: Annotated[bool, "begin with a new interpreter"] = False,
) -> ToolResult:
    """Run Python code in the workspace folder. Variables and imports stay for later calls, until a first line
    `[new interpreter: ...]` says that they are gone. Figures of matplotlib are saved as files."""
    jobs = jobs_of(ctx)
    if restart:
        await _end(jobs)
    interpreter = jobs.kept.get(_KEY)
    fresh = not isinstance(interpreter, Interpreter) or not interpreter.running
    if not isinstance(interpreter, Interpreter) or not interpreter.running:
        interpreter = jobs.kept[_KEY] = await _start(ctx)
    notes = [_NEW] if fresh else []
    try:
        async with asyncio.timeout(timeout):
            reply = await interpreter.run(clean(code))
    except TimeoutError:
        await _end(jobs)
        return ToolResult.of(
            f"[stopped after {timeout:g} seconds; the interpreter was ended, and its variables with it]", error=True
        )
    except asyncio.CancelledError:
        await asyncio.shield(_end(jobs))
        raise
    if reply is None:
        await _end(jobs)
        raise ToolError(
            f"the interpreter ended ({await interpreter.ending()}); its variables are gone, the next call starts anew"
        )
    return ToolResult.of("\n".join([*notes, *_report(reply)]), error=reply.error is not None)


def _report(reply: Reply) -> list[str]:
    parts = [reply.output.rstrip("\n"), reply.result or "", (reply.error or "").rstrip("\n")]
    if reply.files:
        more = f" and {reply.more - len(reply.files)} more" if reply.more > len(reply.files) else ""
        parts.append(f"[files made or changed: {', '.join(reply.files)}{more}]")
    return [part for part in parts if part] or ["(no output)"]


async def _start(ctx: ToolContext) -> Interpreter:
    nonce = f"\1{secrets.token_hex(8)} "
    worker = str(Path(__file__).with_name("python_worker.py"))
    argv = [sys.executable, "-I", "-X", "utf8", worker, nonce]
    return Interpreter(await spawner(ctx.sandbox).spawn(argv, cwd=str(ctx.workspace.root)), nonce)


async def _end(jobs: Jobs) -> None:
    interpreter = jobs.kept.pop(_KEY, None)
    if interpreter is not None:
        await interpreter.close()
