"""Internal endpoints for other nodes. They accept only a node's signature, and are not part of the public API."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from starlette.types import Send

from roost.errors import Busy
from roost.ids import is_id
from roost.kernel.node import Node
from roost.kernel.peers import HEARTBEAT
from roost.operation import GET, POST
from roost.server.app_state import Api
from roost.server.problems import Problem, Refused
from roost.server.responses import Reply, ReplyCall
from roost.server.row_handler import Call, alone
from roost.server.stream import Stream
from roost.workspace.manifest import SnapshotDamaged

RELAYS = 1000
"""Most relays open at once: as many as a node has readers."""
_HEADERS = [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-store")]


class Relay(Stream):
    """Stream the deltas of one session to another node's hub, one per line; an empty line is a sign of life. Ends when
    the session leaves this node."""

    headers = _HEADERS

    def __init__(self, api: Api, session: str) -> None:
        super().__init__(api, session, api.relays)
        self._node: Node = api.runtime.node

    async def pump(self, send: Send) -> Problem | None:
        async with contextlib.aclosing(_lines(self._node, self.session)) as batches:
            async for lines in batches:
                await self.give(send, lines)
        return None

    def last(self, problem: Problem | None) -> bytes:
        return b""


async def _lines(node: Node, session: str) -> AsyncGenerator[bytes]:
    hub, woken = node.hub, asyncio.Event()
    listener = hub.join(session, woken, relays=True)
    try:
        while session in node.slots.live:
            woken.clear()
            pieces = hub.take(session, listener)
            yield b"".join(body + b"\n" for _, body in pieces) or b"\n"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT):
                    await woken.wait()
    finally:
        hub.part(session, listener)


@GET("/internal/sessions/{session}/deltas")
async def deltas(call: Call) -> ReplyCall:
    """Stream the deltas of a session that runs here."""
    if call.session not in call.api.runtime.node.slots.live:
        raise Refused(404, "not_here", f"session {call.session!r} does not run on this node")
    if len(call.api.relays) >= RELAYS:
        raise Busy(f"{RELAYS} relays are open", code="too_many_streams")
    return Relay(call.api, call.session)


@POST("/internal/sessions/{session}/evict")
async def evict(call: Call) -> Reply:
    """Release a session."""
    await call.api.runtime.node.evict(call.session)
    return Reply(204)


@POST("/internal/sessions/{session}/lend/{snapshot}/{fork}")
async def lend(call: Call) -> Reply:
    """Pin a snapshot of a session's files for its fork."""
    given, resources = call.params, call.api.runtime.node.resources
    if not (is_id(call.session) and is_id(given["fork"])):  # both become names of folders
        raise Refused(404, "not_here", "no such session")
    try:
        await asyncio.to_thread(resources.lend, call.session, given["snapshot"], given["fork"])
    except SnapshotDamaged as error:
        raise Refused(404, "not_here", str(error)) from error
    return Reply(204)


ENDPOINTS = [alone(deltas), alone(evict), alone(lend)]
