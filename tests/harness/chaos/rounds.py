"""Rounds: in each a sandbox is made, something is cut off at a random moment, and nothing may be left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import shutil
import signal
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from roost.errors import SandboxError
from roost.sandbox.backend import Backend, Bounds, Guest, SandboxSpec
from roost.sandbox.base import Quota
from roost.testing.left_behind import left, processes

_SMALL = Bounds(memory_bytes=256 * 1024**2, pids=64, disk_bytes=16 * 1024**2)
_SCRIPTS = (
    "true",
    "while :; do echo x >> beat; sleep 0.05; done",
    "(trap '' TERM HUP INT; setsid sh -c 'while :; do sleep 0.1; done' &); sleep 0.2",
    "head -c 30000000 /dev/zero",
    "while :; do :; done & while :; do :; done",
    "head -c 5000000 /dev/zero > /tmp/big; sleep 30",
    "for n in 1 2 3 4 5 6 7 8; do (sleep 60 &) ; done; sleep 60",
)
_SETTLE = 3.0
"""Seconds that the system may take to bury who was killed."""


class Round(msgspec.Struct):
    """`left` is what it left behind, in words; `fault` an error that nobody should see."""

    number: int
    backend: str
    kind: str
    seconds: float = 0.0
    reaped: int = 0
    left: list[str] = []
    fault: str | None = None

    @property
    def sound(self) -> bool:
        return not self.left and self.fault is None


class Ground:
    """Where a round takes place. `slow` is what `create` takes about, in seconds."""

    def __init__(self, backend: Backend, base: Path, dice: random.Random, slow: float) -> None:
        self.backend, self.base, self.dice, self.slow = backend, base, dice, slow
        self.marker = f"chaos-{secrets.token_hex(6)}"
        self.workspace = base / "work" / secrets.token_hex(4)
        self.workspace.mkdir(parents=True)

    @property
    def spec(self) -> SandboxSpec:
        return SandboxSpec(session="chaos", workspace=self.workspace, marker=self.marker, bounds=_SMALL)

    def moment(self, most: float) -> float:
        return self.dice.uniform(0, most)

    @contextlib.asynccontextmanager
    async def guest(self) -> AsyncGenerator[Guest]:
        guest = await self.backend.create(self.spec)
        try:
            yield guest
        finally:
            await guest.close()

    async def run(self, guest: Guest, seconds: float = 1.0) -> None:
        """Any of the scripts. What a sandbox that ended says is no fault."""
        script = self.dice.choice(_SCRIPTS)
        with contextlib.suppress(SandboxError):
            await guest.exec(["sh", "-c", script], cwd=str(self.workspace), quota=Quota(wall_seconds=seconds))

    async def jobs(self, guest: Guest) -> None:
        with contextlib.suppress(SandboxError):
            for _ in range(self.dice.randint(0, 2)):
                await guest.spawn(["sh", "-c", self.dice.choice(_SCRIPTS)], cwd=str(self.workspace))
            if self.dice.random() < 0.3 and guest.capabilities.terminals:
                await guest.open_terminal(["sh"], cwd=str(self.workspace))

    def kill_one(self, wanted: Callable[[str], bool]) -> None:
        """Some process of the sandbox that fits. Blocks."""
        found = [pid for pid, name in processes(self.base, self.marker) if wanted(name)]
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.dice.choice(found), signal.SIGKILL)


async def cancelled_create(ground: Ground) -> None:
    making = asyncio.create_task(ground.backend.create(ground.spec))
    await asyncio.sleep(ground.moment(ground.slow * 1.3))
    with contextlib.suppress(asyncio.CancelledError):
        if making.cancel():
            await making
        await (await making).close()


async def cancelled_exec(ground: Ground) -> None:
    async with ground.guest() as guest:
        await ground.jobs(guest)
        running = [asyncio.create_task(ground.run(guest)) for _ in range(ground.dice.randint(1, 3))]
        await asyncio.sleep(ground.moment(0.4))
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def cancelled_close(ground: Ground) -> None:
    guest = await ground.backend.create(ground.spec)
    await ground.jobs(guest)
    running = asyncio.create_task(ground.run(guest))
    await asyncio.sleep(ground.moment(0.1))
    closing = asyncio.create_task(guest.close())
    await asyncio.sleep(ground.moment(0.1))
    closing.cancel()
    await asyncio.gather(closing, running, return_exceptions=True)
    await guest.close()


async def cancelled_sleep(ground: Ground) -> None:
    guest = await ground.backend.create(ground.spec)
    image = ground.base / "work" / f"image-{secrets.token_hex(4)}"
    await ground.jobs(guest)
    sleeping = asyncio.create_task(guest.suspend(image))
    await asyncio.sleep(ground.moment(0.6))
    sleeping.cancel()
    await asyncio.gather(sleeping, return_exceptions=True)
    await guest.close()
    if image.exists() and ground.dice.random() < 0.7:
        waking = asyncio.create_task(ground.backend.resume(ground.spec, image))
        await asyncio.sleep(ground.moment(ground.slow * 1.5))
        with contextlib.suppress(asyncio.CancelledError, SandboxError):
            if waking.cancel():
                await waking
            await (await waking).close()


async def killed_guest(ground: Ground) -> None:
    """A process of the inside: a command's, or the first."""
    await _killed(ground, lambda name: "runsc" not in name and "bwrap" not in name)


async def killed_runtime(ground: Ground) -> None:
    """A process of the outside, where there is one."""
    await _killed(ground, lambda name: any(word in name for word in ("runsc", "bwrap", "crun", "runc")))


async def _killed(ground: Ground, wanted: Callable[[str], bool]) -> None:
    async with ground.guest() as guest:
        await ground.jobs(guest)
        running = asyncio.create_task(ground.run(guest))
        await asyncio.sleep(ground.moment(0.2))
        await asyncio.to_thread(ground.kill_one, wanted)
        await running
        if ground.dice.random() < 0.5:
            await ground.run(guest, 0.2)


async def killed_in_create(ground: Ground) -> None:
    """Some process of it, while it is being made."""
    making = asyncio.create_task(ground.backend.create(ground.spec))
    await asyncio.sleep(ground.moment(ground.slow))
    await asyncio.to_thread(ground.kill_one, lambda name: True)
    with contextlib.suppress(SandboxError):
        await (await making).close()


async def killed_owner(ground: Ground) -> None:
    """The process that has the sandboxes, which is doing all of the above."""
    argv = [sys.executable, "-m", "tests.harness.chaos", "--own", ground.backend.name, "--base", str(ground.base)]
    argv += ["--marker", ground.marker, "--seed", str(ground.dice.randrange(1 << 30))]
    owner = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    try:
        assert owner.stdout is not None
        await asyncio.wait_for(owner.stdout.readline(), 30)
        await asyncio.sleep(ground.moment(ground.slow * 3))
        if owner.returncode is not None:
            raise SandboxError(f"the owner ended by itself with {owner.returncode}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            owner.kill()
        await owner.wait()


Kind = Callable[[Ground], Awaitable[None]]
KINDS: Sequence[tuple[Kind, int]] = (
    (cancelled_create, 3), (cancelled_exec, 2), (cancelled_close, 2), (cancelled_sleep, 1), (killed_guest, 2),
    (killed_runtime, 2), (killed_in_create, 2), (killed_owner, 4),
)  # fmt: skip
"""And how often each is taken."""
_AGAIN = tuple(kind for kind, _ in KINDS if kind is not killed_owner)


async def one_round(number: int, kind: Kind, ground: Ground) -> Round:
    began, done = time.monotonic(), Round(number, ground.backend.name, kind.__name__)
    try:
        async with asyncio.timeout(90):
            await kind(ground)
    except Exception as error:  # whatever it is, it is this round's result
        done.fault = f"{type(error).__name__}: {error}"
    done.reaped = await ground.backend.reap(ground.marker)
    if done.reaped and kind is not killed_owner:
        done.left.append(f"{done.reaped} things that had to be reaped, with a living owner")
    done.left += await asyncio.to_thread(_settled, ground.base, ground.marker)
    await asyncio.to_thread(shutil.rmtree, ground.base / "work", ignore_errors=True)
    done.seconds = time.monotonic() - began
    return done


def _settled(base: Path, marker: str) -> list[str]:
    deadline = time.monotonic() + _SETTLE
    while (found := left(base, marker)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


async def own(backend: Backend, base: Path, marker: str, seed: int) -> None:
    """Do all of that, in two places at once, until somebody kills this process."""
    dice = random.Random(seed)

    async def on() -> None:
        while True:
            ground = Ground(backend, base, dice, 0.3)
            ground.marker = marker
            with contextlib.suppress(SandboxError):
                await dice.choice(_AGAIN)(ground)

    async with asyncio.TaskGroup() as group:
        group.create_task(on())
        group.create_task(on())
