"""The file `env` of the home: variables that every command and daemon of the home gets, as if they were exported."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from roost.cli.atomic_file import write_text
from roost.errors import ConfigError

FILE = "env"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOO_LATE = ("ROOST_HOME", "ROOST_URL", "ROOST_TOKEN", "ROOST_STORE", "ROOST_DEBUG")
"""Variables that are read before the home is known, or that say which home is meant."""
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|DSN", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_PARAMETER = re.compile(r"(\w*(?:pass|secret|token|key)\w*=)[^&\s]+", re.IGNORECASE)
_SHOWN = 4


def apply(home: Path, environ: MutableMapping[str, str]) -> frozenset[str]:
    """Add the file's variables to `environ`, which wins. Returns the ones that were added. Raises `ConfigError` for a
    file that others may write or read."""
    added = {name: value for name, value in load(home).items() if name not in environ}
    environ.update(added)
    return frozenset(added)


def load(home: Path) -> dict[str, str]:
    """Return the file's variables; none without a file. Raises `ConfigError`."""
    path = home / FILE
    try:
        mode = path.stat().st_mode
    except OSError:
        return {}
    if os.name == "posix" and mode & 0o077:
        raise ConfigError(f"others may read {str(path)!r}, which may hold keys: chmod 600 {path}")

    from roost.providers.dotenv import load as read

    return read(path)


def change(home: Path, values: Mapping[str, str | None]) -> None:
    """Set variables; None removes one. Other lines of the file stay. Raises `ConfigError`."""
    for name, value in values.items():
        check(name, value)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home / FILE
    before = ""
    if path.exists():
        path.chmod(0o600)
        before = path.read_text(errors="surrogateescape")
    kept = [line for line in before.splitlines() if _named(line) not in values]
    made = [f"{name}={_quoted(value)}" for name, value in values.items() if value is not None]
    write_text(path, "".join(f"{line}\n" for line in [*kept, *made]))


def check(name: str, value: str | None) -> None:
    """Raises `ConfigError` for a variable that the file cannot hold."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name of a variable: letters, digits and _, as in OPENAI_API_KEY")
    if name in _TOO_LATE:
        raise ConfigError(f"{name} is read before the home's variables are: export it in your shell instead")
    if value is None:
        return
    if any(ord(letter) < 32 or 127 <= ord(letter) < 160 or letter in "\u2028\u2029" for letter in value):
        raise ConfigError(f"the value of {name} has a line break or a control character")
    if any(0xD800 <= ord(letter) < 0xE000 for letter in value):
        raise ConfigError(f"the value of {name} is no text in UTF-8")


def is_secret(name: str) -> bool:
    """Whether a variable of this name probably holds a key or a password."""
    return _SECRET.search(name) is not None


def shown(name: str, value: str) -> str:
    """Return the value for a listing: of a secret only its end, of an address all but the password."""
    if not is_secret(name):
        return without_password(value)
    return f"…{value[-_SHOWN:]}" if len(value) > 4 * _SHOWN else "…"


def without_password(address: str) -> str:
    """Return an address, as of a database, without who signs in and without keys among its parameters."""
    return _PARAMETER.sub(r"\1…", _USERINFO.sub("…", address))


def _named(line: str) -> str:
    return line.strip().removeprefix("export ").partition("=")[0].strip()


def _quoted(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_./:@%+,=-]*", value):
        return value
    if "'" not in value:
        return f"'{value}'"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
