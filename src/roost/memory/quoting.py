"""Quote stored text as data, so that it cannot pass for another line, another turn or a marker of Roost's."""

from __future__ import annotations

import json


def quoted(text: str) -> str:
    """Return a JSON string on one line. Unprintable characters (line ends of every kind, directional marks) are
    escaped."""
    plain = json.dumps(text, ensure_ascii=False)
    return plain if plain.isprintable() else "".join(char if char.isprintable() else _escaped(char) for char in plain)


def _escaped(char: str) -> str:
    return json.dumps(char)[1:-1]
