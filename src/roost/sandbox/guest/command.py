"""Run one command over a link until its last process is dead."""

from __future__ import annotations

import asyncio
import resource
import signal
import time
from collections.abc import Mapping, Sequence

from roost.errors import SandboxError
from roost.sandbox.base import ExecResult, Quota
from roost.sandbox.guest.link import Command, Ended, Job, Limit, Link
from roost.sandbox.output import HeadTail
from roost.threads import settled

_GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL."""
_PATIENCE = 15.0
"""Seconds that a guest may take to end a command; after that it counts as dead."""
_LIMIT_SIGNALS = {-signal.SIGXCPU: "cpu_seconds", -signal.SIGXFSZ: "file_bytes"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def limits_of(quota: Quota) -> list[Limit]:
    limits = [(resource.RLIMIT_CORE, 0, 0)]
    if quota.cpu_seconds is not None:
        limits.append((resource.RLIMIT_CPU, quota.cpu_seconds, quota.cpu_seconds + 1))
    for kind, value in (
        (resource.RLIMIT_AS, quota.memory_bytes),
        (resource.RLIMIT_FSIZE, quota.file_bytes),
        (resource.RLIMIT_NOFILE, quota.open_files),
    ):
        if value is not None:
            limits.append((kind, value, value))
    return limits


def environment(cwd: str, *extra: Mapping[str, str] | None) -> dict[str, str]:
    """Build the environment from nothing, so that no variable of the daemon reaches a command."""
    env = {"PATH": PATH, "HOME": cwd, "PWD": cwd, "LANG": "C.UTF-8", "TERM": "dumb"}
    for each in extra:
        env.update(each or {})
    return env


class Running:
    """A running command; `result` waits for it. `cancel` ends it early: with half a second between SIGTERM and SIGKILL,
    or at once for a limit."""

    def __init__(self, link: Link, command: Command, stdin: bytes | None, quota: Quota) -> None:
        self._link, self._quota, self._stdin = link, quota, stdin
        cap = max(2, quota.output_bytes)
        self._outputs = {1: HeadTail(cap), 2: HeadTail(cap)}
        command.input = bool(stdin)
        command.credit, command.keep = cap // 2, cap - cap // 2
        self._command = command
        self._cancelled = asyncio.Event()
        self._why = "cancelled"
        self._began = time.monotonic()
        self.over = asyncio.Event()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def cancel(self, why: str = "cancelled") -> None:
        if not self._cancelled.is_set():
            self._why = why
        self._cancelled.set()

    async def result(self) -> ExecResult:
        """Return the result. Raises `SandboxError` when the sandbox ends before the command. On cancellation, the
        command is dead before this raises."""
        work = asyncio.ensure_future(self._run())
        work.add_done_callback(lambda done: self.over.set())
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self.cancel()
            await settled(work)
            raise

    async def _run(self) -> ExecResult:
        try:
            job = self._link.start(self._command, self._heard)
        except ValueError as error:
            return ExecResult(exit_code=126, stdout="", stderr=f"the command cannot be started: {error}", seconds=0.0)
        feeding = asyncio.ensure_future(self._feed(job)) if self._stdin else None
        cancelled = asyncio.ensure_future(self._cancelled.wait())
        try:
            await asyncio.wait(
                [job.ended, cancelled], timeout=self._quota.wall_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            killed = None
            if not job.ended.done():
                killed = self._why if cancelled.done() else "wall_seconds"
                await self._end(job)
            return self._result(await job.ended, killed)
        finally:
            cancelled.cancel()
            if feeding is not None:
                feeding.cancel()

    async def _feed(self, job: Job) -> None:
        assert self._stdin is not None
        try:
            await job.feed(self._stdin)
            job.end_input()
        except SandboxError:  # `ended` carries the error
            return

    async def _end(self, job: Job) -> None:
        try:
            if self._why == "cancelled":
                job.signal(signal.SIGTERM)
                await asyncio.wait([job.ended], timeout=_GRACE)
            if not job.ended.done():
                job.signal(signal.SIGKILL, everything=True)
                await asyncio.wait([job.ended], timeout=_PATIENCE)
        except SandboxError:  # `ended` carries the error
            return
        if not job.ended.done():
            self._link.close("it did not end a command")

    def _heard(self, fd: int, cut: int, data: bytes) -> None:
        self._outputs[fd].skip(cut)
        self._outputs[fd].add(data)

    def _result(self, how: Ended, killed: str | None) -> ExecResult:
        out, err = self._outputs.values()
        if how.refused is not None:
            return ExecResult(exit_code=how.code, stdout="", stderr=how.refused, seconds=self.seconds)
        killed = killed or _LIMIT_SIGNALS.get(how.code)
        return ExecResult(
            exit_code=None if killed else how.code,
            stdout=out.text(),
            stderr=err.text(),
            seconds=self.seconds,
            truncated=out.truncated or err.truncated,
            killed_by=killed,
        )


def command(argv: Sequence[str], cwd: str, env: Mapping[str, str], quota: Quota) -> Command:
    return Command(argv=list(argv), cwd=cwd, env=env, limits=limits_of(quota))
