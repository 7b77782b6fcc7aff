"""Pictures and other media that a message names or that lie in the clipboard."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from roost.cli.message_input import with_files

if TYPE_CHECKING:
    from roost.cli.node import Content

_MEDIA = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".pdf", ".wav", ".mp3", ".mp4", ".webm")
_NAMED = re.compile(r"(?:^|(?<=\s))@(\S+)")
_CLIPBOARDS = (
    ("wl-paste", "--no-newline", "--type", "image/png"),
    ("xclip", "-selection", "clipboard", "-t", "image/png", "-o"),
    ("pngpaste", "-"),
)
"""Programs that write the clipboard's picture to their output."""


def content_of(text: str, folder: Path) -> Content:
    """Return the message, with each `@` file that is a picture, a sound or a document attached. Other files stay names,
    which the agent reads by its tools. Raises `Invalid` for files that cannot be read."""
    files: list[Path] = []
    for name in _NAMED.findall(text):
        if not name.lower().endswith(_MEDIA):
            continue
        path = folder / os.path.expanduser(name)
        if os.path.isfile(path) and path not in files:
            files.append(path)
    return with_files(text, files)


def dropped_file(text: str) -> str | None:
    """Return the name of the media file that a pasted text is, as terminals paste what is dropped on them."""
    path = text.strip().strip("'\"").replace("\\ ", " ").removeprefix("file://")
    if "\n" in path or not path.lower().endswith(_MEDIA) or " " in path:
        return None
    return path if os.path.isfile(path) else None


def clipboard_picture() -> Path | None:
    """Save the clipboard's picture as a file of the temporary folder. None when there is none, or no program for it."""
    for command in _CLIPBOARDS:
        try:
            done = subprocess.run(command, capture_output=True, timeout=5, stdin=subprocess.DEVNULL, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0 and done.stdout.startswith(b"\x89PNG"):
            with tempfile.NamedTemporaryFile(prefix="roost-", suffix=".png", delete=False) as file:
                file.write(done.stdout)
            return Path(file.name)
    return None
