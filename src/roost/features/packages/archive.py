"""The files of a package, in memory and as an archive.

An archive comes from strangers. It is read as a whole within bounds before any file is written, and anything that could
land outside its folder, or mean two things on two machines, is refused. All functions block."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from roost.errors import Invalid

MOST_FILES = 2_000
MOST_BYTES = 64 * 1024 * 1024
"""Most bytes of all files of a package, unpacked."""
MOST_PACKED = 32 * 1024 * 1024
"""Most bytes of an archive."""
SKIPPED = (".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv")
_HEADERS = 8 * 1024 * 1024
"""Most bytes that the headers of a tar may add to its files."""
_LONGEST = 512
_DEEPEST = 16
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(1, 10))})


class PackageRefused(Invalid):
    """The package cannot be taken: its archive or its manifest is wrong, or not safe."""

    code = "package_refused"


class PackageFile(NamedTuple):
    """run: it may be executed."""

    data: bytes
    run: bool = False


Files: TypeAlias = Mapping[str, PackageFile]
"""The files of a package by path, with `/`."""


def digest_of(files: Files) -> str:
    """Return the digest (SHA-256, hexadecimal) of all files: their paths, whether they can be executed, their bytes."""
    whole = hashlib.sha256()
    for path in sorted(files):
        one = files[path]
        whole.update(f"{len(path.encode())} {path} {int(one.run)} {hashlib.sha256(one.data).hexdigest()}\n".encode())
    return whole.hexdigest()


def pack(files: Files) -> bytes:
    """Return a `.tar.gz`: the same bytes for the same files."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(files):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(files[path].data), 0o755 if files[path].run else 0o644
            tar.addfile(entry, io.BytesIO(files[path].data))
    return gzip.compress(inner.getvalue(), mtime=0)


def unpack(data: bytes) -> dict[str, PackageFile]:
    """Return the files of a `.tar.gz` or a `.zip`. Raises `PackageRefused`."""
    if len(data) > MOST_PACKED:
        raise PackageRefused(f"the archive has more than {MOST_PACKED >> 20} MiB")
    collected = _Collected()
    try:
        for path, one in _members(data):
            collected.add(path, one)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise PackageRefused(f"the archive cannot be read: {error}") from None
    except (UnicodeError, ValueError, OverflowError) as error:
        raise PackageRefused(f"the archive is damaged: {error}") from None
    return without_folder(collected.files)


def read_folder(root: Path) -> dict[str, PackageFile]:
    """Return the files of a folder, without those of version control and caches. Raises `PackageRefused`, also for a
    link."""
    collected = _Collected()
    for at, folders, names in os.walk(root):
        for name in sorted((*folders, *names)):
            path = Path(at, name)
            if name in SKIPPED:
                continue
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                raise PackageRefused(f"{path.relative_to(root).as_posix()!r} is a link: a package has plain files only")
            if stat.S_ISREG(status.st_mode):
                if status.st_size > MOST_BYTES:
                    raise PackageRefused(f"{name!r} is larger than {MOST_BYTES >> 20} MiB")
                run = bool(status.st_mode & 0o100)
                collected.add(path.relative_to(root).as_posix(), PackageFile(path.read_bytes(), run))
        folders[:] = [name for name in folders if name not in SKIPPED]
    return collected.files


def write_folder(files: Files, root: Path) -> None:
    """Write the files into a new folder, and sync each. Raises `OSError`."""
    for path, one in files.items():
        at = root / path
        at.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = os.open(at, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o755 if one.run else 0o644)
        with os.fdopen(fd, "wb") as file:
            file.write(one.data)
            file.flush()
            os.fsync(fd)


def without_folder(files: dict[str, PackageFile]) -> dict[str, PackageFile]:
    """Return the files without the one folder that holds all of them, as archives of repositories have it."""
    first = {path.split("/", 1)[0] for path in files}
    if len(first) != 1 or any("/" not in path for path in files) or first & {"skills", "agents", "tools"}:
        return files
    return {path.split("/", 1)[1]: one for path, one in files.items()}


class _Collected:
    """Files that were checked one by one, and their sums."""

    def __init__(self) -> None:
        self.files: dict[str, PackageFile] = {}
        self._size = 0
        self._taken: dict[str, str] = {}

    def add(self, path: str, one: PackageFile) -> None:
        """Add a file. Raises `PackageRefused`."""
        path = checked_path(path)
        self._size += len(one.data)
        if len(self.files) >= MOST_FILES or self._size > MOST_BYTES:
            raise PackageRefused(f"a package has at most {MOST_FILES} files and {MOST_BYTES >> 20} MiB")
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            self._take("/".join(parts[:depth]), file=depth == len(parts))
        self.files[path] = one

    def _take(self, path: str, *, file: bool) -> None:
        """Refuse two names that are one on some file system, and a file that is also a folder."""
        key, kind = unicodedata.normalize("NFKC", path).casefold(), "file" if file else "folder"
        known = self._taken.setdefault(key, f"{kind} {path}")
        if known != f"{kind} {path}" or (file and path in self.files):
            raise PackageRefused(f"{path!r} collides with the {known}")


def checked_path(path: str) -> str:
    """Return a relative path without `./`. Raises `PackageRefused` if it could lead elsewhere on any system."""
    while path.startswith("./"):
        path = path[2:]
    parts = path.split("/")
    wrong = (
        not path
        or len(path.encode(errors="replace")) > _LONGEST
        or len(parts) > _DEEPEST
        or not path.isprintable()
        or any(char in path for char in '\\:*?"<>|')
    )
    for part in parts:
        bare = part.split(".", 1)[0].casefold()
        wrong = wrong or part in ("", ".", "..") or part != part.strip() or part.endswith(".") or bare in _RESERVED
        wrong = wrong or part.casefold() == ".git" or len(part.encode(errors="replace")) > 255
    if wrong:
        raise PackageRefused(f"{path[:200]!r} is not a path that a package may have")
    return path


def _members(data: bytes) -> Iterator[tuple[str, PackageFile]]:
    if data.startswith(b"PK"):
        yield from _zip_members(data)
    elif data.startswith(b"\x1f\x8b"):
        yield from _tar_members(_inflated(data))
    else:
        raise PackageRefused("this is neither a .tar.gz nor a .zip")


def _inflated(data: bytes) -> bytes:
    """Decompress within the bounds: a small archive may unpack to any size."""
    most = MOST_BYTES + _HEADERS
    engine, whole, rest = zlib.decompressobj(wbits=31), bytearray(), data
    while rest:
        whole += engine.decompress(rest, most + 1 - len(whole))
        if len(whole) > most:
            raise PackageRefused(f"the archive unpacks to more than {MOST_BYTES >> 20} MiB")
        if not engine.eof:
            if engine.unconsumed_tail:
                rest = engine.unconsumed_tail
                continue
            raise EOFError("it ends early")
        rest = engine.unused_data
        engine = zlib.decompressobj(wbits=31)
        if not rest.startswith(b"\x1f\x8b"):
            break
    return bytes(whole)


def _tar_members(data: bytes) -> Iterator[tuple[str, PackageFile]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        for entry in tar:
            if entry.isdir():
                continue
            if not entry.isreg() or entry.issparse():
                raise PackageRefused(f"{entry.name[:200]!r} is a link or a device: a package has plain files only")
            if entry.size > MOST_BYTES:
                raise PackageRefused(f"{entry.name[:200]!r} is larger than {MOST_BYTES >> 20} MiB")
            opened = tar.extractfile(entry)
            content = b"" if opened is None else opened.read()
            if len(content) != entry.size:
                raise EOFError("it ends early")
            yield entry.name, PackageFile(content, bool(entry.mode & 0o100))


def _zip_members(data: bytes) -> Iterator[tuple[str, PackageFile]]:
    left = MOST_BYTES
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if len(archive.infolist()) > 2 * MOST_FILES:
            raise PackageRefused(f"a package has at most {MOST_FILES} files")
        for entry in archive.infolist():
            mode = entry.external_attr >> 16
            if entry.is_dir():
                continue
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise PackageRefused(f"{entry.filename[:200]!r} is a link or a device: a package has plain files only")
            with archive.open(entry) as opened:
                content = opened.read(left + 1)
            left -= len(content)
            if left < 0:
                raise PackageRefused(f"the archive unpacks to more than {MOST_BYTES >> 20} MiB")
            yield entry.filename, PackageFile(content, bool(mode & 0o100))
