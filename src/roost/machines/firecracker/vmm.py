"""One Firecracker: its process, its files, and its machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from pathlib import Path
from typing import cast

from roost.errors import SandboxError
from roost.machines.firecracker.api import Api
from roost.machines.firecracker.jail import SOCKET, Jail
from roost.sandbox.sandbox_host import SandboxHost

VSOCK = "vsock"
"""Name of the socket to the machine, in Firecracker's folder."""
_STATE, _MEMORY, _NEW = "state", "memory", "state.new"
_WORDS = 4096


class Console(asyncio.Protocol):
    """The machine's serial port. Only the end of its output is kept. Input must come through a pipe: Firecracker gets
    no events from a socket."""

    def __init__(self) -> None:
        self.said = bytearray()
        self.news = asyncio.Event()
        self.input, self._writes = os.pipe2(os.O_CLOEXEC)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.said += data
        del self.said[:-_WORDS]
        self.news.set()

    def write(self, data: bytes) -> None:
        """Write a few bytes: a pipe holds 64 KB."""
        os.write(self._writes, data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        for fd in {self.input, self._writes} - {-1}:
            os.close(fd)
        self.input = self._writes = -1

    @property
    def words(self) -> str:
        return self.said[-1000:].decode("utf-8", "replace").strip() or "none"


class Vmm:
    """A Firecracker process. Call `spawn`, then one of `boot` and `load`; they raise `SandboxError` or `OSError`. The
    body must be prepared."""

    def __init__(self, body: SandboxHost, program: str, jailer: str | None) -> None:
        self.body = body
        self.jail = Jail(program, jailer, body.folder)
        self.api = Api(self.jail.root / SOCKET)
        self.console = Console()
        self._loaded = False

    @property
    def root(self) -> Path:
        return self.jail.root

    @property
    def words(self) -> str:
        """The end of the machine's console output."""
        return self.console.words

    async def spawn(self) -> str:
        """Start Firecracker and return its version."""
        self.root.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        try:
            argv = self.jail.argv(self.body.spec.marker)
            await self.body.spawn(argv, self.console.input, theirs.fileno())
            await asyncio.get_running_loop().create_connection(lambda: self.console, sock=ours)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        assert self.body.process is not None
        await self.api.connect(self.body.process)
        return await self.api.version()

    async def boot(self, kernel: Path, words: str, disk: bytes | None, *, memory_mib: int, cpus: int) -> None:
        """Boot a machine. `kernel`: an ELF file. `disk`: the initial memory disk."""
        await _provide(kernel, self.root / "kernel")
        if disk is not None:
            await asyncio.to_thread(_write, self.root / "disk", disk)
        await self.api.machine(memory_mib=memory_mib, cpus=cpus, diffs=True)
        await self.api.boot_source("kernel", words, None if disk is None else "disk")
        await self.api.vsock(VSOCK)
        await self.api.start()
        for name in ("kernel", "disk"):  # the machine's memory holds them now
            (self.root / name).unlink(missing_ok=True)

    async def load(self, image: Path) -> None:
        """Resume from the files that `write` wrote into the folder; they are moved out of it."""
        for name in (_STATE, _MEMORY):
            await _move(image / name, self.root / name, 0o444)
        await self.api.load(_STATE, _MEMORY, diffs=True)
        self._loaded = True

    async def write(self, image: Path) -> None:
        """Write the machine into the folder, and end it. The memory file that it was loaded from is updated."""
        await self.api.pause()
        memory = self.root / _MEMORY
        if self._loaded:
            if memory.stat().st_nlink > 1:  # other machines use this file
                await _copy(memory, self.root / "own")
                (self.root / "own").rename(memory)
            self.jail.give(_MEMORY)
        await self.api.snapshot("Diff" if self._loaded else "Full", _NEW, _MEMORY)
        await self.kill()
        await _move(self.root / _NEW, image / _STATE, 0o600)
        await _move(memory, image / _MEMORY, 0o600)

    async def kill(self) -> None:
        """End Firecracker. Its memory file and other files stay until the body ends."""
        self.close()
        if (process := self.body.process) is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def end(self) -> None:
        self.close()
        await self.body.end()

    def close(self) -> None:
        self.api.close()
        self.console.close()


def _write(place: Path, data: bytes) -> None:
    place.write_bytes(data)
    place.chmod(0o444)


async def _provide(source: Path, place: Path) -> None:
    """Hard-link the file, else copy it."""
    try:
        os.link(source, place)
    except OSError:
        await _copy(source, place)
    if place.stat().st_nlink == 1:
        place.chmod(0o444)


async def _move(source: Path, place: Path, mode: int) -> None:
    """Move the file and set its mode, in one step: forks share the file by hard links, and one of them may open it at
    any moment."""
    try:
        source.rename(place)
    except OSError:
        await _copy(source, place)
        source.unlink()
    if os.geteuid() == 0:
        os.chown(place, 0, 0)
    place.chmod(mode)


async def _copy(source: Path, place: Path) -> None:
    """Copy a file; share its blocks where possible, and keep holes."""
    argv = ["cp", "--reflink=auto", "--sparse=always", str(source), str(place)]
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        place.unlink(missing_ok=True)
        raise SandboxError(f"{source.name} cannot be copied: {said.decode('utf-8', 'replace').strip()[-300:]}")
