"""Read the message of a command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from roost.errors import Invalid

if TYPE_CHECKING:
    from roost.cli.node import Content
    from roost.log.content import Media

_MOST = 1024 * 1024
_MEDIA = 31 * _MOST
"""Most characters of base64; the daemon accepts messages of 32 MiB."""


def message_of(argument: str) -> str:
    """Return the message: standard input for `-`. Invalid UTF-8 is replaced. Raises `Invalid`."""
    if argument != "-":
        return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    data = sys.stdin.buffer.read(_MOST + 1)
    if len(data) > _MOST:
        raise Invalid("the message on standard input is longer than 1 MB: put it into a file of the workspace")
    return data.decode("utf-8", "replace")


def with_files(message: str, files: Sequence[Path]) -> Content:
    """Return the message with these files attached. Raises `Invalid` for unreadable or too large ones."""
    if not files:
        return message
    from roost.log.content import Text

    media = [_part(path) for path in files]
    if sum(len(part.data) for part in media) > _MEDIA:
        raise Invalid("the files are larger than 23 MB together: put them into the session's folder instead")
    return [Text(message), *media]


def _part(path: Path) -> Media:
    import base64
    import mimetypes

    from roost.log.content import Audio, File, Image, Video
    from roost.models.media.sniff import sniff

    try:
        with path.open("rb") as file:
            data = file.read(_MEDIA + 1)
    except OSError as error:
        raise Invalid(f"cannot read {path}: {error.strerror}") from error
    if not data:
        raise Invalid(f"{path} is empty")
    kind = sniff(data, "file") or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    shape = {"image": Image, "audio": Audio, "video": Video}.get(kind.partition("/")[0], File)
    return shape(kind, base64.b64encode(data[:_MEDIA]).decode(), None, path.name)
