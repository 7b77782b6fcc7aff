"""Colours for different terminals. The styles of `lines` are those of a dark one."""

from __future__ import annotations

import contextlib
from pathlib import Path

THEMES: dict[str, tuple[str, dict[str, str]]] = {
    "terminal": ("the terminal's own colours", {}),
    "light": (
        "darker colours, for a light background",
        {"2": "38;5;240", "31": "38;5;124", "32": "38;5;28", "33": "38;5;94", "34": "38;5;19", "35": "38;5;90",
         "36": "38;5;24"},
    ),
    "contrast": ("bright colours, and nothing dim", {"2": "", **{str(30 + at): str(90 + at) for at in range(1, 7)}}),
    "mono": ("bold and underlined text, no colours", {"2": "", **{str(30 + at): "" for at in range(1, 7)}}),
}  # fmt: skip
"""What each theme is, and the codes that take the place of others."""


def kept(home: Path) -> str:
    """Return the theme that was chosen last."""
    with contextlib.suppress(OSError, ValueError):
        name = (home / "theme").read_text(encoding="utf-8").strip()
        if name in THEMES:
            return name
    return "terminal"


def keep(home: Path, name: str) -> None:
    """Keep a theme for the next conversation. A home that cannot be written keeps none."""
    with contextlib.suppress(OSError):
        (home / "theme").write_text(f"{name}\n", encoding="utf-8")
