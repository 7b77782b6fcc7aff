"""Read a TOML file and report faults with their line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from roost.errors import ConfigError

_MAX_BYTES = 1024 * 1024


class TomlFile(NamedTuple):
    path: Path
    text: str
    data: dict[str, Any]

    def wrong(self, place: Sequence[str], what: str) -> ConfigError:
        """Return the error that `what` is wrong at this place: keys, from the outside in."""
        line = _line(self.text, place)
        at = f"{self.path}:{line}" if line else str(self.path)
        return ConfigError(f"{at}: {dotted(place)}: {what}" if place else f"{at}: {what}")


def read_toml(path: Path) -> TomlFile:
    """Read a file. Raises `ConfigError` when it cannot be read or is no TOML."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    return parsed(path, raw, _MAX_BYTES)


def parsed(path: Path, raw: bytes, most: int) -> TomlFile:
    """Parse the bytes read from a file; more than `most` bytes are too many. Raises `ConfigError`."""
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    if len(raw) > most:
        raise ConfigError(f"{path}: at most {most // 1024} KB are read; this file is larger")
    import tomllib

    try:
        return TomlFile(path, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"(.*?) \(at (?:line (\d+), column \d+|end of document)\)", str(error), re.DOTALL)
        line = int(place[2]) if place and place[2] else text.count("\n") + 1
        raise ConfigError(f"{path}:{line}: not valid TOML: {place[1] if place else error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: not valid TOML: too deep") from error


def dotted(place: Sequence[str]) -> str:
    return ".".join(part if re.fullmatch(r"[\w-]+", part) else f'"{part}"' for part in place)


def _line(text: str, place: Sequence[str]) -> int | None:
    """Return the line of the deepest part of `place` that is found, each part searched after the one before."""
    at, line = 0, None
    for part in place:
        name = rf"[\"']?{re.escape(part)}[\"']?"
        # In a header, before an equals sign, or in an inline table.
        match = re.compile(rf"(?m)^[ \t]*\[+[^\]\n]*?(?<![\w-]){name}[\].]|(?<![\w-]){name}[ \t]*[=.]").search(text, at)
        if match is None:
            continue
        at = match.start()
        line = text.count("\n", 0, match.end()) + 1
    return line
