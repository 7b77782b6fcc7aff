"""Build the boot image of a machine: a kernel of this machine, the few modules that it needs, and a first program that
mounts the sandbox's view (`file_export.py`) and becomes the agent. Nothing is downloaded and no disk image is made:
programs and the workspace come over the carrier, and the initial memory disk holds only what is needed to mount them.

The first program stays root, and is the only one: the agent and its commands are user 1000 without any capability, in
their own PID namespace, where they do not see the processes that carry their files.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from roost.sandbox import mounts
from roost.sandbox.guest.relay import OVER_THE_LINK

_FILES = ("9pnet_fd", "9p")
_WITHIN = {"9pnet_fd": "9pnet"}
"""Modules that were part of another one in some kernels: before Linux 5.17 `9pnet_fd` was part of `9pnet`."""
_BUSYBOX = ("/bin/busybox", "/usr/bin/busybox")
_OWN_PIDS = 3
LINK, ROOT, WORKSPACE, CLOCK = 1, 2, 3, 4
"""Numbers of the streams into a machine: the agent's link; the two of `file_export.py`; the clock. A line with seconds
since 1970 on the last one sets the machine's clock and makes it drop its caches."""
_INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
$b mkdir -p /dev/pts /dev/shm; $b mount -t devpts -o ptmxmode=0666 devpts /dev/pts
$b ln -s /proc/self/fd /dev/fd; for n in 0:stdin 1:stdout 2:stderr; do $b ln -s fd/${n%:*} /dev/${n#*:}; done
while read m; do $b insmod /modules/$m; done < /modules/order
$b ifconfig lo up; $b hostname sandbox
files() {
  carry $1 $b mount -t 9p -o trans=fd,rfdno=3,wfdno=4,version=9p2000.L,msize=131072,access=any,$2 files "$3"
}
. /carrier
. /setup
$b mount -t cgroup2 none /sys/fs/cgroup
echo +pids > /sys/fs/cgroup/cgroup.subtree_control; $b mkdir /sys/fs/cgroup/box
echo $pids > /sys/fs/cgroup/box/pids.max; echo $$ > /sys/fs/cgroup/box/cgroup.procs
for d in proc dev; do $b mount --move /$d /root/$d; done
cd /root
exec $around $b switch_root /root /bin/sh -c "$start"
"""
_START = """
while read -r now; do /usr/bin/date -s "@$now"; echo 3 > /proc/sys/vm/drop_caches; done <&6 >/dev/null 2>&1 5<&- &
exec /usr/bin/unshare --pid --fork --mount-proc"""
PORTS = """
carry() {
  number=$1; shift
  open $number 7
  $b mkfifo /in$number /out$number
  $b cat <&7 >/in$number & $b cat </out$number >&7 &
  exec 7<&-
  "$@" 3</in$number 4>/out$number
}
open() {
  while ! [ -e /dev/vport0p$1 ]; do $b sleep 0.02; done
  eval "exec $2<>/dev/vport0p$1"
}
"""
"""A carrier: shell functions that open streams. `carry N COMMAND...` runs a command with the stream N as descriptor 3
to read and 4 to write, which the kernel's own 9p client can use. `open N FD` opens a stream as one descriptor for
programs, or leaves that to `around`, a prefix of the last command. This carrier is for ports of virtio-serial. A kernel
cannot read those itself (they have no `read_iter`), so two programs copy the bytes."""
SERIAL = ("virtio_mmio", "virtio_console")


class Missing(Exception):
    """This machine lacks something. `fix`: the command that would help."""

    def __init__(self, why: str, fix: str) -> None:
        super().__init__(why)
        self.fix = fix


class Kernel(NamedTuple):
    image: Path
    modules: tuple[Path, ...]
    """In loading order."""
    busybox: Path


class Inside(NamedTuple):
    """The content of a machine. `view`: bwrap's arguments, as for `file_export.py`. `pids`: most processes of commands.
    `scratch`: bytes in `/tmp`."""

    view: Sequence[str]
    workspace: Path
    pids: int
    scratch: int
    carrier: str = PORTS
    programs: Mapping[str, bytes] = {}
    """Programs of the carrier, for `/bin`."""
    hosts: bool = False
    """True when there is egress, over the agent's link."""


def find_kernel(root: Path, carrier: Sequence[str] = SERIAL) -> Kernel:
    """Find a kernel below `root`, laid out as in a distribution: `boot/vmlinuz-V`, `lib/modules/V`. `carrier`: modules
    that the carrier needs. Blocks. Raises `Missing`."""
    busybox = next((Path(each) for each in _BUSYBOX if _is_static(Path(each))), None)
    if busybox is None:
        raise Missing("there is no static busybox", "apt-get install busybox-static")
    lacking = "there is no kernel in /boot that can be read, with modules"
    for image in sorted((root / "boot").glob("vmlinuz-*"), reverse=True):
        modules = root / "lib" / "modules" / image.name.removeprefix("vmlinuz-")
        if not modules.is_dir() or not os.access(image, os.R_OK):
            continue
        try:
            return Kernel(image, tuple(_in_order(modules, (*carrier, *_FILES))), busybox)
        except KeyError as error:
            lacking = f"{image} has no module {error.args[0]}"
    raise Missing(lacking, "apt-get install linux-image-amd64 (its cloud variant has no 9p), readable for the daemon")


def memory_disk(kernel: Kernel, inside: Inside) -> bytes:
    """Return the initial memory disk, as a cpio archive (`newc`). Blocks. Raises `OSError`."""
    size = inside.scratch
    steps = [f"files {ROOT} ro,cache=loose /root", "$b mount --bind /root /base"]
    steps += [f"$b mount -t tmpfs -o mode=1777,size={size} {where} {where}" for where in ("/root/tmp", "/dev/shm")]
    for target in _covered(inside.view):
        place = shlex.quote(target)
        steps += [f"if [ -d /base{place} ]; then $b mkdir -p /root{place}"]
        steps += [f"else $b mkdir -p $($b dirname /root{place}); : > /root{place}; fi"]
        steps += [f"$b mount --bind /base{place} /root{place}"]
    steps += [f"files {WORKSPACE} rw,cache=none {shlex.quote(f'/root{inside.workspace}')}"]
    steps += [f"open {LINK} 5", f"open {CLOCK} 6", f"pids={inside.pids + _OWN_PIDS}"]
    steps += [f"start={shlex.quote(_start(inside))}", ""]
    files = [("carrier", 0o100644, inside.carrier.encode()), ("setup", 0o100644, "\n".join(steps).encode())]
    files += [(f"bin/{name}", 0o100755, data) for name, data in inside.programs.items()]
    return _archive([*_base(kernel), *files])


def _start(inside: Inside) -> str:
    config = {"link": 5, **({"relay": OVER_THE_LINK} if inside.hosts else {})}
    bare = ["--reuid=1000", "--regid=1000", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    return f"{_START} {shlex.join(['/usr/bin/setpriv', *bare, '--no-new-privs', *mounts.agent_argv(config)])} 6<&-\n"


def _covered(view: Sequence[str]) -> Iterator[str]:
    """Yield the targets that lie where the machine mounts a file system of its own."""
    for target in targets(view):
        if target.startswith(("/tmp/", "/dev/shm/")):
            yield target


def targets(view: Sequence[str]) -> Iterator[str]:
    """Yield the targets of all bind mounts of the view."""
    for word, _, target in mounts.steps(view):
        if word in ("--bind", "--ro-bind"):
            yield target


def _base(kernel: Kernel) -> Iterator[tuple[str, int, bytes]]:
    for name in ("bin", "proc", "sys", "dev", "root", "base", "modules"):
        yield name, 0o40755, b""
    yield "init", 0o100755, _INIT.encode()
    yield "bin/busybox", 0o100755, kernel.busybox.read_bytes()
    for module in kernel.modules:
        yield f"modules/{module.name}", 0o100644, module.read_bytes()
    yield "modules/order", 0o100644, "".join(f"{module.name}\n" for module in kernel.modules).encode()


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


def _in_order(folder: Path, wanted: Sequence[str]) -> list[Path]:
    """Return the modules after their dependencies, which each names in its `.modinfo`. Raises `KeyError`."""
    there = {path.name.removesuffix(".ko").replace("-", "_"): path for path in folder.rglob("*.ko")}
    built_in = (folder / "modules.builtin").read_text() if (folder / "modules.builtin").exists() else ""
    found: dict[str, Path] = {}

    def add(name: str) -> None:
        if name not in there and f"/{name}.ko" in built_in.replace("-", "_"):
            return
        if name not in there and name in _WITHIN:
            name = _WITHIN[name]
        said = re.search(rb"\0depends=([^\0]*)\0", there[name].read_bytes())
        for need in said[1].decode().replace("-", "_").split(",") if said and said[1] else ():
            add(need)
        found.setdefault(name, there[name])

    for name in wanted:
        add(name)
    return list(found.values())


def _is_static(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return head.startswith(b"\x7fELF") and b"/ld-" not in head
