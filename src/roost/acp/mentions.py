"""Read the files that a prompt mentions from the editor, which may have changes that are not saved."""

from __future__ import annotations

import asyncio
import logging
from urllib.parse import unquote, urlsplit

import msgspec

from roost.acp.abilities import Abilities
from roost.acp.json_rpc import Peer, RpcError
from roost.acp.shapes import Block, Contents, LinkBlock, ResourceBlock

_MOST = 256 * 1024
"""Most characters of a file that become a part of the message; of a longer one only its link does."""
_SECONDS = 10.0
_log = logging.getLogger(__name__)


class _Read(msgspec.Struct):
    content: str


class Mentions:
    """Reads mentioned files, if the editor offers to."""

    def __init__(self, peer: Peer, abilities: Abilities) -> None:
        self._peer, self._abilities = peer, abilities

    async def read(self, session: str, block: Block) -> Block:
        """Return a link to a file as its content in the editor, and every other block as it is."""
        if not self._abilities.reads or not isinstance(block, LinkBlock) or not block.uri.startswith("file://"):
            return block
        try:
            place = urlsplit(block.uri)
            async with asyncio.timeout(_SECONDS):
                given = await self._peer.request(
                    "fs/read_text_file", {"sessionId": session, "path": unquote(place.path)}
                )
            content = msgspec.convert(given, _Read).content
        except (RpcError, TimeoutError, ValueError) as error:
            _log.info("the editor does not read %s: %s", block.uri, error)
            return block
        return block if len(content) > _MOST else ResourceBlock(Contents(block.uri, content))
