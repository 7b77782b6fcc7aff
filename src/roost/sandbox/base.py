"""The contract of a sandbox: run commands, within limits. Every isolation level keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec


class User(NamedTuple):
    """A user of this machine that commands run as instead of the daemon's user."""

    uid: int
    gid: int


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one command, in bytes and seconds. None leaves the machine's own limit.

    In a sandbox of level 1 or 2 the defaults here for memory, files and descriptors are also the maximum."""

    wall_seconds: float = 60.0
    cpu_seconds: int | None = 60
    memory_bytes: int | None = 4 * 1024**3
    """Address space of each process. A Java VM does not start below 4 GiB."""
    file_bytes: int | None = 1024**3
    open_files: int | None = 1024
    output_bytes: int = 64 * 1024
    """Per stream. Head and tail are kept; the middle is read and dropped."""


def with_files_of(quota: Quota, most: int | None) -> Quota:
    """Return `quota` with its `file_bytes` lowered to `most`. None changes nothing."""
    if most is None or (quota.file_bytes is not None and quota.file_bytes <= most):
        return quota
    return msgspec.structs.replace(quota, file_bytes=most)


class ExecResult(msgspec.Struct, frozen=True, kw_only=True):
    """`exit_code` is negative for a signal, and None when a limit killed the command; `killed_by` names that limit."""

    exit_code: int | None
    stdout: str
    stderr: str
    seconds: float
    truncated: bool = False
    killed_by: str | None = None
    limits: tuple[str, ...] = ()
    """Limits of the whole sandbox that were hit during the command (`memory_bytes`, `pids`), even without effect."""


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
