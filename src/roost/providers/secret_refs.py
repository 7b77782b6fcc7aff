"""References to keys: `env:NAME`, `keyring:SERVICE/NAME`, `file:PATH`, `command:PROGRAM ARGUMENTS`. The keys themselves
appear in no error and no log."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from roost.errors import ConfigError
from roost.install import install_extra

KINDS = ("env", "keyring", "file", "command")
MAX_KEY = 64 * 1024
"""Most bytes of a key file."""


def is_reference(text: str) -> bool:
    """Return whether the text is a reference. Any other text may be the key itself and must not be shown."""
    kind, _, rest = text.partition(":")
    return kind in KINDS and bool(rest.strip()) and (kind != "keyring" or all(_parts(rest)))


def may_block(reference: str) -> bool:
    """Return whether reading the key may wait for a person or another process: a keyring may have to be unlocked."""
    return reference.startswith(("keyring:", "command:"))


def command_of(reference: str) -> str | None:
    """Return the command line of a key helper; None for any other reference."""
    return reference.removeprefix("command:").strip() if reference.startswith("command:") else None


def read(reference: str, env: Mapping[str, str], *, where: str) -> str:
    """Read the key. `env`: the environment with `.env`. Raises `ConfigError`, which names `where` the reference stands
    and the fix. Reads a file or a keyring: where `may_block`, not on an event loop."""
    kind, _, rest = reference.partition(":")
    if not is_reference(reference):
        raise ConfigError(f"{where}: not a reference to a key. {FORMS}")
    match kind:
        case "env":
            key = env.get(rest.strip(), "").strip()
            if not key:
                raise ConfigError(f"{where}: the variable {rest.strip()} is not set: set it (or put it into .env)")
        case "keyring":
            key = _from_keyring(*_parts(rest), where=where)
        case "command":
            from roost.models.key_helpers import run_helper

            key = run_helper(rest.strip(), where=where).value
        case _:
            key = _from_file(Path(rest.strip()).expanduser(), where=where)
    return checked(key, where=where)


FORMS = "Use env:NAME for an environment variable, keyring:SERVICE/NAME, file:PATH, or command:PROGRAM"


def checked(key: str, *, where: str) -> str:
    """Check that a key fits into a header, and return it. Raises `ConfigError` without showing it."""
    if not key.isascii() or any(ord(letter) < 32 or ord(letter) == 127 for letter in key):
        raise ConfigError(f"{where}: the key holds a line break or a letter that no key has; copy it again")
    return key


def _parts(rest: str) -> tuple[str, str]:
    service, _, name = rest.strip().rpartition("/")
    return service.strip(), name.strip()


def _from_file(path: Path, *, where: str) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(f"{where}: others may read {str(path)!r}: chmod 600 {path}")
            data = file.read(MAX_KEY + 1)
    except OSError as error:
        raise ConfigError(f"{where}: cannot read {str(path)!r}: {error.strerror}") from error
    try:
        key = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        key = ""
    if not key or len(data) > MAX_KEY:
        raise ConfigError(f"{where}: {str(path)!r} holds no key: put the key alone into it, as text")
    return key


def _from_keyring(service: str, name: str, *, where: str) -> str:
    try:
        import keyring
    except ImportError as error:
        raise ConfigError(
            f"{where}: a keyring: reference needs the package keyring: {install_extra('keyring')}"
        ) from error
    try:
        key = keyring.get_password(service, name)
    except Exception as error:  # a backend raises what its system gives it; keyring has no common base for them
        raise ConfigError(
            f"{where}: the keyring does not answer ({type(error).__name__}): unlock it, or use env:NAME instead"
        ) from error
    if not key:
        raise ConfigError(f"{where}: the keyring has no key {name!r} of {service!r}: keyring set {service} {name}")
    return key
