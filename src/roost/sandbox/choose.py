"""Choose the isolation of a session on this machine. The level that an agent requires is never lowered; a lower level
than it prefers is reported."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import msgspec

from roost.errors import ConfigError, SandboxError
from roost.sandbox.backend import Backend, Bounds, Probe
from roost.sandbox.base import User
from roost.sandbox.probe import trial_user
from roost.sandbox.probe_cache import ProbeCache, recall
from roost.validated import Validated, listed, option

if TYPE_CHECKING:
    from roost.sandbox.sandbox_host import MakeEgress

Level: TypeAlias = Literal[0, 1, 2]
_MOST_USERS = 2**32 - 1
BACKENDS = ("bwrap", "oci", "gvisor", "docker", "firecracker", "qemu")
"""Names of the backends that come with Roost."""
LEVELS = ("a process of this machine", "namespaces or a container", "a machine of its own")


class Isolation(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """The isolation that an agent asks for. Below level 1 `hosts` is not enforced, and of `bounds` only the limits of
    the workspace are."""

    required: Level = 0
    """The lowest level at which the agent may have a session."""
    prefers: Level = 1
    """The level to use where this machine has it."""
    bounds: Bounds = Bounds()
    """Limits of the whole sandbox, over all its commands."""
    hosts: tuple[str, ...] = option(default=(), converter=listed)
    """Globs of hosts that commands may reach (`roost.sandbox.backend.Network`)."""
    suspend: bool = False
    """Keep background jobs with their memory while the session sleeps, where a backend can (gVisor). Such a backend is
    preferred to others of its level."""

    @property
    def wanted(self) -> int:
        return max(self.required, self.prefers)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sandbox settings of this machine.

    `backends`: allowed ones, in order; the first that works at a level is used. None allows all. `emulate`: run
    machines in software, which is slow. `kernel`: folder with the `boot` and `lib/modules` for machines; by default
    this machine's. `free_bytes`: kept free on the file system of the home, whatever a workspace may use
    (`roost.sandbox.disk_reserve.DiskReserve`). `users`: first and last number of the session users of a root daemon;
    true picks a range that nothing else on this machine uses, false runs everything as root. `accounts`: the
    lowest level at which sessions of accounts run commands; with 0 they may run them as the daemon's user."""

    backends: tuple[str, ...] | None = None
    emulate: bool = False
    kernel: str = "/"
    free_bytes: Annotated[int, msgspec.Meta(ge=0)] = 256 * 1024**2
    users: tuple[int, int] | bool = True
    accounts: Level = 1

    def __post_init__(self) -> None:
        if not isinstance(self.users, bool) and not 0 < self.users[0] < self.users[1] < _MOST_USERS:
            raise ValueError(f"users is {list(self.users)}: give the first and the last number, from 1 on")


class IsolationUnavailable(SandboxError):
    """Raised when no backend of this machine reaches the level that an agent requires."""

    code, status = "isolation_unavailable", 409


class Choice(msgspec.Struct, frozen=True):
    """A chosen level. `backend` None is level 0, a plain process. `why`: why the level is lower than preferred, and
    what would help."""

    level: int
    backend: Backend | None = None
    why: str | None = None

    @property
    def name(self) -> str:
        return self.backend.name if self.backend is not None else "process"


class Chooser:
    """Chooses among `backends`: the first of a level that works here.

    `backends` is iterated at the first need. Each backend is probed at most once, and not at all when `kept` has the
    result of an earlier process. `user`: the user that guests of probes run as, where sessions have users."""

    def __init__(
        self, backends: Iterable[Backend], *, kept: ProbeCache | None = None, user: User | None = None
    ) -> None:
        self._given = backends
        self._kept, self._user = kept, user
        self._probes: dict[str, asyncio.Future[Probe]] = {}
        self._chosen: dict[Isolation, Choice] = {}

    @cached_property
    def backends(self) -> tuple[Backend, ...]:
        return tuple(self._given)

    @property
    def level(self) -> int:
        """The highest level that is known to work here."""
        done = [probe.result() for probe in self._probes.values() if probe.done() and not probe.cancelled()]
        return max((probe.level for probe in done if probe.able), default=0)

    @property
    def probed(self) -> bool:
        """True once every backend has been probed."""
        done = {name for name, probe in self._probes.items() if probe.done()}
        return bool(done) and done.issuperset(each.name for each in self.backends)

    async def choose(self, isolation: Isolation) -> Choice:
        """Return the lowest level that is at least the wanted one, else the highest below it.

        Raises `IsolationUnavailable`."""
        known = self._chosen.get(isolation)
        if known is None:
            known = await self._choose(isolation)
            self._chosen[isolation] = known
        return known

    async def _choose(self, isolation: Isolation) -> Choice:
        refused: list[Probe] = []
        above = sorted({each.level for each in self.backends if each.level >= max(1, isolation.wanted)})
        below = sorted({each.level for each in self.backends if each.level < isolation.wanted}, reverse=True)
        for level in [] if isolation.wanted == 0 else [*above, *below]:
            if level < isolation.required:
                break
            for backend in await self._in_order(isolation):
                if backend.level == level:
                    probe = await self.probe(backend)
                    if probe.able:
                        return Choice(level, backend, None if level >= isolation.wanted else _told(refused))
                    refused.append(probe)
        if isolation.required > 0:
            raise IsolationUnavailable(
                f"the agent requires isolation level {isolation.required} ({LEVELS[isolation.required]}), which this"
                f" machine does not have: {_told(refused)}"
            )
        return Choice(0, None, _told(refused) if isolation.wanted else None)

    async def _in_order(self, isolation: Isolation) -> Sequence[Backend]:
        if not isolation.suspend:
            return self.backends
        keeps = {each.backend for each in await self.probes() if each.capabilities.suspends == "memory"}
        return sorted(self.backends, key=lambda backend: backend.name not in keeps)

    async def probe(self, backend: Backend) -> Probe:
        known = self._probes.get(backend.name)
        if known is None or known.cancelled():
            known = self._probes[backend.name] = asyncio.ensure_future(self._probe(backend))
        return await asyncio.shield(known)

    async def _probe(self, backend: Backend) -> Probe:
        recall.set(self._kept)
        trial_user.set(self._user)
        try:
            return await backend.probe()
        except (SandboxError, OSError) as error:  # a fault of this backend: sessions use a lower level
            why = str(error) or type(error).__name__
            return Probe(backend=backend.name, level=backend.level, able=False, why=f"its probe failed: {why}")

    async def probes(self) -> list[Probe]:
        return list(await asyncio.gather(*map(self.probe, self.backends)))


def default_backends(egress: MakeEgress, settings: Settings | None = None) -> Iterator[Backend]:
    """Yield the backends that come with Roost, in the order in which to try them. They are imported and made when the
    first is taken. `egress` makes the egress of sandboxes that may reach hosts. Raises `ConfigError`."""
    settings = settings or Settings()
    for name in settings.backends or ():
        if name not in BACKENDS:
            raise ConfigError(f"sandbox.backends: there is no backend {name!r}; there are {', '.join(BACKENDS)}")
    return _made(egress, settings)


def _made(egress: MakeEgress, settings: Settings) -> Iterator[Backend]:
    firecracker: Any = importlib.import_module("roost.machines.firecracker.backend")  # a layer above this one
    qemu: Any = importlib.import_module("roost.machines.qemu.backend")
    from roost.sandbox.containers.bwrap import BwrapBackend
    from roost.sandbox.containers.docker import DockerBackend
    from roost.sandbox.containers.gvisor import GvisorBackend
    from roost.sandbox.containers.oci import OciBackend

    containers = (BwrapBackend, OciBackend, GvisorBackend, DockerBackend)
    kernel = Path(settings.kernel).expanduser()
    machines = (
        firecracker.FirecrackerBackend(image=kernel, egress=egress),
        qemu.QemuBackend(emulate=settings.emulate, image=kernel, egress=egress),
    )
    made: list[Backend] = [*(each(egress=egress) for each in containers), *machines]
    known = {each.name: each for each in made}
    names = known if settings.backends is None else settings.backends
    yield from (known[name] for name in dict.fromkeys(names))


def _told(refused: Sequence[Probe]) -> str:
    if not refused:
        return "there is no backend for it"
    said = [f"{each.backend}: {each.why}" + (f" ({each.fix})" if each.fix else "") for each in refused]
    return "; ".join(said)
