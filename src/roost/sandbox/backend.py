"""The contract of isolation backends: what each can do on this machine, and how it makes sandboxes.

Errors: a command's own failure, or a quota that it hits, is data (`ExecResult`). A failure of the backend raises
`SandboxError` from `create` and from the methods of a sandbox; the sandbox is then destroyed, and the caller may make
a new one. A backend that this machine cannot run says so in its `Probe` and raises nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import msgspec

from roost.sandbox.base import ExecResult, Quota, Sandbox, User
from roost.sandbox.injection import Secret
from roost.sandbox.proxy_request import Request
from roost.validated import Validated

Holder: TypeAlias = Literal["kernel", "watched", "none"]
"""Enforcer of a limit: the kernel (hard), Roost's watchdog (a command may exceed it for a moment), nothing."""
Suspends: TypeAlias = Literal["memory", "shell", "none"]
"""State kept over a suspension: processes with their memory, a shell's variables and folder, or only files."""


Gateway: TypeAlias = Callable[[Request, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Answers one request that a program inside made to the proxy's own address, `http://127.0.0.1:3128/…`. The reader is
at the request's body; the caller closes the writer."""


class Bounds(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of a whole sandbox, over all its commands. In Python None is the machine's own limit."""

    memory_bytes: int | None = 512 * 1024**2
    """Memory."""
    cpus: float | None = 1.0
    """Processors."""
    pids: int | None = 64
    """Processes and threads."""
    disk_bytes: int | None = 1024**3
    """Bytes written outside the workspace (`/tmp` and the like)."""
    workspace_bytes: int | msgspec.UnsetType | None = msgspec.UNSET
    """Size of the workspace, at every level (`roost.sandbox.workspace_quota`). Default: 10 GiB for a private workspace,
    none for a folder of yours."""
    workspace_files: int | msgspec.UnsetType | None = msgspec.UNSET
    """Files and folders of the workspace, at every level. Default: 1,000,000 for a private workspace, none for a folder
    of yours."""

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value: float | msgspec.UnsetType | None = getattr(self, name)
            if value is not None and value is not msgspec.UNSET and not least <= value <= most:
                raise ValueError(f"{name} is {value}: give {least:g} to {most:g}, or leave it out")

    def workspace(self, *, private: bool) -> tuple[int | None, int | None]:
        """Return the limits of the workspace: bytes, files. `private`: the workspace is the session's own."""
        given = (self.workspace_bytes, self.workspace_files)
        usual = PRIVATE if private else (None, None)
        size, files = (one if said is msgspec.UNSET else said for said, one in zip(given, usual, strict=True))
        return size, files


PRIVATE = (10 * 1024**3, 1_000_000)
"""Default limits, bytes and files, of a session's own workspace."""

_RANGES: dict[str, tuple[float, float]] = {
    "memory_bytes": (1000, 10**18),
    "cpus": (0.01, 10_000),
    "pids": (1, 4_194_304),
    "disk_bytes": (1, 10**18),
    "workspace_bytes": (1, 10**18),
    "workspace_files": (1, 10**15),
}
"""The ranges that a kernel accepts: the smallest `cpu.max` is 0.01 of a processor, the largest `pid_max` is 2^22."""


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """Network access of a sandbox; off by default.

    `hosts`: globs of allowed names. A proxy resolves a name once, refuses private addresses and reports every refusal.
    `open`: use the machine's network unchanged (level 0 cannot do otherwise)."""

    hosts: tuple[str, ...] = ()
    open: bool = False


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What this backend can enforce on this machine. `memory` to `wall` are the limits of `Bounds` and `Quota`."""

    memory: Holder = "none"
    cpus: Holder = "none"
    pids: Holder = "none"
    disk: Holder = "none"
    wall: Holder = "watched"
    network: Literal["none", "off", "hosts"] = "none"
    """The strictest mode that the backend can enforce: none, network off, an allow-list of hosts."""
    suspends: Suspends = "none"
    terminals: bool = False


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """Result of running a real guest. `why`: the obstacle. `fix`: the command that would remove it."""

    backend: str
    level: int
    able: bool
    why: str | None = None
    fix: str | None = None
    version: str | None = None
    seconds: float = 0.0
    capabilities: Capabilities = Capabilities()


class SandboxSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Describes a sandbox to create. `workspace`: the only folder of this machine that commands can write; it has the
    same path inside. `reads`: folders that they can read. `marker` identifies the creator, for `Backend.reap`."""

    session: str
    workspace: Path
    marker: str
    account: str | None = None
    """The account that the session belongs to; None for the home."""
    bounds: Bounds = Bounds()
    network: Network = Network()
    reads: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    """Folders covered by an empty one, where they lie in a visible folder."""
    sockets: tuple[Path, ...] = ()
    """Sockets of programs outside the sandbox, covered likewise; the backend finds them."""
    environment: Mapping[str, str] = {}
    secrets: dict[str, Secret] = {}
    """Secrets of the session alone, by handle, that the egress proxy puts into requests. They may change while it
    runs."""
    user: User | None = None
    """Owner of the workspace. A daemon that is root runs the commands as this user of the host. None: as the daemon's
    user."""
    gateway: Gateway | None = None
    """Serves the proxy's own address to programs inside; None serves nothing there."""
    address_bytes: int | None = Quota().memory_bytes
    """Address space of each process, at most. None leaves it to `bounds`: programs with an interpreter that reserves
    far more than it uses, such as those of JavaScript, need it."""

    @property
    def proxied(self) -> bool:
        """Whether the sandbox has the proxy, its only way out."""
        return bool(self.network.hosts) or self.gateway is not None


class Terminal(Protocol):
    """A pseudo-terminal that runs a program. `read` yields its output in pieces and ends when the program ends."""

    def read(self) -> AsyncIterator[bytes]: ...

    async def write(self, data: bytes) -> None: ...

    async def resize(self, columns: int, rows: int) -> None: ...

    async def hides_input(self) -> bool:
        """Whether the program reads a line without showing it, as for a password; also true when that is unknown."""
        ...

    async def wait(self) -> int:
        """Exit code; negative for a signal."""
        ...

    async def close(self) -> None:
        """Hang up, and kill the program and its children. Idempotent."""
        ...


class Guest(Sandbox, Protocol):
    """A long-lived sandbox: processes may keep running between commands (`background`), and it can be suspended.
    `close` ends everything in it."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def alive(self) -> bool:
        """False once it was closed or ended by itself; after that, only `close` may be called."""
        ...

    @property
    def background(self) -> int:
        """Number of programs that run between commands."""
        ...

    async def open_terminal(
        self, argv: Sequence[str], *, cwd: str, columns: int = 80, rows: int = 24, file_bytes: int | None = None
    ) -> Terminal:
        """Start a program on a terminal. `file_bytes` as in `spawn`. Raises `SandboxError` where
        `capabilities.terminals` is False."""
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
        """Run a command as `Sandbox.exec` does. When `stop` is done, kill the command at once and report `stop`'s
        result as `killed_by`."""
        ...

    async def spawn(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str] | None = None,
        file_bytes: int | None = None,
        lossless: bool = False,
    ) -> Terminal:
        """Start a background command, without a terminal. It ends with its `close` and with the sandbox.

        `read` yields both outputs as one stream; unread output beyond a window loses its oldest part, unless it is
        `lossless`: then the command waits for the reader. `file_bytes`: limit on each file that the command writes,
        where it is to be lower than a command's usual one."""
        ...

    async def suspend(self, image: Path) -> Suspends:
        """Write the state that can outlive the sandbox into the folder `image`, and close the sandbox.

        Returns the kind of state kept, which may be less than `capabilities.suspends` (a program that cannot be
        frozen). The image is complete or absent, even after a crash."""
        ...

    async def usage(self) -> Usage:
        """Return its current usage, as its limits count it."""
        ...


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes, processes and CPU seconds. `hits`: how often each limit was hit, by its name in `Bounds`."""

    memory_bytes: int = 0
    pids: int = 0
    cpu_seconds: float = 0.0
    hits: Mapping[str, int] = {}


class Backend(Protocol):
    """One way to isolate. `level` is 0 (process), 1 (namespaces, containers) or 2 (machine).

    `probe` runs a real guest within a deadline of some seconds and raises nothing; its result is cached per boot and
    program version. `create` returns a sandbox whose limits are enforced as its capabilities say. `resume` restores
    what `suspend` wrote and consumes the image. `reap` ends and removes everything that a dead process with this
    marker left (processes, mounts, cgroups, folders) and returns how many things it removed; others may create and use
    sandboxes of other markers meanwhile.
    """

    @property
    def name(self) -> str: ...

    @property
    def level(self) -> int: ...

    async def probe(self) -> Probe: ...

    async def create(self, spec: SandboxSpec) -> Guest: ...

    async def resume(self, spec: SandboxSpec, image: Path) -> Guest: ...

    async def reap(self, marker: str) -> int: ...
