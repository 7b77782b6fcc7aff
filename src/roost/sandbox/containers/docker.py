"""Level 1 by an engine (Docker, or Podman's service) over its Unix socket. For machines where an engine has rights that
an ordinary user lacks; elsewhere `bwrap` and `oci` need no daemon.

No image is pulled: an empty one is made once, and the programs are this machine's, as in the other containers. So the
engine must run on this machine and see its files. The agent connects to a socket in the sandbox's folder.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import resource
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from roost.errors import SandboxError
from roost.sandbox import mounts
from roost.sandbox.backend import Capabilities, Probe, SandboxSpec, Usage
from roost.sandbox.base import User
from roost.sandbox.containers.bundle import system_calls, view
from roost.sandbox.containers.engine import Engine, places
from roost.sandbox.guest.link import Link
from roost.sandbox.guest.linked_guest import LinkedGuest
from roost.sandbox.probe import tried, unable
from roost.sandbox.sandbox_host import (
    MakeEgress,
    SandboxHost,
    agent_argv,
    left,
    lend,
    made_or_ended,
    made_whole,
    manner,
    plain_egress,
    scratch_bytes,
)

_START = 30.0
_PLENTY = 4096
_LABEL = "dev.roost.sandbox"
_IMAGE = "localhost/roost-empty"
_CALL = "/run/roost-call"
_FIX = "start an engine (systemctl start docker, or podman system service) and let the daemon's user use its socket"
_ENCLOSED = (
    "grep -q '^CapEff:.0000000000000000$' /proc/self/status && grep -q '^NoNewPrivs:.1$' /proc/self/status"
    " && grep -q '^Seccomp:.2$' /proc/self/status && ! test -e /root/.ssh && ! unshare -U true 2>/dev/null && echo fine"
)


class DockerBackend:
    """Sandboxes by an engine. `place`: the engine's socket; by default the first usual one that answers."""

    name = "docker"
    level = 1

    def __init__(self, place: Path | None = None, *, egress: MakeEgress = plain_egress) -> None:
        self._places = [place] if place is not None else places()
        self._egress = egress

    async def probe(self) -> Probe:
        try:
            engine, version = await self._find()
        except SandboxError as error:
            return unable(self, str(error), _FIX)
        return await tried(self, f"{version} at {engine.place}", script=_ENCLOSED, fix=_FIX, seconds=_START)

    async def create(self, spec: SandboxSpec) -> LinkedGuest:
        """Create a sandbox. Raises `SandboxError`. On cancellation, ends the half-made sandbox before it raises."""
        return await made_whole(self._create(spec))

    async def _create(self, spec: SandboxSpec) -> LinkedGuest:
        engine, _ = await self._find()
        body = _Container(engine, await asyncio.to_thread(mounts.settled_spec, spec))
        return await made_or_ended(body, self._make(body))

    async def _make(self, body: _Container) -> LinkedGuest:
        if not body.spec.workspace.is_dir():  # an engine would create the folder
            raise SandboxError(f"the workspace {body.spec.workspace} is no folder")
        await body.prepare(None, self._egress)
        called = await body.listen()
        await body.begin()
        try:
            await asyncio.wait_for(called, _START)
        except TimeoutError as error:
            raise SandboxError(f"the container did not start: {await body.said()}") from error
        link = await body.greet(_START)
        held = Capabilities(
            memory="kernel", cpus="kernel", pids="kernel", disk="kernel", terminals=True,
            network="none" if body.spec.network.open else "hosts",
        )  # fmt: skip
        return LinkedGuest(1, held, link, body, manner(body))

    async def resume(self, spec: SandboxSpec, image: Path) -> LinkedGuest:
        """Create a new sandbox: nothing outlives a suspension here."""
        return await self.create(spec)

    async def reap(self, marker: str) -> int:
        try:
            engine, _ = await self._find()
            wanted = json.dumps({"label": [f"{_LABEL}={_mark(marker)}"]})
            found: list[dict[str, str]] = await engine.ask("GET", "/containers/json", all="true", filters=wanted)
            for each in found:
                await _remove(engine, each["Id"])
        except SandboxError:
            found = []
        folders = left("docker", marker)
        for folder in folders:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return len(found) + len(folders)

    async def _find(self) -> tuple[Engine, str]:
        """Return the first engine that answers, and its version. Raises `SandboxError`."""
        why = "there is no engine's socket"
        for place in self._places:
            if place.is_socket():
                try:
                    return (engine := Engine(place)), await engine.ping()
                except SandboxError as error:
                    why = str(error)
        raise SandboxError(why)


class _Container(SandboxHost):
    def __init__(self, engine: Engine, spec: SandboxSpec) -> None:
        super().__init__(spec, "docker")
        self._engine = engine
        self._name: str | None = None
        self._server: asyncio.Server | None = None
        self._counters: dict[str, tuple[Path, str]] = {}

    async def listen(self) -> asyncio.Future[None]:
        """Listen for the agent; only its first connection counts. The future is done then. Raises `OSError`."""
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        link = self.link = Link()
        (self.folder / "call").mkdir()
        (self.folder / "call").chmod(0o755)

        def first() -> asyncio.BaseProtocol:
            if called.done():
                return asyncio.Protocol()
            called.set_result(None)
            return link

        place = str(self.folder / "call" / "socket")
        server = self._server = await asyncio.get_running_loop().create_unix_server(first, place)
        lend(Path(place), self.spec.user)
        called.add_done_callback(lambda _: server.close())
        return called

    async def begin(self) -> None:
        """Create and start the container. Raises `SandboxError`."""
        data, image = await asyncio.to_thread(_empty)
        there = await self._engine.ask("GET", f"/images/{image}/json", fine=(404,))
        if "Id" not in there:
            await self._engine.ask("POST", "/images/create", data, fromSrc="-", repo=image, tag="latest")
        self._name = self.folder.name
        await self._engine.ask("POST", "/containers/create", self._asked(image), name=self._name)
        await self._engine.ask("POST", f"/containers/{self._name}/start", fine=(304,))
        said = await self._engine.ask("GET", f"/containers/{self._name}/json")
        self._counters = await asyncio.to_thread(_counters, said["State"]["Pid"])

    def hits(self) -> Mapping[str, int]:
        """Counted by the kernel, in the engine's control group."""
        counts = {name: _count(*where) for name, where in self._counters.items()}
        return {**super().hits(), **{name: count for name, count in counts.items() if count}}

    async def said(self) -> str:
        text = await self._engine.ask("GET", f"/containers/{self._name}/logs", stdout="true", stderr="true")
        return str(text)[-500:]

    async def usage(self) -> Usage:
        path = f"/containers/{self._name}/stats?stream=false&one-shot=true"
        try:
            said = await self._engine.ask("GET", path)
            cpu, pids = said["cpu_stats"]["cpu_usage"]["total_usage"], said["pids_stats"].get("current", 1)
            used = Usage(
                memory_bytes=said["memory_stats"].get("usage", 0), pids=max(0, pids - 1), cpu_seconds=cpu / 1e9
            )
        except (SandboxError, KeyError, TypeError):
            used = Usage()
        return msgspec.structs.replace(used, hits=self.hits())

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        if self.link is not None:
            self.link.close()
        if self._name is not None:
            await _remove(self._engine, self._name)
        await super()._end()

    def _filter(self) -> str:
        """Return the seccomp list: Docker wants the list itself, Podman the name of a file."""
        calls = json.dumps(system_calls())
        if not self._engine.is_podman:
            return calls
        (self.folder / "calls.json").write_text(calls)
        return str(self.folder / "calls.json")

    def _asked(self, image: str) -> dict[str, Any]:
        spec, bounds = self.spec, self.spec.bounds
        user = spec.user or User(os.geteuid(), os.getegid())
        words = [*view(spec, self), "--bind", str(self.folder / "call"), _CALL]
        scratch = {"/tmp": f"rw,nosuid,nodev,mode=1777,size={scratch_bytes(bounds)}"}
        return {
            "Image": image,
            "Cmd": agent_argv(self, f"{_CALL}/socket", own_users=self._engine.is_podman, filtered=True),
            "User": f"{user.uid}:{user.gid}",
            "Hostname": "sandbox",
            "WorkingDir": "/",
            "Env": ["PATH=/usr/bin:/bin"],
            "Labels": {_LABEL: _mark(spec.marker)},
            "HostConfig": {
                "Mounts": list(_mounts(words)),
                "Tmpfs": scratch,
                "ShmSize": scratch_bytes(bounds),
                "ReadonlyRootfs": True,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges", f"seccomp={self._filter()}"],
                "NetworkMode": "host" if spec.network.open else "none",
                "Memory": bounds.memory_bytes or 0,
                "MemorySwap": bounds.memory_bytes or 0,
                "CpuShares": 256,
                "NanoCpus": int((bounds.cpus or 0) * 1e9),
                "Ulimits": [_own_limit("nofile", resource.RLIMIT_NOFILE), _own_limit("nproc", resource.RLIMIT_NPROC)],
                "PidsLimit": -1 if bounds.pids is None else bounds.pids + 1,
            },
        }


def _own_limit(name: str, kind: int) -> dict[str, Any]:
    """Return at most this process's own limit: an engine without the right to raise it makes no container."""
    most = resource.getrlimit(kind)[1]
    most = _PLENTY if most == resource.RLIM_INFINITY else min(most, _PLENTY)
    return {"Name": name, "Soft": most, "Hard": most}


def _mounts(words: Sequence[str]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for word, source, target in mounts.steps(words):
        if word == "--tmpfs":
            made.append({"Type": "tmpfs", "Target": target, "TmpfsOptions": {"SizeBytes": 4096, "Mode": 0o500}})
        elif word in ("--bind", "--ro-bind") and not target.startswith("/proc/"):
            made.append({"Type": "bind", "Source": source, "Target": target, "ReadOnly": word != "--bind"})
    return made


def _counters(pid: int) -> dict[str, tuple[Path, str]]:
    """Map each counted limit to a file and a key in it; empty where the control group cannot be read."""
    found: dict[str, tuple[Path, str]] = {}
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            base = Path("/sys/fs/cgroup", name, path.lstrip("/"))
            memory = base / ("memory.oom_control" if name else "memory.events")
            if name in ("memory", "") and memory.exists():
                found["memory_bytes"] = memory, "oom_kill"
            if name in ("pids", "") and (base / "pids.events").exists():
                found["pids"] = base / "pids.events", "max"
    return found


def _count(file: Path, word: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{word} ")), 0)


def _empty() -> tuple[bytes, str]:
    """Make an image with only the links at the root of this machine. Returns the archive and its name."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name in sorted(os.listdir("/")):
            if os.path.islink(f"/{name}") and os.readlink(f"/{name}").startswith("usr/"):
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(f"/{name}")
                archive.addfile(entry)
        entry = tarfile.TarInfo("tmp")
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(entry)
    made = data.getvalue()
    return made, f"{_IMAGE}-{blake2b(made, digest_size=6).hexdigest()}"


def _mark(marker: str) -> str:
    return blake2b(marker.encode("utf-8", "replace"), digest_size=8).hexdigest()


async def _remove(engine: Engine, name: str) -> None:
    try:
        await engine.ask("DELETE", f"/containers/{name}", fine=(404, 409), force="true", v="true")
    except SandboxError:  # the engine is gone: a later `reap` removes the container
        return
