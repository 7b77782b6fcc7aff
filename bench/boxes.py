"""The programs that isolate, without Roost: what each is told to run `true`, or to hold a container and run `true` in
it. They are given what Roost gives them: the same view of this machine's files, the same filter of system calls."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from roost.sandbox import mounts, seccomp
from roost.sandbox.backend import Bounds, SandboxSpec
from roost.sandbox.containers.bundle import Bundle, view
from roost.sandbox.containers.bwrap import find_bwrap
from roost.sandbox.sandbox_host import SandboxHost, scratch_bytes

TRUE = "/usr/bin/true"
_SCRATCH = scratch_bytes(Bounds())
_UNIFIED = Path("/sys/fs/cgroup/unified")
_NEW_MOUNTS = 0x00020000


class Lacking(Exception):
    """What this machine has not."""


class Alone:
    """A program that is started for each command: the command itself, or what puts it behind a wall."""

    def __init__(self, command: Sequence[str], fds: Sequence[int] = ()) -> None:
        self._command, self._fds = command, fds

    def start(self) -> None:
        for fd in self._fds:
            os.lseek(fd, 0, os.SEEK_SET)
        run(self._command, self._fds)

    def exec(self) -> None:
        self.start()


def bwrap(workspace: Path) -> Alone:
    program = find_bwrap()
    if program is None:
        raise Lacking("there is no bwrap")
    filters = os.memfd_create("filter")
    os.write(filters, seccomp.program())
    args = [
        program,
        "--unshare-all",
        "--unshare-user",
        "--uid",
        "1000",
        "--gid",
        "1000",
        "--cap-drop",
        "ALL",
        "--disable-userns",
    ]
    args += ["--die-with-parent", "--clearenv", "--seccomp", str(filters)]
    args += [*mounts.system(), *mounts.scratch(_SCRATCH), *mounts.folders(workspace, (), ()), *mounts.sealed()]
    return Alone([*args, "--chdir", str(workspace), "--", TRUE], (filters,))


class Box:
    """A container of an OCI runtime, that sleeps; `name` is its program's."""

    def __init__(self, name: str, folder: Path, workspace: Path) -> None:
        program = shutil.which(name)
        if program is None:
            raise Lacking(f"there is no {name}")
        if os.geteuid() != 0:
            raise Lacking(f"{name} alone is measured as root")
        self._gvisor = name == "runsc"
        state = [program, "--root", str(folder / "state")]
        if self._gvisor:
            how = ["--platform=ptrace", "--ignore-cgroups", "--overlay2=none", "--network=none"]
            self._tool = [*state, *how, "--host-uds=open", "--oci-seccomp"]
            self._once = [*state, *how, "do", TRUE]
        else:
            _hide_unified()
            self._tool = [*state, "--cgroup-manager=disabled"]
            self._once = [*self._tool, "run", f"--bundle={self._bundle(folder / 'once', workspace, [TRUE])}", "once"]
        sleep = ["/usr/bin/sleep", "600"]
        self._sleeps = f"--bundle={self._bundle(folder / 'box', workspace, sleep)}"
        self._images, self._slept = folder / "images", 0

    def __enter__(self) -> Box:
        try:
            _detach([*self._tool, "run", "--detach", self._sleeps, "box"])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):
            run([*self._tool, "delete", "--force", "box"])

    def start(self) -> None:
        run(self._once)

    def exec(self) -> None:
        who = [] if self._gvisor else ["--user", "1000:1000"]
        run([*self._tool, "exec", *who, "box", TRUE])

    @property
    def sleeps(self) -> bool:
        return self._gvisor

    def suspend(self) -> None:
        self._slept += 1
        run([*self._tool, "checkpoint", self._image, "box"])

    def forget(self) -> None:
        """What is left of the one that was suspended."""
        run([*self._tool, "delete", "--force", "box"])

    def resume(self) -> None:
        _detach([*self._tool, "restore", "--detach", self._image, self._sleeps, "box"])
        self.exec()

    @property
    def _image(self) -> str:
        return f"--image-path={self._images / str(self._slept)}"

    def _bundle(self, folder: Path, workspace: Path, argv: Sequence[str]) -> Path:
        folder.mkdir()
        spec = SandboxSpec(session="bench", workspace=workspace, marker="bench")
        bounds = Bounds(disk_bytes=_SCRATCH, pids=None if self._gvisor else 64)
        user = 0 if self._gvisor else 1000
        seen = view(spec, SandboxHost(spec, "bench"))
        Bundle(folder, argv, seen, bounds, user=user, mapped=not self._gvisor, outside=os.geteuid()).write()
        return folder


@contextlib.contextmanager
def opened(name: str, folder: Path, workspace: Path) -> Iterator[Alone | Box]:
    """Raises `Lacking`."""
    if name == "subprocess":
        yield Alone([TRUE])
    elif name == "bwrap":
        yield bwrap(workspace)
    else:
        with Box(name, folder, workspace) as box:
            yield box


def run(command: Sequence[str], fds: Sequence[int] = ()) -> None:
    """As a program would that wants the output. Raises `RuntimeError`."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, pass_fds=fds)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr.decode(errors='replace').strip()[-300:] or done.returncode}")


def _detach(command: Sequence[str]) -> None:
    """What runs on keeps its outputs, which nobody can wait for."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _hide_unified() -> None:
    """crun refuses a version 2 hierarchy beside version 1 ones that owns a controller."""
    if _UNIFIED.is_mount():
        ctypes.CDLL(None).unshare(_NEW_MOUNTS)
        run(["mount", "--make-rprivate", "/"])
        run(["mount", "-t", "tmpfs", "none", str(_UNIFIED)])
