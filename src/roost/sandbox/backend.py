"""Ways to isolate, and what each of them can do on this machine. The contract that every backend keeps.

Whose failure is whose: what a command does wrong, or a quota that it hits, is data (`ExecResult`). What the backend
cannot do is `SandboxError` from `create` and from the methods of a sandbox; after it the sandbox is destroyed and may
be made anew. A backend that this machine cannot run says so in its `Probe`, never by an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import msgspec

from roost.sandbox.base import ExecResult, Quota, Sandbox, User

Holder: TypeAlias = Literal["kernel", "watched", "none"]
"""Who keeps a limit: the kernel (hard), a watchdog of ours (it may be passed for a moment), nobody."""
Suspends: TypeAlias = Literal["memory", "shell", "none"]
"""What outlives a suspension: processes with their memory, a shell's variables and folder, or only files."""


class Bounds(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """Of a whole sandbox, over all its commands. None is the machine's own limit. `disk_bytes` is what may be written
    outside the workspace (in `/tmp` and the like). `workspace_bytes` and `workspace_files` (names of files and folders)
    are what a workspace may hold, at every level (`roost.sandbox.workspace_quota`): if they are not said, `PRIVATE`
    where it is the session's own, and no limit where it is a user's folder."""

    memory_bytes: int | None = 512 * 1024**2
    cpus: float | None = 1.0
    pids: int | None = 64
    disk_bytes: int | None = 1024**3
    workspace_bytes: int | msgspec.UnsetType | None = msgspec.UNSET
    workspace_files: int | msgspec.UnsetType | None = msgspec.UNSET

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value: float | msgspec.UnsetType | None = getattr(self, name)
            if value is not None and value is not msgspec.UNSET and not least <= value <= most:
                raise ValueError(f"{name} is {value}: give {least:g} to {most:g}, or leave it out")

    def workspace(self, *, private: bool) -> tuple[int | None, int | None]:
        """Bytes and files that it may have."""
        given = (self.workspace_bytes, self.workspace_files)
        usual = PRIVATE if private else (None, None)
        size, files = (one if said is msgspec.UNSET else said for said, one in zip(given, usual, strict=True))
        return size, files


PRIVATE = (10 * 1024**3, 1_000_000)
"""Bytes and files of a workspace that is the session's own."""

_RANGES: dict[str, tuple[float, float]] = {
    "memory_bytes": (1000, 10**18),
    "cpus": (0.01, 10_000),
    "pids": (1, 4_194_304),
    "disk_bytes": (1, 10**18),
    "workspace_bytes": (1, 10**18),
    "workspace_files": (1, 10**15),
}
"""What a kernel takes: a hundredth of a processor is its smallest share (`cpu.max`), and 2^22 the most `pid_max`."""


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """Off by default. `hosts` are globs of names that may be reached, through a proxy that resolves a name once,
    refuses private addresses and tells of every refusal; `open` leaves the machine's network as it is (level 0 cannot
    do otherwise)."""

    hosts: tuple[str, ...] = ()
    open: bool = False


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What this backend keeps here. `memory` to `wall` are the limits of `Bounds` and `Quota`."""

    memory: Holder = "none"
    cpus: Holder = "none"
    pids: Holder = "none"
    disk: Holder = "none"
    wall: Holder = "watched"
    network: Literal["none", "off", "hosts"] = "none"
    """The strictest that it can do: nothing, off, an allow-list."""
    suspends: Suspends = "none"
    terminals: bool = False


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of really running a guest. `why` says what stands in the way, `fix` the command that would help."""

    backend: str
    level: int
    able: bool
    why: str | None = None
    fix: str | None = None
    version: str | None = None
    seconds: float = 0.0
    capabilities: Capabilities = Capabilities()


class SandboxSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox to be made. `workspace` is the only folder of this machine that its commands can write, at the same
    path; `reads` are others that they can read. `marker` names who made it, for `Backend.reap`."""

    session: str
    workspace: Path
    marker: str
    bounds: Bounds = Bounds()
    network: Network = Network()
    reads: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    """Covered, where they lie in a folder that can be seen."""
    sockets: tuple[Path, ...] = ()
    """Of programs outside, covered likewise; the backend finds them."""
    environment: Mapping[str, str] = {}
    user: User | None = None
    """Whom the workspace belongs to. A daemon that is root runs the commands as that user of the host; None: as the
    daemon's own."""


class Terminal(Protocol):
    """A pseudo-terminal with a program on it. `read` gives what it shows, in pieces, and ends with the program."""

    def read(self) -> AsyncIterator[bytes]: ...

    async def write(self, data: bytes) -> None: ...

    async def resize(self, columns: int, rows: int) -> None: ...

    async def wait(self) -> int:
        """Exit code; negative for a signal."""
        ...

    async def close(self) -> None:
        """Hang up; the program and its children are killed. Closing twice is fine."""
        ...


class Guest(Sandbox, Protocol):
    """A sandbox with a life of its own: its processes may run on between commands (`background`), and it can be put to
    sleep. Everything in it ends with `close`."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def alive(self) -> bool:
        """False when it was closed, and when it ended by itself: then it can only be closed."""
        ...

    @property
    def background(self) -> int:
        """How many programs run on between commands."""
        ...

    async def open_terminal(self, argv: Sequence[str], *, cwd: str, columns: int = 80, rows: int = 24) -> Terminal:
        """Raises `SandboxError` where `capabilities.terminals` is False."""
        ...

    async def exec(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        quota: Quota | None = None,
        stop: asyncio.Future[str] | None = None,
    ) -> ExecResult:
        """As of `Sandbox`. When `stop` is done, the command is killed at once, and `killed_by` is what it says."""
        ...

    async def spawn(
        self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str] | None = None, file_bytes: int | None = None
    ) -> Terminal:
        """A command that runs on between others, without a terminal: `read` gives its outputs in one stream, of which
        the oldest part is left out when nobody reads for long. It ends with `close`, and with the sandbox.
        `file_bytes`: of each file that it writes, where that is to be less than a command may."""
        ...

    async def suspend(self, image: Path) -> Suspends:
        """Write what outlives it into the folder `image` and free everything else. Returns what is kept, which may be
        less than `capabilities.suspends` (a program that cannot be frozen); the sandbox is closed. The image is whole
        or not there, whatever crashes."""
        ...

    async def usage(self) -> Usage:
        """What it uses now, as its limits count it."""
        ...


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes, processes and CPU seconds. `hits` counts how often each limit was hit, by its name in `Bounds`."""

    memory_bytes: int = 0
    pids: int = 0
    cpu_seconds: float = 0.0
    hits: Mapping[str, int] = {}


class Backend(Protocol):
    """One way to isolate. `level` is 0 (process), 1 (namespaces, containers) or 2 (machine).

    `probe` really runs a guest, within a deadline of some seconds, raises nothing, and is remembered per boot and
    version of its program. `create` returns a sandbox whose limits hold, as far as its capabilities say.
    `resume` takes up what `suspend` wrote; the image may be used once. `reap` ends and removes everything that a dead
    process with this marker left: processes, mounts, cgroups, folders; it returns how many things that were. It may run
    while others create and use sandboxes of other markers.
    """

    @property
    def name(self) -> str: ...

    @property
    def level(self) -> int: ...

    async def probe(self) -> Probe: ...

    async def create(self, spec: SandboxSpec) -> Guest: ...

    async def resume(self, spec: SandboxSpec, image: Path) -> Guest: ...

    async def reap(self, marker: str) -> int: ...
