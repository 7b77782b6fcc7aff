"""The peers' own environment, made when first needed."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "bench" / ".peers"
PINS = ROOT / "bench" / "peers.txt"


@functools.cache
def python() -> str | None:
    """The interpreter of the peers' environment; None when it cannot be made. `BENCH_PEERS` names a ready one."""
    given = os.environ.get("BENCH_PEERS")
    if given:
        return str(Path(given) / "bin" / "python")
    found, stamp = FOLDER / "bin" / "python", FOLDER / "pins.txt"
    if not stamp.exists() or stamp.read_text() != PINS.read_text():
        print(f"bench: making {FOLDER.relative_to(ROOT)} …", flush=True)
        venv.create(FOLDER, with_pip=shutil.which("uv") is None, clear=True)
        for pin in _pins():
            if not _install(str(found), [pin]):
                print(f"bench: {pin} cannot be installed; it is left out", flush=True)
        stamp.write_text(PINS.read_text())
    return str(found)


@functools.cache
def has(module: str) -> bool:
    """Whether the peers' environment can import it."""
    interpreter = python()
    if interpreter is None:
        return False
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([interpreter, "-c", code], capture_output=True).returncode == 0


def versions() -> dict[str, str]:
    return dict(pin.split("==", 1) for pin in _pins())


def _pins() -> list[str]:
    lines = (line.partition("#")[0].strip() for line in PINS.read_text().splitlines())
    return [line for line in lines if line]


def _install(interpreter: str, packages: list[str]) -> bool:
    uv = shutil.which("uv")
    tool = [uv, "pip", "install", "-q", "--python", interpreter] if uv else [interpreter, "-m", "pip", "install", "-q"]
    return subprocess.run([*tool, *packages], stdout=sys.stderr).returncode == 0
