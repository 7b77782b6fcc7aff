"""Where commands run. The contract that every isolation level keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec


class User(NamedTuple):
    """A user of this machine that commands run as, where that is not the daemon's own."""

    uid: int
    gid: int


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one command. Bytes and seconds; None leaves the machine's own limit, and where a sandbox of level 1 or
    2 holds it, what stands here for memory, files and descriptors is its most."""

    wall_seconds: float = 60.0
    cpu_seconds: int | None = 60
    memory_bytes: int | None = 4 * 1024**3
    """Address space of each process. A Java VM does not start below 4 GiB."""
    file_bytes: int | None = 1024**3
    open_files: int | None = 1024
    output_bytes: int = 64 * 1024
    """Per stream. What comes later is read and thrown away; head and tail are kept."""


def with_files_of(quota: Quota, most: int | None) -> Quota:
    """None: no less than it says itself."""
    if most is None or (quota.file_bytes is not None and quota.file_bytes <= most):
        return quota
    return msgspec.structs.replace(quota, file_bytes=most)


class ExecResult(msgspec.Struct, frozen=True, kw_only=True):
    """`exit_code` is negative for a signal, None when the command was killed by a limit named in `killed_by`."""

    exit_code: int | None
    stdout: str
    stderr: str
    seconds: float
    truncated: bool = False
    killed_by: str | None = None
    limits: tuple[str, ...] = ()
    """Those of the whole sandbox that were hit while it ran (`memory_bytes`, `pids`), whatever came of it."""


class Sandbox(Protocol):
    """Runs commands for one session.

    `exec` returns an `ExecResult` whatever the command does: its failure is data. It raises `SandboxError` only when
    the sandbox itself cannot run commands. When it returns or is cancelled, no process that the command started is
    alive, detached ones included. Output is decoded as UTF-8 with replacement. Calls may run concurrently.
    """

    @property
    def level(self) -> int: ...

    async def exec(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        quota: Quota | None = None,
    ) -> ExecResult: ...

    async def close(self) -> None: ...
