"""The view of this machine's files in a level 1 sandbox: programs and libraries to read, its workspace to write."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from roost import version
from roost.errors import SandboxError
from roost.sandbox import guest
from roost.sandbox.backend import SandboxSpec
from roost.sandbox.base import Quota
from roost.sandbox.guest.command import limits_of
from roost.sandbox.guest.link import Limit
from roost.sandbox.sockets import living_sockets

_ROOT_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = (
    "alternatives", "ca-certificates", "ca-certificates.conf", "debian_version", "fonts", "gitconfig", "inputrc",
    "java-11-openjdk", "java-17-openjdk", "java-21-openjdk", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime",
    "magic", "mime.types", "os-release", "pki/ca-trust", "pki/tls/certs", "protocols", "services", "shells",
    "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
"""Excludes every file with users, keys or settings of this machine."""
_PROC_FIXED = ("sys", "sysrq-trigger", "irq", "bus", "fs", "scsi", "acpi", "driver")
_PROC_HIDDEN = ("kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "mtrr", "slabinfo")
_TWO = ("--bind", "--ro-bind", "--ro-bind-try", "--symlink")
_TARGETED = ("--bind", "--ro-bind", "--ro-bind-try", "--ro-bind-data")
AGENT = "/run/roost"
"""Path of the agent's files inside."""
NET = "/run/roost-net"
"""Path inside of the folder with the egress socket."""
_GUEST = Path(guest.__file__).parent


def system() -> list[str]:
    """Return bwrap's arguments for a bare system: programs, parts of `/etc`, and its own `/proc` and `/dev`."""
    args = ["--ro-bind", "/usr", "/usr", "--ro-bind-try", "/nix/store", "/nix/store"]
    for name in _ROOT_LINKS:
        path = f"/{name}"
        if os.path.islink(path):
            args += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            args += ["--ro-bind", path, path]
    for name in _ETC:
        path = f"/etc/{name}"
        if os.path.exists(path):
            args += ["--ro-bind", os.path.realpath(path), path]
    args += ["--proc", "/proc"]
    for name in _PROC_FIXED:
        if os.path.exists(f"/proc/{name}"):
            args += ["--ro-bind", f"/proc/{name}", f"/proc/{name}"]
    for name in _PROC_HIDDEN:
        if os.path.exists(f"/proc/{name}"):
            args += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    return [*args, "--dev", "/dev"]


def scratch(size: int) -> list[str]:
    """Return the arguments for `/tmp` and `/dev/shm`, each of at most `size` bytes, and `/var/tmp`."""
    args = ["--perms", "1777", "--size", str(size), "--tmpfs", "/tmp"]
    args += ["--perms", "1777", "--size", str(size), "--tmpfs", "/dev/shm"]
    return [*args, "--dir", "/var", "--symlink", "../tmp", "/var/tmp"]


def sealed() -> list[str]:
    return ["--remount-ro", "/dev", "--remount-ro", "/"]


def agent() -> list[str]:
    return ["--ro-bind", str(_GUEST), AGENT]


def agent_argv(config: Mapping[str, object], limits: Sequence[Limit] = (), usual: Quota | None = None) -> list[str]:
    """Return the command line of the agent, under `limits` and the `usual` limits of a command, save for its time."""
    own = limits_of(msgspec.structs.replace(usual or Quota(), cpu_seconds=None))
    told = json.dumps({**config, "limits": [*own, *limits]})
    return [os.path.realpath(sys.executable), "-I", "-S", "-X", "utf8", f"{AGENT}/agent.py", told]


def folders(workspace: Path, reads: Iterable[Path], hidden: Iterable[Path], sockets: Iterable[Path] = ()) -> list[str]:
    """Return the arguments for the workspace, the readable folders, and the covers over hidden folders inside them.

    Deeper mounts are added last so that they win. Python's own files stay read-only even inside a workspace, because
    the daemon runs them."""
    kinds = [(path, "--bind") for path in _around(hidden, workspace)]
    kinds += [(path, "--ro-bind") for path in (*python(), *reads)]
    kinds += [(workspace, "--bind")]
    kinds += [(path, "--tmpfs") for path in hidden if _covers(path, [workspace, *reads])]
    args: list[str] = []
    for path, kind in sorted(dict(kinds).items(), key=lambda item: len(item[0].parts)):
        if kind == "--tmpfs":
            args += ["--perms", "0500", "--size", "4096", kind, str(path)]
        elif kind == "--bind" or not _in_system(path):
            args += [kind, str(path), str(path)]
    for path in sockets:
        args += ["--ro-bind", "/dev/null", str(path)]
    return args


def passable(args: Sequence[str]) -> list[str]:
    """Return bwrap's arguments with the folders above each target made first, so that every user can pass them: only
    bwrap's own user can pass those that bwrap makes itself."""
    made: dict[str, None] = {"/": None}
    words: list[str] = []
    for place, word in enumerate(args):
        if word in _TARGETED:
            above = [str(path) for path in reversed(Path(args[place + 2]).parents) if str(path) not in made]
            at = len(words) - 2 * (words[-2:-1] == ["--perms"])  # `--perms` applies to the next word
            words[at:at] = [each for path in above for each in ("--dir", path)]
            made.update(dict.fromkeys(above))
        words.append(word)
    return words


def _around(hidden: Iterable[Path], workspace: Path) -> list[Path]:
    """Return the folders between the workspace and the covered ones, to be mounted too. A mount point cannot be moved,
    so no command can move a covered folder away and put another in its place."""
    found = [path for each in hidden for path in each.parents if workspace in path.parents and path.is_dir()]
    return [path for path in found if not _covers(path, python())]


def python() -> Sequence[Path]:
    """Return the folders of the interpreter that runs the agent and Roost's helpers; nothing else of a home."""
    places = [Path(sys.base_prefix), Path(sys.prefix), Path(version.__file__).parent]
    places += [Path(os.path.realpath(sys.executable)).parent.parent]
    return [place for place in dict.fromkeys(places) if place != Path("/")]


def steps(view: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Translate a view for runtimes other than bwrap: yield option, source (may be empty) and target. A mount that is
    only wanted if its source exists is dropped, or becomes an ordinary one."""
    words = iter(view)
    for word in words:
        source, target = (next(words), next(words)) if word in _TWO else ("", next(words))
        if word != "--ro-bind-try":
            yield word, source, target
        elif os.path.exists(source):
            yield "--ro-bind", source, target


def settled_spec(spec: SandboxSpec) -> SandboxSpec:
    """Resolve the workspace's real path, and find the sockets that the sandbox would see. Blocks. Raises `SandboxError`
    for a workspace that would expose too much."""
    workspace = Path(os.path.realpath(spec.workspace))
    if workspace == Path("/") or workspace in python():
        raise SandboxError(f"{workspace} cannot be a sandbox's workspace: choose a folder of the task alone")
    sockets = living_sockets([workspace, *spec.reads], spec.hidden)
    return msgspec.structs.replace(spec, workspace=workspace, sockets=sockets)


def _in_system(path: Path) -> bool:
    return path == Path("/usr") or Path("/usr") in path.parents


def _covers(path: Path, shown: Sequence[Path]) -> bool:
    """True when the folder is a shown one or inside one."""
    return any(one == path or one in path.parents for one in shown)
