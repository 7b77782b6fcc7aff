"""The message of a command line."""

from __future__ import annotations

import sys

from roost.errors import Invalid

_MOST = 1024 * 1024


def message_of(argument: str) -> str:
    """What is meant: standard input for `-`, and nothing that UTF-8 cannot say. Raises `Invalid`."""
    if argument != "-":
        return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    data = sys.stdin.buffer.read(_MOST + 1)
    if len(data) > _MOST:
        raise Invalid("the message on standard input is longer than 1 MB: put it into a file of the workspace")
    return data.decode("utf-8", "replace")
