"""A command in the editor's terminal, where the person sees it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from roost.acp.editor_files import Outcome
from roost.acp.json_rpc import Peer, RpcError
from roost.features.editor.events import EditorAsked
from roost.log.content import Text
from roost.tools.text_limits import capped

NAME = "editor_terminal"
_BYTES = 48 * 1024
_SPARE = 30.0
"""Seconds before the call is late in which a command that takes too long is ended."""


class _Made(msgspec.Struct, rename="camel"):
    terminal_id: str


class _Exit(msgspec.Struct, rename="camel"):
    exit_code: int | None = None
    signal: str | None = None


class _Output(msgspec.Struct, rename="camel"):
    output: str = ""
    truncated: bool = False
    exit_status: _Exit | None = None


class _Arguments(msgspec.Struct):
    command: str


async def run(
    peer: Peer,
    session: str,
    folder: str,
    asked: EditorAsked,
    seconds: float,
    show: Callable[[str, dict[str, Any]], Awaitable[None]],
) -> Outcome:
    """Run a command. seconds: in which the outcome is due. show: gets the call, and what the editor shows of it. Raises
    `RpcError`."""
    command = msgspec.json.decode(asked.arguments, type=_Arguments).command
    request: dict[str, Any] = {"sessionId": session, "command": "sh", "args": ["-c", command], "cwd": folder}
    made = await peer.request("terminal/create", {**request, "outputByteLimit": _BYTES})
    terminal = {"sessionId": session, "terminalId": msgspec.convert(made, _Made).terminal_id}
    try:
        await show(asked.call, {"type": "terminal", "terminalId": terminal["terminalId"]})
        late = False
        try:
            async with asyncio.timeout(max(seconds - _SPARE, 1.0)):
                await peer.request("terminal/wait_for_exit", terminal)
        except TimeoutError:
            late = True
            await peer.request("terminal/kill", terminal)
        return _outcome(msgspec.convert(await peer.request("terminal/output", terminal), _Output), late=late)
    except asyncio.CancelledError:
        with contextlib.suppress(RpcError, OSError):  # the turn was cancelled: the command must not go on
            await asyncio.shield(peer.request("terminal/kill", terminal))
        raise
    finally:
        with contextlib.suppress(RpcError, OSError):
            await peer.request("terminal/release", terminal)


def _outcome(found: _Output, *, late: bool) -> Outcome:
    status = found.exit_status or _Exit()
    rows = [found.output.rstrip()] if found.output.strip() else []
    if found.truncated:
        rows.insert(0, "[the beginning was cut]")
    if late:
        rows.append("[it took too long and was ended]")
    elif status.signal is not None:
        rows.append(f"[ended by the signal {status.signal}]")
    elif status.exit_code:
        rows.append(f"[exit status {status.exit_code}]")
    failed = late or status.signal is not None or bool(status.exit_code)
    return Outcome((Text(capped("\n".join(rows) or "(no output)")),), error=failed, exit=status.exit_code)
