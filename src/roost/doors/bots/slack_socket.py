"""Slack's socket mode: envelopes over a WebSocket, for daemons without a public address.

An envelope is acknowledged once `take` has returned. Slack sends again what was not acknowledged, perhaps over another
connection. Before it closes a connection it says so; the next one is opened then, while the old one is still read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from roost.doors.bots.platform import Heard, Refused, Take, Unauthorized
from roost.doors.bots.socket_link import Closed, Link, connect

log = logging.getLogger("roost.bots")


class _Envelope(msgspec.Struct):
    type: str
    envelope_id: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"{}")
    accepts_response_payload: bool = False
    reason: str = ""


_envelope = msgspec.json.Decoder(_Envelope)


class SocketMode:
    """Takes in what one app is sent. ask: returns the address of a new connection. read: returns what a payload of a
    kind says."""

    def __init__(self, ask: Callable[[], Awaitable[str]], read: Callable[[str, bytes], Heard], take: Take) -> None:
        self._ask, self._read, self._take = ask, read, take
        self._turn = asyncio.Lock()
        self._serving: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Take in envelopes, for ever. Raises `Failed`."""
        try:
            while True:
                await self._until_replaced(await connect(await self._ask()))
        finally:
            serving = [*self._serving]
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)

    async def _until_replaced(self, link: Link) -> None:
        """Serve a connection until another one is needed beside it."""
        leaving = asyncio.Event()
        serving = asyncio.create_task(self._serve(link, leaving))
        self._serving.add(serving)
        told = asyncio.create_task(leaving.wait())
        try:
            await asyncio.wait((serving, told), return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
        if serving.done():
            self._serving.discard(serving)
            serving.result()
        else:
            serving.add_done_callback(self._serving.discard)

    async def _serve(self, link: Link, leaving: asyncio.Event) -> None:
        try:
            while True:
                try:
                    found = _envelope.decode(await link.receive())
                except msgspec.MsgspecError as error:
                    log.error("an envelope of Slack is passed over, which is no JSON: %s", error)
                    continue
                if found.type == "disconnect":
                    if found.reason == "link_disabled":
                        raise Unauthorized("Slack: socket mode is turned off for this app")
                    leaving.set()
                elif found.envelope_id:
                    async with self._turn:
                        await self._handle(link, found)
        except Closed:
            if not leaving.is_set():
                raise
        finally:
            await link.close()

    async def _handle(self, link: Link, found: _Envelope) -> None:
        try:
            heard = self._read(found.type, bytes(found.payload))
        except (Refused, ValueError, LookupError) as error:  # acknowledged too: it would come again for ever
            log.warning("an envelope of Slack is not understood: %s", error)
            heard = Heard(())
        for one in heard.inbound:
            await self._take(one)
        answer = {"envelope_id": found.envelope_id}
        shown = {"payload": dict(heard.reply)} if found.accepts_response_payload and "text" in heard.reply else {}
        await link.send(answer | shown)
