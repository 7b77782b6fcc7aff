"""What is said of a command line."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Category: TypeAlias = Literal[
    "privilege",
    "reverse_shell",
    "inline_exec",
    "system_destroy",
    "persistence",
    "encoding_bypass",
    "remote_exec",
    "redirect",
]


class Finding(msgspec.Struct, frozen=True):
    """A danger: of which kind, why, and in which command."""

    category: Category
    why: str
    command: str


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """`programs` are all that would run, as far as it is known. `paths` are the words that may be files or folders, as
    written, with a `GAP` where only the shell knows the rest; `writes` those of them that are written, `removes` those
    that are gone from their place then, with all that is in them, `below` folders that are read with all that is in
    them, `picked` those of which some is read, nobody knows what, `hosts` the machines that are named. `installs` are
    package managers' orders. `unclear` says what cannot be understood: then the rest is not all. `read_only`:
    everything in it is known, and known to change nothing."""

    programs: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    paths: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    removes: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    picked: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    installs: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    read_only: bool = False
