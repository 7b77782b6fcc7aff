"""Protect the daemon's own process: hide its secrets from `/proc`, and warn when it runs as root."""

from __future__ import annotations

import os
import re
import sys

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|ROOST_STORE", re.IGNORECASE)


_FIX = "Run it as a user of its own (deploy/roost.service, deploy/Dockerfile)"


def root_warning(*, users: bool, why: str | None = None) -> str:
    """Return the warning of the daemon and `roost doctor` about running as root. `users`: sessions have users of their
    own. `why`: the reason why not."""
    if users:
        return (
            "Roost runs as root: each session has a user of its own, but a fault in the daemon itself is root's."
            f" {_FIX}"
        )
    reason = f" No session has a user of its own: {why}." if why is not None else ""
    return (
        "Roost runs as root: files that agents make belong to root, and a command that gets out of its sandbox is root."
        f"{reason} {_FIX}"
    )


def runs_as_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def hide_secrets() -> list[str]:
    """Blank the values of secret-looking variables in /proc/PID/environ, and return their names.

    A command gets a clean environment, but it can read that of its parent in /proc, which the system keeps as it was at
    the start. `os.environ` and `getenv` go on working. The daemon must call this once at its start, before other
    threads run. Does nothing where there is no /proc. Memory itself stays readable for root.
    """
    if sys.platform != "linux":
        return []
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        with open("/proc/self/environ", "rb") as file:
            block = file.read()
    except OSError:
        return []
    import ctypes

    start, end = int(fields[47]), int(fields[48])
    hidden: list[str] = []
    place = 0
    for entry in block.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        at = start + place + len(name) + 1
        place += len(entry) + 1
        text = os.fsdecode(name)
        if not (start and equals and value and _SECRET.search(text) and at + len(value) <= end):
            continue
        if text in os.environ:
            os.environ[text] = os.environ[text]  # the C library now has a copy elsewhere
        ctypes.memset(at, ord("*"), len(value))
        hidden.append(text)
    return hidden
