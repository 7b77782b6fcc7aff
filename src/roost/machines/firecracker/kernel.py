"""Unpack a kernel for Firecracker: the ELF file that a distribution's `vmlinuz` carries compressed.

Its position is documented in Linux's `Documentation/arch/x86/boot.rst`: `setup_sects`, `payload_offset`,
`payload_length`.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import os
import shutil
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import Protocol

from roost.machines.boot_image import Missing

_MAGIC, _SECTORS, _PAYLOAD = 0x202, 0x1F1, 0x248
_SECONDS = 60
_FAULTS = (struct.error, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, subprocess.SubprocessError)


class _Unpacking(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def unpacked(image: Path) -> Path:
    """Return the ELF file, made once per user and cached. Blocks, for a second the first time. Raises `OSError`, and
    `Missing` for an image that cannot be unpacked."""
    status = image.stat()
    place = _folder() / f"{image.name}-{status.st_size}-{status.st_mtime_ns}"
    if not place.exists():
        data = vmlinux(image.read_bytes())
        place.parent.mkdir(parents=True, exist_ok=True)
        fd, part = tempfile.mkstemp(prefix=".part-", dir=place.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
            os.chmod(part, 0o444)
            os.rename(part, place)
        except BaseException:
            os.unlink(part)
            raise
        _forget(image.name, place)
    return place


def vmlinux(image: bytes) -> bytes:
    """Extract the ELF file from an image. Raises `Missing`."""
    if image.startswith(b"\x7fELF"):
        return image
    if image[_MAGIC : _MAGIC + 4] != b"HdrS":
        raise Missing("the kernel is no image for x86-64", "apt-get install linux-image-amd64")
    try:
        offset, length = struct.unpack_from("<II", image, _PAYLOAD)
        start = (image[_SECTORS] + 1) * 512 + offset
        data = _expanded(image[start : start + length])
    except (
        struct.error,
        zlib.error,
        lzma.LZMAError,
        OSError,
        EOFError,
        ValueError,
        subprocess.SubprocessError,
    ) as error:
        raise Missing(
            f"the kernel cannot be unpacked: {error}", "apt-get install --reinstall linux-image-amd64"
        ) from error
    if not data.startswith(b"\x7fELF"):
        raise Missing("the kernel's image carries no ELF file", "apt-get install linux-image-amd64")
    return data


def _expanded(data: bytes) -> bytes:
    if data.startswith(b"\x1f\x8b"):
        return _whole(zlib.decompressobj(31), data)
    if data.startswith(b"\xfd7zXZ"):
        return _whole(lzma.LZMADecompressor(lzma.FORMAT_XZ), data)
    if data.startswith(b"\x5d\x00\x00"):
        return _whole(lzma.LZMADecompressor(lzma.FORMAT_ALONE), data)
    if data.startswith(b"BZh"):
        return _whole(bz2.BZ2Decompressor(), data)
    rest = data[:-4]  # the build appends the size
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstd(rest)
    if data.startswith(b"\x02\x21\x4c\x18"):
        return _by_program("lz4", rest)
    raise ValueError(f"packed in an unknown way, {data[:6].hex()}")


def _whole(unpacking: _Unpacking, data: bytes) -> bytes:
    """Decompress a complete stream; data after its end is ignored."""
    found = unpacking.decompress(data)
    if not unpacking.eof:
        raise EOFError("it is cut off")
    return found


def _zstd(data: bytes) -> bytes:
    try:
        module = importlib.import_module("compression.zstd")  # since Python 3.14
    except ModuleNotFoundError:
        return _by_program("zstd", data)
    return bytes(module.decompress(data))


def _by_program(name: str, data: bytes) -> bytes:
    program = shutil.which(name)
    if program is None:
        raise Missing(f"this machine's kernel is packed by {name}, which is not there", f"apt-get install {name}")
    done = subprocess.run([program, "-dc"], input=data, capture_output=True, check=False, timeout=_SECONDS)
    if done.returncode != 0:
        raise ValueError(done.stderr.decode("utf-8", "replace").strip()[-200:])
    return done.stdout


def _folder() -> Path:
    if own := os.environ.get("ROOST_CACHE"):
        return Path(own) / "kernels"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roost" / "kernels"


def _forget(name: str, kept: Path) -> None:
    """Remove cached kernels from before an update."""
    for place in kept.parent.glob(f"{name}-*"):
        if place != kept:
            place.unlink(missing_ok=True)
