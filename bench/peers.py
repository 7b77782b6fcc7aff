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
PINS = ROOT / "bench" / "peers.txt"
ALONE = {"litellm": "litellm", "chromadb": "chromadb", "mem0": "mem0ai"}
"""Modules, and their packages, that cannot live with the others or are large: each has an environment to itself."""


@functools.cache
def python(module: str = "") -> str | None:
    """The interpreter of the environment that `module` is in; None when it cannot be made. `BENCH_PEERS` names a ready
    one, for all modules."""
    given = os.environ.get("BENCH_PEERS")
    if given:
        return str(Path(given) / "bin" / "python")
    alone = ALONE.get(module)
    pins = [pin for pin in _pins() if (_name(pin) == alone if alone else _name(pin) not in ALONE.values())]
    folder = ROOT / "bench" / (f".peers-{alone}" if alone else ".peers")
    found, stamp = folder / "bin" / "python", folder / "pins.txt"
    if not stamp.exists() or stamp.read_text().splitlines() != pins:
        print(f"bench: making {folder.relative_to(ROOT)} …", flush=True)
        venv.create(folder, with_pip=shutil.which("uv") is None, clear=True)
        for pin in pins:
            if not _install(str(found), [pin]):
                print(f"bench: {pin} cannot be installed; it is left out", flush=True)
        stamp.write_text("\n".join(pins))
    return str(found)


@functools.cache
def has(module: str) -> bool:
    """Whether the peers' environment can import it."""
    interpreter = python(module)
    if interpreter is None:
        return False
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([interpreter, "-c", code], capture_output=True).returncode == 0


def versions() -> dict[str, str]:
    return dict(pin.split("==", 1) for pin in _pins())


def _pins() -> list[str]:
    lines = (line.partition("#")[0].strip() for line in PINS.read_text().splitlines())
    return [line for line in lines if line]


def _name(pin: str) -> str:
    return pin.partition("==")[0].partition("[")[0]


def _install(interpreter: str, packages: list[str]) -> bool:
    uv = shutil.which("uv")
    tool = [uv, "pip", "install", "-q", "--python", interpreter] if uv else [interpreter, "-m", "pip", "install", "-q"]
    return subprocess.run([*tool, *packages], stdout=sys.stderr).returncode == 0
