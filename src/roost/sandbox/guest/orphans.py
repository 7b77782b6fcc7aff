"""Find orphan processes inside a sandbox. Standard library only."""

from __future__ import annotations

import os

_OF_THE_KERNEL = 0x200000
"""PF_KTHREAD: a machine has kernel threads of its own."""


def find_strays(alive: dict[int, int]) -> set[int]:
    """Return the living processes that belong to no command of `alive` (number of the first process to job number)."""
    found: dict[int, tuple[int, int, bytes]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and name != "1":
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                locks = _lock_number(name)
            except OSError:
                continue
            if not (fields[0] in b"ZX" and int(fields[17]) <= 1) and not int(fields[6]) & _OF_THE_KERNEL:
                found[int(name)] = (int(fields[1]), int(fields[3]), locks)
    marks = {str(number).encode() for number in alive.values()}
    kept = {pid for pid, (_, session, locks) in found.items() if pid in alive or session in alive or locks in marks}
    while more := {pid for pid, (parent, _, _) in found.items() if parent in kept and pid not in kept}:
        kept |= more
    return found.keys() - kept


def _lock_number(pid: str) -> bytes:
    """Return the soft limit; only `spawn.Starter` sets it. Empty where the kernel shows no limits (gVisor)."""
    try:
        with open(f"/proc/{pid}/limits", "rb") as file:
            return file.read().partition(b"Max file locks")[2].split()[0]
    except (FileNotFoundError, IndexError):
        return b""
