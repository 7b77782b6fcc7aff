"""What a machine of our own starts from: a kernel of this machine, the few modules that it needs, and a first program
that mounts what a sandbox sees (`mounts.py`) and becomes the agent. Nothing is downloaded and no disk image is made:
programs and the workspace come through 9p, small files of `/etc` in the initial memory disk."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from roost.sandbox import mounts

_WANTED = ("virtio_mmio", "virtio_console", "9pnet_virtio", "9p")
_SMALL = 4 * 1024**2
"""Bytes of files that are copied into the machine."""
_BUSYBOX = ("/bin/busybox", "/usr/bin/busybox")
_GUEST = Path(__file__).with_name("guest")
_INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
$b mkdir -p /dev/pts /dev/shm; $b mount -t devpts -o ptmxmode=0666 devpts /dev/pts
while read m; do $b insmod /modules/$m; done < /modules/order
$b mount -t tmpfs -o mode=755,size=16m root /root
. /setup
$b ifconfig lo up
$b mount -t cgroup2 none /sys/fs/cgroup
echo +pids > /sys/fs/cgroup/cgroup.subtree_control; $b mkdir /sys/fs/cgroup/box
echo $pids > /sys/fs/cgroup/box/pids.max; echo $$ > /sys/fs/cgroup/box/cgroup.procs
for d in proc dev; do $b mkdir -p /root/$d; $b mount --move /$d /root/$d; done
while ! [ -e /root/dev/vport0p1 ]; do $b sleep 0.02; done
cd /root
exec $b switch_root /root /bin/sh /run/roost/start
"""


class Missing(Exception):
    """Something that this machine lacks. `fix` is the command that would help."""

    def __init__(self, why: str, fix: str) -> None:
        super().__init__(why)
        self.fix = fix


class Kernel(NamedTuple):
    image: Path
    modules: tuple[Path, ...]
    """In the order in which they are to be loaded."""
    busybox: Path


class Share(NamedTuple):
    """A folder of this machine, seen at the same place or another; `tag` is its name for 9p."""

    tag: str
    source: str
    writable: bool


def find_kernel(root: Path) -> Kernel:
    """Below `root`, laid out as a distribution does: `boot/vmlinuz-V`, `lib/modules/V`. Blocks. Raises `Missing`."""
    busybox = next((Path(each) for each in _BUSYBOX if _is_static(Path(each))), None)
    if busybox is None:
        raise Missing("there is no static busybox", "apt-get install busybox-static")
    lacking = "there is no kernel in /boot that can be read, with modules"
    for image in sorted((root / "boot").glob("vmlinuz-*"), reverse=True):
        modules = root / "lib" / "modules" / image.name.removeprefix("vmlinuz-")
        if not modules.is_dir() or not os.access(image, os.R_OK):
            continue
        try:
            return Kernel(image, tuple(_in_order(modules)), busybox)
        except KeyError as error:
            lacking = f"{image} has no module {error.args[0]}"
    raise Missing(lacking, "apt-get install linux-image-amd64 (its cloud variant has no 9p), readable for the daemon")


def memory_disk(kernel: Kernel, view: Sequence[str], *, pids: int, scratch: int) -> tuple[bytes, list[Share]]:
    """The initial memory disk, as a cpio archive (`newc`), and the folders that are to be shared. Blocks. Raises
    `OSError`, `ValueError` when too much would have to be copied."""
    shares: list[Share] = []
    steps = [f"$b mkdir -p /root/tmp; $b mount -t tmpfs -o mode=1777,size={scratch} tmp /root/tmp"]
    steps += [f"$b mount -t tmpfs -o mode=1777,size={scratch} shm /dev/shm"]
    files: list[tuple[str, int, bytes]] = []
    room = _SMALL
    for word, source, target in _words(view):
        place = shlex.quote(f"/root{target}")
        if word == "--symlink":
            steps.append(f"$b mkdir -p $($b dirname {place}); $b ln -s {shlex.quote(source)} {place}")
        elif word == "--tmpfs":
            steps.append(f"$b mkdir -p {place}; $b mount -t tmpfs -o mode=0500,size=4096 none {place}")
        elif target.startswith("/etc/") or not os.path.isdir(source):
            for entry in _copied(source, f"copy{target}"):
                files.append(entry)
                room -= len(entry[2])
            if room < 0:
                raise ValueError(f"{source} is too large to be copied into a machine; give a folder")
        else:
            share = Share(f"s{len(shares)}", source, word == "--bind")
            shares.append(share)
            how = "rw,cache=none" if share.writable else "ro,cache=loose"
            options = f"trans=virtio,version=9p2000.L,msize=262144,{how}"
            steps.append(f"$b mkdir -p {place}; $b mount -t 9p -o {options} {share.tag} {place}")
    steps += ["$b cp -a /copy/. /root/", f"pids={pids}"]
    files.append((f"copy{mounts.AGENT}/start", 0o100444, _start().encode()))
    files += [(f"copy{mounts.AGENT}/{path.name}", 0o100444, path.read_bytes()) for path in _GUEST.glob("*.py")]
    files.append(("setup", 0o100644, "\n".join([*steps, ""]).encode()))
    return _archive([*_base(kernel), *files]), shares


def _start() -> str:
    """Without any capability, which even the first user of the machine does not need."""
    bare = ["/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    agent = ["-I", "-S", "-X", "utf8", f"{mounts.AGENT}/agent.py", json.dumps({"link": "/dev/vport0p1"})]
    return f"exec {shlex.join([*bare, os.path.realpath(sys.executable), *agent])}\n"


def _base(kernel: Kernel) -> Iterator[tuple[str, int, bytes]]:
    for name in ("bin", "proc", "sys", "dev", "root", "modules", "copy"):
        yield name, 0o40755, b""
    yield "init", 0o100755, _INIT.encode()
    yield "bin/busybox", 0o100755, kernel.busybox.read_bytes()
    for module in kernel.modules:
        yield f"modules/{module.name}", 0o100644, module.read_bytes()
    yield "modules/order", 0o100644, "".join(f"{module.name}\n" for module in kernel.modules).encode()


def _words(view: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    words = iter(view)
    for word in words:
        first = next(words)
        if word in ("--symlink", "--bind", "--ro-bind", "--ro-bind-try"):
            target = next(words)
            if not target.startswith("/proc/") and (word != "--ro-bind-try" or os.path.exists(first)):
                yield word, first, target
        elif word == "--tmpfs":
            yield word, "", first


def _copied(source: str, target: str) -> Iterator[tuple[str, int, bytes]]:
    """As they are, links too; of what cannot be read, nothing."""
    status = os.stat(source)
    if not stat.S_ISDIR(status.st_mode):
        yield target, 0o100444, Path(source).read_bytes()
        return
    yield target, 0o40755, b""
    with os.scandir(source) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            inner = f"{target}/{entry.name}"
            if entry.is_symlink():
                yield inner, 0o120777, os.fsencode(os.readlink(entry.path))
            elif entry.is_dir() or entry.is_file():
                yield from _copied(entry.path, inner)


def _archive(entries: Sequence[tuple[str, int, bytes]]) -> bytes:
    made, known = bytearray(), {""}
    for number, (name, mode, data) in enumerate([*_with_parents(entries, known), ("TRAILER!!!", 0, b"")], 1):
        path = os.fsencode(name) + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
        made += b"070701" + b"".join(b"%08x" % field for field in fields) + path
        made += b"\0" * (-len(made) % 4) + data
        made += b"\0" * (-len(made) % 4)
    return bytes(made)


def _with_parents(entries: Sequence[tuple[str, int, bytes]], known: set[str]) -> Iterator[tuple[str, int, bytes]]:
    for name, mode, data in entries:
        parts = name.split("/")
        for parent in ("/".join(parts[:depth]) for depth in range(1, len(parts))):
            if parent not in known:
                known.add(parent)
                yield parent, 0o40755, b""
        if not (stat.S_ISDIR(mode) and name in known):
            known.add(name)
            yield name, mode, data


def _in_order(folder: Path) -> list[Path]:
    """The wanted modules after those that they need, as each says in its own `.modinfo`. Raises `KeyError`."""
    there = {path.name.removesuffix(".ko").replace("-", "_"): path for path in folder.rglob("*.ko")}
    built_in = (folder / "modules.builtin").read_text() if (folder / "modules.builtin").exists() else ""
    found: dict[str, Path] = {}

    def add(name: str) -> None:
        if name not in there and f"/{name}.ko" in built_in.replace("-", "_"):
            return
        said = re.search(rb"\0depends=([^\0]*)\0", there[name].read_bytes())
        for need in said[1].decode().replace("-", "_").split(",") if said and said[1] else ():
            add(need)
        found.setdefault(name, there[name])

    for name in _WANTED:
        add(name)
    return list(found.values())


def _is_static(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return head.startswith(b"\x7fELF") and b"/ld-" not in head
