"""The files of the page: read once, compressed once, named by a digest of all of them.

There is no build step: `static/` has what browsers get. A file's address has the digest of all files, so a browser
keeps it for ever, and asks only for the page itself again."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "static"
PAGE = "index.html"
_KINDS = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".txt": b"text/plain; charset=utf-8",
}
"""The files that are served. Others, such as licences, only lie beside them."""


class Asset(NamedTuple):
    """A file. packed: compressed by gzip. tag: its `ETag`."""

    kind: bytes
    body: bytes
    packed: bytes
    tag: bytes


class Assets(NamedTuple):
    """The page, its files by path, and the digest in their addresses."""

    page: Asset
    files: dict[str, Asset]
    digest: str


def read_assets(folder: Path = FOLDER) -> Assets:
    """Read and compress all files; takes some tens of milliseconds. The page names the others by `{{files}}` and lists
    the modules that every view needs by `{{modules}}`, so that a browser asks for all of them at once."""
    bodies = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in _KINDS and path.is_file()
    }
    whole = hashlib.sha256()
    for name, body in bodies.items():
        whole.update(b"%b %d\n%b" % (name.encode(), len(body), body))
    digest = whole.hexdigest()[:16]
    place = f"console/files/{digest}"
    modules = [name for name in bodies if name.endswith(".js") and "/" not in name]
    links = "\n".join(f'<link rel="modulepreload" href="{place}/{name}">' for name in modules)
    page = bodies.pop(PAGE).decode().replace("{{files}}", place).replace("{{modules}}", links).encode()
    return Assets(_asset(PAGE, page), {name: _asset(name, body) for name, body in bodies.items()}, digest)


def _asset(name: str, body: bytes) -> Asset:
    tag = b'"%b"' % hashlib.sha256(body).hexdigest()[:16].encode()
    return Asset(_KINDS[Path(name).suffix], body, gzip.compress(body, 9, mtime=0), tag)
