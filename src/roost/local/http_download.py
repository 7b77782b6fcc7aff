"""Fetch a file from its publisher by HTTPS, going on where an earlier attempt stopped."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from roost.local.cache import Progress, Report, need_space

_TIMEOUT = 8.0
_BLOCK = 1024 * 1024


class HubFailed(Exception):
    """The hub did not give the whole file. What came is kept in the partial file."""


def fetch(url: str, partial: Path, *, size: int, report: Report) -> None:
    """Fill `partial` up to `size` bytes. Raises `HubFailed`; `WeightsError` or `OSError` when the disk refuses."""
    start = partial.stat().st_size if partial.exists() else 0
    if start > size:
        partial.unlink()
        start = 0
    need_space(partial.parent, size - start)
    if start == size:
        return
    headers = {"User-Agent": "roost", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT) as response:
            if response.status != 206:
                start = 0
            _copy(response, partial, start=start, size=size, report=report)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise HubFailed(str(error) or type(error).__name__) from error


def _copy(response: http.client.HTTPResponse, partial: Path, *, start: int, size: int, report: Report) -> None:
    done = start
    with partial.open("ab" if start else "wb") as file:
        while done < size and (block := response.read1(_BLOCK)):
            done += file.write(block[: size - done])
            report(Progress("hub", done, size))
        file.flush()
        os.fsync(file.fileno())
    if done < size:
        raise HubFailed(f"the connection ended after {done} of {size} bytes")
