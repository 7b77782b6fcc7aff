"""Read the document of an API from a file or a URL."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urldefrag, urljoin

from roost.features.openapi.document import DOCUMENT_CAP, BadDocument
from roost.tools.checked_http import ask, judged, parts_of, place_of
from roost.tools.errors import ToolError

_HOPS = 5
_SECONDS = 60.0
_ACCEPT = "application/vnd.oai.openapi+json, application/json, application/yaml, */*;q=0.5"


def is_url(spec: str) -> bool:
    return spec.lower().startswith(("http://", "https://"))


async def read_source(spec: str, *, private: Collection[str] = ()) -> bytes:
    """Read a document from a file, or from a URL, whose host must be public unless `private` names it. Raises
    `BadDocument`."""
    if is_url(spec):
        try:
            return await _fetched(urldefrag(spec)[0], private)
        except ToolError as error:
            raise BadDocument(str(error)) from None
    return await asyncio.to_thread(_read, Path(spec.removeprefix("file://")).expanduser())


def digest_of_document(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


async def _fetched(url: str, private: Collection[str]) -> bytes:
    for _ in range(_HOPS + 1):
        addresses = await judged(*place_of(parts_of(url)), allowed=private)
        answer = await ask("GET", url, addresses, cap=DOCUMENT_CAP, headers={"Accept": _ACCEPT}, seconds=_SECONDS)
        target = answer.headers.get("location")
        if answer.status in (301, 302, 303, 307, 308) and target:
            following = urldefrag(urljoin(url, target))[0]
            if url.lower().startswith("https:") and parts_of(following).scheme != "https":
                raise ToolError(f"{url.partition('?')[0]} leads to an address without TLS")
            url = following
            continue
        if answer.status != 200:
            raise ToolError(f"{url.partition('?')[0]} answered {answer.status} {answer.reason}".rstrip())
        if answer.cut:
            raise ToolError(f"it has more than {DOCUMENT_CAP // 1024**2} MB")
        return answer.body
    raise ToolError(f"more than {_HOPS} redirects")


def _read(path: Path) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise BadDocument(f"{str(path)!r} is not a file")
            data = file.read(DOCUMENT_CAP + 1)
    except OSError as error:
        raise BadDocument(f"{str(path)!r} cannot be read: {error.strerror}") from None
    if len(data) > DOCUMENT_CAP:
        raise BadDocument(f"it has more than {DOCUMENT_CAP // 1024**2} MB")
    return data
