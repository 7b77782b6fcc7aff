"""Serve the files of a machine in 9P2000.L. A machine sees the same as a level 1 sandbox (`mounts.py`).

The server (`ninep/`) is a process in a bubblewrap namespace that holds only that view: no network, no capability, the
system calls of a sandbox. A guest that takes over the server reaches nothing else. It has two streams, each for one
mount inside:

- `root`: the whole view, read-only; the guest caches it (`cache=loose`), so its copy may be old.
- `workspace`: the workspace alone, which the guest may write and does not cache (`cache=none`).

Each is one end of a socket pair, to be given or spliced to the carrier of bytes into the machine (a port of
virtio-serial, a socket of vsock). To suspend a machine while it may have requests in flight:

1. Stop its processors.
2. Call `hold`: the server answers no more, and answers not yet in the machine's memory are taken back.
3. Write the machine's memory out and end it.
4. Call `kept`: the state for the next server, unanswered requests included. The next server is started with it, and the
   machine does not notice.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from roost.errors import SandboxError
from roost.sandbox import mounts, seccomp
from roost.sandbox.containers.bwrap import INSIDE, find_bwrap, identity, memory, users_file
from roost.sandbox.process_marks import ENV_NAME, new_mark
from roost.sandbox.sandbox_host import JOIN, SandboxHost

_PROGRAM = Path(__file__).with_name("ninep") / "serve.py"
_HEAD = struct.Struct("!I")
_LONGEST = 256 * 1024**2
_PATIENCE = 30.0
_PLACES = ("/proc", "/dev", "/sys", "/tmp", "/var")
"""Mount points of the machine's own file systems."""


class ServedView:
    """A running server. `root` and `workspace` are the carrier's ends; they must stay open here even when another
    process gets them, since `hold` reads them. Belongs to the loop that started it."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        complaints: int,
        control: socket.socket,
        ends: Sequence[socket.socket],
    ) -> None:
        self.root, self.workspace = ends
        self._process, self._control, self._complaints = process, control, complaints
        self._unsent: list[str] = []

    async def hold(self) -> None:
        """Stop all output on `root` and `workspace`. Raises `SandboxError`."""
        await self._ask(b'"hold"', b'"held"')
        self._unsent = [base64.b64encode(_rest(end)).decode() for end in (self.root, self.workspace)]

    async def kept(self) -> bytes:
        """Return the server's state as JSON. Call it after `hold`, once nothing writes into `root` and `workspace` any
        more. Raises `SandboxError`."""
        table = await self._ask(b'"save"')
        return msgspec.json.encode({"unsent": self._unsent, "streams": msgspec.Raw(table)})

    async def ended(self) -> None:
        """Wait until the server has ended, for any reason."""
        await self._process.wait()

    async def close(self) -> None:
        """End the server. Idempotent."""
        for end in (self.root, self.workspace, self._control):
            end.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        if self._complaints >= 0:
            os.close(self._complaints)
            self._complaints = -1

    async def begin(self, kept: bytes | None) -> None:
        await self._ask(kept or b"null", b'"ready"')

    async def _ask(self, what: bytes, wanted: bytes | None = None) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_PATIENCE):
                await loop.sock_sendall(self._control, _HEAD.pack(len(what)) + what)
                said = await self._exactly(_HEAD.unpack(await self._exactly(_HEAD.size))[0])
        except (OSError, TimeoutError) as error:
            why = self._said() or str(error) or "it took too long"
            raise SandboxError(f"the server of files does not answer: {why}") from error
        if wanted is not None and said != wanted:
            raise SandboxError(f"the server of files said {said[:100]!r} and not {wanted!r}")
        return said

    def _said(self) -> str:
        said = os.pread(self._complaints, 2000, 0) if self._complaints >= 0 else b""
        return said.decode("utf-8", "replace").strip()

    async def _exactly(self, size: int) -> bytes:
        data, loop = bytearray(), asyncio.get_running_loop()
        if size > _LONGEST:
            raise OSError("it says too much")
        while len(data) < size:
            part = await loop.sock_recv(self._control, min(1 << 20, size - len(data)))
            if not part:
                raise OSError("it has ended")
            data += part
        return bytes(data)


async def start(body: SandboxHost, view: Sequence[str], kept: bytes | None = None) -> ServedView:
    """Start a server, in the body's group and under its marker. `view`: bwrap's arguments, from `mounts.py`; the
    workspace is that of `body.spec`. `kept`: state of a former server. Raises `SandboxError`, `OSError`."""
    program = find_bwrap()
    if program is None:
        raise SandboxError("there is no bwrap on this machine, which the files of a machine are served in")
    pairs = [socket.socketpair() for _ in range(3)]
    ours, theirs = [each[0] for each in pairs], [each[1] for each in pairs]
    files, said = [memory(seccomp.program()), memory(users_file(INSIDE))], memory(b"")
    control, *streams = [each.fileno() for each in theirs]
    try:
        argv = [program, *_arguments(body, view, files, streams)]
        process = await _spawn(body, argv, control, said, [*files, *streams])
    except BaseException:
        for each in ours:
            each.close()
        os.close(said)
        raise
    finally:
        for each in theirs:
            each.close()
        for fd in files:
            os.close(fd)
    ours[0].setblocking(False)
    made = ServedView(process, said, ours[0], ours[1:])
    try:
        await made.begin(kept)
    except BaseException:
        await made.close()
        raise
    return made


async def _spawn(
    body: SandboxHost, argv: Sequence[str], control: int, complaints: int, fds: Sequence[int]
) -> asyncio.subprocess.Process:
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", ENV_NAME: new_mark(body.spec.marker).text}
    if body.group is not None and body.joins:
        env["ROOST_DOORS"] = " ".join(body.group.doors)
        argv = ["/bin/sh", "-c", JOIN, "sh", *argv]
    return await asyncio.create_subprocess_exec(
        *argv, env=env, stdin=control, stdout=subprocess.DEVNULL, stderr=complaints, pass_fds=tuple(fds),
        start_new_session=True, cwd="/",
    )  # fmt: skip


def _arguments(body: SandboxHost, view: Sequence[str], files: Sequence[int], streams: Sequence[int]) -> list[str]:
    filters, users = map(str, files)
    user = body.spec.user
    args = [*identity(user), "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--unshare-net"]
    args += ["--die-with-parent", "--as-pid-1", "--seccomp", filters, "--clearenv", *_files(view)]
    args += ["--perms", "0444", "--ro-bind-data", users, "/etc/passwd", *mounts.agent()]
    for name in _PLACES:
        args += ["--dir", name]
    args += ["--symlink", "../tmp", "/var/tmp", "--remount-ro", "/", "--chdir", "/", "--"]
    served = [(streams[0], "/", False), (streams[1], str(body.spec.workspace), True)]
    python = os.path.realpath(sys.executable)
    if user is not None:
        become = [python, "-I", "-S", f"{mounts.AGENT}/become.py", str(user.uid), str(user.gid)]
        args = [*mounts.passable(args), *become]
    return [*args, python, "-I", "-S", "-X", "utf8", str(_PROGRAM), json.dumps({"streams": served})]


def _files(view: Sequence[str]) -> list[str]:
    """Return the view without `/proc` and `/dev`: through `/proc` a guest could reach into the server."""
    args: list[str] = []
    for word, source, target in mounts.steps(view):
        if word not in ("--proc", "--dev") and not target.startswith("/proc/"):
            args += [word, *([source] if source else []), target]
    return args


def _rest(end: socket.socket) -> bytes:
    """Read all bytes that were sent and not yet read."""
    data = bytearray()
    end.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while part := end.recv(1 << 20):
            data += part
    return bytes(data)
