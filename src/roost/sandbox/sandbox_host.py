"""The host side of a container or a machine: processes, control group, folder, egress."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from roost.errors import SandboxError
from roost.sandbox import mounts, seccomp
from roost.sandbox.backend import Bounds, Capabilities, Guest, SandboxSpec, Usage
from roost.sandbox.base import Quota, User
from roost.sandbox.cgroups import OWN_PROCESSES, Group, Groups
from roost.sandbox.egress import Blocked, Egress
from roost.sandbox.egress_dialler import Dialling
from roost.sandbox.guest.link import Limit, Link
from roost.sandbox.guest.linked_guest import Manner
from roost.sandbox.host_launch import stand_back
from roost.sandbox.process_marks import ENV_NAME, new_mark
from roost.sandbox.watchdog import Watchdog
from roost.threads import finished_in_thread, settled

_PROXY = "http://127.0.0.1:3128"
JOIN = 'for door in $ROOST_DOORS; do echo 0 > "$door" || exit 70; done; unset ROOST_DOORS; exec "$@"'
"""Shell script that joins a control group and then becomes the command."""

G = TypeVar("G", bound=Guest)
MakeEgress = Callable[[SandboxSpec, Callable[[Blocked], None]], Egress]


def plain_egress(spec: SandboxSpec, blocked: Callable[[Blocked], None]) -> Egress:
    """Make an egress with the spec's list of hosts and no secrets."""
    return Egress(spec.network.hosts, gateway=spec.gateway, blocked=blocked)


class SandboxHost:
    """The host side of one sandbox. `end` works in any half-made state.

    `kind`: word in the folder's name, by which `reap` finds it. `remains`: called in a thread (it may block) to end
    the processes that still live, and to remove what a runtime keeps elsewhere; its second argument is True when all
    are known to be dead."""

    def __init__(
        self, spec: SandboxSpec, kind: str, remains: Callable[[Path, bool], None] = lambda folder, dead: None
    ) -> None:
        self.spec = spec
        self.folder = Path()
        self.process: asyncio.subprocess.Process | None = None
        self.link: Link | None = None
        self.group: Group | None = None
        self.egress: Egress | None = None
        self.dialling: Dialling | None = None
        self.watchdog: Watchdog | None = None
        self.joins = True
        """True when started processes join the group before they do anything else."""
        self._kind, self._remains = kind, remains
        self._complaints = -1
        self._refused = 0
        self._ending: asyncio.Task[None] | None = None

    @property
    def door(self) -> Path | None:
        """The socket that stands for the network, alone in its folder; None without egress."""
        return self.folder / "net" / "socket" if self.egress is not None else None

    async def prepare(
        self, groups: Groups | None, egress: MakeEgress, bounds: Bounds | None = None, *, bare: bool = False
    ) -> None:
        """Make a folder (with `bare` only where egress needs one), a control group with `bounds` (else the spec's)
        and the egress. Raises `OSError`."""
        if not bare or self.spec.proxied:
            await finished_in_thread(self._make_folder)  # even when cancelled, `end` must know the folder
        self._complaints = os.memfd_create("complaints", os.MFD_CLOEXEC)
        if groups is not None:
            await finished_in_thread(lambda: self._join_group(groups, bounds or self.spec.bounds))
        if self.spec.proxied:
            self.egress = egress(self.spec, self._blocked)
            place = self.folder / "net"
            place.mkdir()
            place.chmod(0o755)  # only the daemon can enter the folder around it
            await self.egress.start(place / "socket")
            lend(place / "socket", self.spec.user)

    async def launch(self, argv: Sequence[str], link: Link | None = None, *, fds: Sequence[int] = ()) -> Link:
        """Start `argv` in the group, with the link as its standard input and `fds` open. Raises `OSError`."""
        ours, theirs = socket.socketpair()
        made = self.link = link or Link()
        try:
            await self.spawn(argv, theirs.fileno(), fds=fds)
            await asyncio.get_running_loop().create_connection(lambda: made, sock=ours)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return made

    async def spawn(
        self,
        argv: Sequence[str],
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
        *,
        fds: Sequence[int] = (),
    ) -> None:
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", ENV_NAME: new_mark(self.spec.marker).text}
        if self.group is not None and self.joins:
            env["ROOST_DOORS"] = " ".join(self.group.doors)
            argv = ["/bin/sh", "-c", JOIN, "sh", *argv]
        self.process = await asyncio.create_subprocess_exec(
            *argv,
            env=env,
            stdin=stdin,
            stdout=stdout,
            stderr=self._complaints,
            pass_fds=tuple(fds),
            start_new_session=True,
            cwd="/",
        )
        if self.group is None:
            stand_back(self.process.pid)

    async def greet(self, seconds: float) -> Link:
        """Wait for the guest's hello. Raises `SandboxError` with the text that the runtime wrote to stderr."""
        assert self.link is not None
        try:
            await asyncio.wait_for(asyncio.shield(self.link.hello), seconds)
        except (SandboxError, TimeoutError) as error:
            said = os.pread(self._complaints, 2000, 0).decode("utf-8", "replace").strip()
            why = said or str(error) or "it took too long"
            raise SandboxError(f"{self._kind} cannot make a sandbox here: {why}") from error
        return self.link

    def _make_folder(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=prefix(self._kind, self.spec.marker)))

    def _join_group(self, groups: Groups, bounds: Bounds) -> None:
        self.group = groups.create(self.spec.marker, bounds)

    def hits(self) -> Mapping[str, int]:
        hits = dict(self.group.hits() if self.group is not None else self.watchdog.hits if self.watchdog else {})
        return hits | ({"network": self._refused} if self._refused else {})

    async def usage(self) -> Usage:
        holder = self.group or self.watchdog
        usage = await asyncio.to_thread(holder.usage) if holder is not None else Usage()
        return msgspec.structs.replace(usage, hits=self.hits())

    async def end(self) -> None:
        """End the sandbox once, completely, even when a caller is cancelled."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        if self.link is not None:
            self.link.close()
        if self.watchdog is not None:
            self.watchdog.close()
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        if self.dialling is not None:
            await self.dialling.close()
        if self.egress is not None:
            await self.egress.close()
        await asyncio.to_thread(self._clean)

    def _clean(self) -> None:
        dead = self.group is not None and self.group.remove()
        if self.folder != Path():
            self._remains(self.folder, dead)
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._complaints >= 0:
            os.close(self._complaints)

    def _blocked(self, event: Blocked) -> None:
        self._refused += 1


def lend(socket: Path, user: User | None) -> None:
    """Let `user` connect to a socket of the daemon: connecting takes write permission."""
    if user is not None:
        os.chown(socket, user.uid, user.gid)


def remove_left(kind: str, marker: str, delete: Callable[[Path], None] | None = None) -> int:
    """Remove the folders of a dead process, each after calling `delete` on it. Blocks. Returns how many."""
    folders = left(kind, marker)
    for folder in folders:
        if delete is not None:
            delete(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return len(folders)


async def made_or_ended(body: SandboxHost, making: Coroutine[Any, Any, G]) -> G:
    """Return the result of `making`; end the body if it fails. Raises `SandboxError`."""
    try:
        return await making
    except OSError as error:
        await body.end()
        raise SandboxError(f"cannot make a sandbox: {error}; look at the machine's limits") from error
    except BaseException:
        await body.end()
        raise


async def made_whole(making: Coroutine[Any, Any, G]) -> G:
    """Return the result of `making`. On cancellation, wait for it and close it before raising: a thread or a fork
    under way cannot be interrupted, and would leak."""
    task = asyncio.ensure_future(making)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await settled(task)
        if not task.cancelled() and task.exception() is None:
            await task.result().close()
        raise


def capabilities(group: Group | None, spec: SandboxSpec) -> Capabilities:
    held = "kernel" if group is not None else "watched"
    return Capabilities(
        memory=held,
        cpus="kernel" if group is not None else "none",
        pids=held,
        disk="kernel",
        wall="watched",
        network="none" if spec.network.open else "hosts",
        terminals=True,
    )


def manner(body: SandboxHost) -> Manner:
    """Return the manner of commands, with the proxy's address in the environment."""
    names = ("http_proxy", "https_proxy") if body.spec.network.hosts else ()
    proxy = {each: _PROXY for name in names for each in (name, name.upper())}
    return Manner(quota=_usual(body.spec), environment={**proxy, **body.spec.environment})


def _usual(spec: SandboxSpec) -> Quota:
    return Quota(memory_bytes=spec.address_bytes)


def agent_argv(
    body: SandboxHost,
    link: int | str = 0,
    *,
    own_users: bool = True,
    filtered: bool = False,
    relay: str | None = None,
    user: User | None = None,
) -> list[str]:
    """Return the command line of the agent.

    `link`: the agent's descriptor, or the path of a socket that it connects to. `own_users`: the sandbox has its own
    user namespace; without a control group the agent then limits the number of processes, which Linux counts per user
    namespace since 5.14. `filtered`: the agent installs the seccomp filter, for a runtime that cannot express all of
    it. `relay`: what the proxy address inside leads to, by default the egress socket. `user`: the agent starts as root
    and becomes this user first."""
    way_out = {} if body.door is None else {"relay": relay or f"{mounts.NET}/{body.door.name}"}
    limits: list[Limit] = []
    if own_users and body.group is None and body.spec.bounds.pids is not None and os.geteuid() != 0:
        most = body.spec.bounds.pids + OWN_PROCESSES
        limits.append((resource.RLIMIT_NPROC, most, most))
    calls = {"filter": seccomp.program().hex()} if filtered and seccomp.supported() else {}
    becomes = {} if user is None else {"user": list(user)}
    return mounts.agent_argv({"link": link, **way_out, **calls, **becomes}, limits, _usual(body.spec))


def scratch_bytes(bounds: Bounds) -> int:
    """Return the size of `/tmp`. It is memory: at most half of the limit, so that a full `/tmp` leaves some."""
    return min(bounds.disk_bytes or 1024**3, (bounds.memory_bytes or 2 * 1024**3) // 2)


def prefix(kind: str, marker: str) -> str:
    return f"roost-{kind}-{blake2b(marker.encode('utf-8', 'replace'), digest_size=8).hexdigest()}-"


def left(kind: str, marker: str) -> list[Path]:
    """Return the folders of a dead process with this marker."""
    return sorted(Path(tempfile.gettempdir()).glob(f"{prefix(kind, marker)}*"))
