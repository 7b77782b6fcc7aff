"""What each isolation level of this machine holds: `python -m roost.testing.isolation`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec

from roost.errors import SandboxError
from roost.machines.qemu.backend import QemuBackend
from roost.sandbox.backend import Backend, Guest
from roost.sandbox.choose import default_backends
from roost.sandbox.containers.oci import OciBackend
from roost.sandbox.host_process import ProcessSandbox
from roost.sandbox.quota_watch import Watched
from roost.sandbox.sandbox_host import plain_egress
from roost.sandbox.workspace_quota import WorkspaceQuota
from roost.testing.backends import attempt, attempt_all, made, target
from roost.testing.bombs import BOUNDS, Bomb, bombs, ended
from roost.testing.left_behind import left

_ANSWERED_INSIDE = {
    "gvisor": {
        "descriptors of the first", "devices", "environment of the first", "priority", "settings of the kernel", "user",
    },
    "docker": {"user"},
    "oci (runc)": {"user"},
}  # fmt: skip
"""Attempts that succeed inside a sandbox without reaching this machine: its own kernel allows them, or they reach user
0 of a container without any capability."""


class Wall(msgspec.Struct):
    """Results of one backend. `through` and `loose`: attempts and bombs that it did not contain, in words."""

    name: str
    level: int
    escapes: int = 0
    bombs: int = 0
    through: list[str] = []
    inside: list[str] = []
    loose: list[str] = []

    @property
    def holds(self) -> bool:
        return not self.through and not self.loose and self.escapes > 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m roost.testing.isolation", description=__doc__)
    parser.add_argument("--backends", help="only these, as in bwrap,gvisor; process is level 0")
    parser.add_argument("--skip-bombs", action="store_true", help="escapes alone")
    parser.add_argument("--emulate", action="store_true", help="QEMU in software where there is no KVM: takes a minute")
    options = parser.parse_args()
    walls = asyncio.run(_all(options))
    _say(f"\n{'level':7}{'backend':14}{'escapes held':16}{'bombs held':14}")
    for wall in walls:
        bombs_held = "-" if options.skip_bombs else _share(wall.bombs, len(wall.loose))
        _say(f"{wall.level:<7}{wall.name:14}{_share(wall.escapes, len(wall.through)):16}{bombs_held:14}")
    return 0 if all(wall.holds for wall in walls if wall.level > 0) else 1


async def _all(options: argparse.Namespace) -> list[Wall]:
    wanted = options.backends.split(",") if options.backends else None
    walls: list[Wall] = []
    if wanted is None or "process" in wanted:
        walls.append(await _told(Wall("process", 0), None, options.skip_bombs))
    for name, backend in _backends(emulate=options.emulate):
        if wanted is None or name in wanted or backend.name in wanted:
            probe = await backend.probe()
            if probe.able:
                walls.append(await _told(Wall(name, backend.level), backend, options.skip_bombs))
            else:
                _say(f"{name} cannot run here: {probe.why}")
    return walls


def _backends(*, emulate: bool) -> list[tuple[str, Backend]]:
    made_here = [each for each in default_backends(plain_egress) if not isinstance(each, OciBackend | QemuBackend)]
    runtimes = [name for name in ("crun", "runc") if shutil.which(name)]
    found: list[tuple[str, Backend]] = [(each.name, each) for each in made_here]
    found += [(f"oci ({name})", OciBackend(shutil.which(name))) for name in runtimes]
    found.append(("qemu", QemuBackend(emulate=emulate)))
    return sorted(found, key=lambda one: one[1].level)


async def _told(wall: Wall, backend: Backend | None, skip_bombs: bool) -> Wall:
    """Fill in the results. Raises nothing for a fault of the backend: the results must show it."""
    with tempfile.TemporaryDirectory(prefix="roost-walls-") as place:
        folder = Path(place)
        try:
            got = await (_without_wall(folder) if backend is None else attempt_all(backend, folder))
        except (SandboxError, AssertionError) as error:
            wall.through.append(f"nothing could be tried: {error}")
            got = {}
        wall.escapes = len(got)
        succeeded = {name: what for name, what in got.items() if what is not None}
        wall.inside = sorted(succeeded.keys() & _ANSWERED_INSIDE.get(wall.name, set()))
        wall.through += sorted(succeeded.keys() - set(wall.inside))
        for bomb in [] if skip_bombs else bombs(level=wall.level):
            wall.bombs += 1
            wrong = await explode(backend, bomb, folder)
            if wrong is not None:
                wall.loose.append(f"{bomb.name}: {wrong}")
    for label, words in (("not held", wall.through), ("answered inside", wall.inside), ("loose", wall.loose)):
        if words:
            _say(f"{wall.name}: {label}: {'; '.join(words)}")
    return wall


async def _without_wall(folder: Path) -> dict[str, str | None]:
    """Attempt all at level 0, against a decoy process as the one outside."""
    (workspace := folder / "workspace").mkdir()
    sandbox = ProcessSandbox(marker=f"walls-{secrets.token_hex(4)}")
    with target(folder, workspace) as setting, _decoy() as pid:
        try:
            return await attempt(sandbox, workspace, {**setting, "pid": pid, "bare": True})
        finally:
            await sandbox.close()


@contextlib.contextmanager
def _decoy() -> Generator[int]:
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


async def explode(backend: Backend | None, bomb: Bomb, folder: Path) -> str | None:
    """Return None when the bomb was contained: it ended, as data, in time, the sandbox is usable or says that it has
    ended, and nothing of it is left."""
    base = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=folder))
    (base / "tmp").mkdir()
    (workspace := base / "work").mkdir()
    marker = f"walls-{secrets.token_hex(6)}"
    try:
        if backend is None:
            sandbox = ProcessSandbox(marker=marker)
            wrong = await _run(sandbox, bomb, workspace)
            await sandbox.close()
        else:
            async with made(backend, workspace, marker, bounds=BOUNDS) as guest:
                wrong = await _run(guest, bomb, workspace, usable=lambda: guest.alive)
    except (SandboxError, AssertionError) as error:
        wrong = str(error)
    rest = await asyncio.to_thread(left, base, marker)
    await asyncio.to_thread(shutil.rmtree, base, ignore_errors=True)
    return wrong or ("; ".join(rest) if rest else None)


async def _run(
    sandbox: Guest | ProcessSandbox, bomb: Bomb, workspace: Path, usable: Callable[[], bool] = lambda: True
) -> str | None:
    watched = Watched(WorkspaceQuota(lambda: workspace, BOUNDS.workspace(private=True)), ended=lambda limit: None)
    result = await watched.exec(sandbox, ["/bin/sh", "-c", bomb.script], cwd=str(workspace), quota=bomb.quota)
    wrong = ended(bomb, result)
    if wrong is None and usable():
        after = await watched.exec(sandbox, ["echo", "on"], cwd=str(workspace))
        wrong = None if after.stdout == "on\n" else f"afterwards: {after}"
    await watched.close()
    return wrong


def _share(tried: int, failed: int) -> str:
    held = max(0, tried - failed)
    return f"{held}/{tried} {100 * held // max(1, tried)} %"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
