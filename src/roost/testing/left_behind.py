"""Find what sandboxes left on this machine: processes, mounts, control groups, loop devices, files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

GROUPS = "/sys/fs/cgroup"


def left(base: Path, marker: str) -> list[str]:
    """List the remains of sandboxes with this `marker`, in words for a person. Blocks. `base`: the folder with their
    workspaces and, in `tmp`, their temporary files."""
    found = [f"process {pid}: {what}" for pid, what in processes(base, marker)]
    found += [f"mount: {line}" for line in _lines("/proc/self/mountinfo") if str(base) in line]
    found += [f"control group: {path}" for path in groups(marker)]
    found += [f"loop device: {path}" for path in _loops(base)]
    found += [f"file: {path}" for path in sorted((base / "tmp").iterdir())]
    return found


def processes(base: Path, marker: str) -> Iterator[tuple[int, str]]:
    """Yield processes that were started with the marker, are in a control group of it, name `base`, or see a mount of
    it: every process of a sandbox does one of these, even when it hides. Skips the caller and its ancestors."""
    mine, spaces = _line_of(os.getpid()), dict[str, bool]()
    own = _link("self", "ns/mnt")
    for name in filter(str.isdigit, os.listdir("/proc")):
        if int(name) in mine or _zombie(name):
            continue
        said = _bytes(name, "cmdline").replace(b"\0", b" ").strip()
        space = _link(name, "ns/mnt")
        if space and space != own and space not in spaces:
            spaces[space] = str(base).encode() in _bytes(name, "mountinfo")
        if (
            f"={marker}/".encode() in _bytes(name, "environ")
            or _hash(marker).encode() in _bytes(name, "cgroup")
            or str(base).encode() in said
            or spaces.get(space, False)
        ):
            yield int(name), said[:120].decode("utf-8", "replace") or "(no name)"


def groups(marker: str) -> list[Path]:
    """Return Roost's control groups, and those that a runtime made for the container."""
    wanted = _hash(marker)
    return [Path(place, name) for place, names, _ in os.walk(GROUPS) for name in names if wanted in name]


def _hash(marker: str) -> str:
    return blake2b(marker.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _loops(base: Path) -> Iterator[Path]:
    for file in Path("/sys/block").glob("loop*/loop/backing_file"):
        if any(str(base) in line for line in _lines(str(file))):
            yield file.parents[1]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _bytes(pid: str, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _link(pid: str, name: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/{name}")
    except OSError:
        return ""


def _zombie(pid: str) -> bool:
    """True for a dead process that its parent has not reaped."""
    return _bytes(pid, "stat").rpartition(b")")[2].split()[:1] in ([b"Z"], [b"X"], [])


def _line_of(pid: int) -> set[int]:
    line: set[int] = set()
    while pid > 0 and pid not in line:
        line.add(pid)
        fields = _bytes(str(pid), "stat").rpartition(b")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0
    return line
