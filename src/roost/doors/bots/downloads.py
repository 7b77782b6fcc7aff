"""Fetch a file from a platform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from roost.doors.bots.platform import Failed, Refused

if TYPE_CHECKING:
    import aiohttp

_CHUNK = 64 * 1024


async def download(
    client: aiohttp.ClientSession, url: str, most: int, headers: Mapping[str, str] | None = None
) -> bytes:
    """Return a file of at most `most` bytes; follows no redirect. Raises `Failed`, `Refused`."""
    from aiohttp import ClientError

    data = bytearray()
    try:
        async with client.get(url, headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                raise Refused(f"a file: HTTP {response.status}")
            async for chunk in response.content.iter_chunked(_CHUNK):
                data += chunk
                if len(data) > most:
                    raise Refused(f"a file of more than {most} bytes")
    except (ClientError, TimeoutError, OSError, ValueError) as error:
        raise Failed(f"a file: {type(error).__name__}") from None
    return bytes(data)
