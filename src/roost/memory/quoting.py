"""Quote stored text as data, so that it cannot pass for another line, another turn or a marker of Roost's."""

from __future__ import annotations

import json
import re

_PLAIN = re.compile(r"[\w.+@/~-]{1,80}")


def quoted(text: str) -> str:
    """Return a JSON string on one line. Unprintable characters (line ends of every kind, directional marks) are
    escaped."""
    plain = json.dumps(text, ensure_ascii=False)
    return plain if plain.isprintable() else "".join(char if char.isprintable() else _escaped(char) for char in plain)


def named(path: str) -> str:
    """Return the name of a file, in quotes if it could pass for the end of a note, another name or an instruction.
    Names may come from archives and repositories that strangers made."""
    return path if _PLAIN.fullmatch(path) else quoted(path)


def _escaped(char: str) -> str:
    return json.dumps(char)[1:-1]
