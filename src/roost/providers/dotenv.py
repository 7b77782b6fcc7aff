"""Read a `.env` file: `KEY=VALUE` lines. Nothing is expanded, and the process's environment is not changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from roost.errors import ConfigError

MAX_SIZE = 1024 * 1024

_LINE = re.compile(
    r"""\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=[ \t]*
        (?:'([^']*)'|"((?:[^"\\]|\\.)*)"|([^'"\s#](?:[^#]|(?<!\s)\#)*?)?)\s*(?:(?:^|(?<=\s)|(?<=['"]))\#.*)?""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def parse(text: str) -> dict[str, str]:
    """Parse the pairs of a file; a later line wins. Malformed lines are skipped, never shown."""
    values: dict[str, str] = {}
    for line in text.removeprefix("\ufeff").splitlines():
        if match := _LINE.fullmatch(line):
            key, single, double, plain = match.groups()
            if double is not None:
                double = _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), double)
            values[key] = next((value for value in (single, double, plain) if value is not None), "")
    return values


def load(path: Path) -> dict[str, str]:
    """Read the pairs of the file at `path`; empty without such a file. Raises `ConfigError` when it cannot be read."""
    try:
        if not path.is_file():
            return {}
        with path.open("rb") as file:
            return parse(file.read(MAX_SIZE).decode("utf-8", "replace"))
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r}: {error.strerror}. Fix its permissions or remove it") from error


class Environment(dict[str, str]):
    """The environment, laid over a `.env` file, which may be a stranger's, as in a fresh clone. `filed`: names whose
    value is from the file. Blank values count as absent."""

    filed: frozenset[str] = frozenset()


def merged(environ: Mapping[str, str], path: Path | None) -> Environment:
    """Merge the file's pairs with the environment's, which always win. Raises `ConfigError`."""
    pairs = {**(load(path) if path else {}), **environ}
    environment = Environment({name: value.strip() for name, value in pairs.items() if value.strip()})
    environment.filed = frozenset(environment.keys() - environ.keys())
    return environment
