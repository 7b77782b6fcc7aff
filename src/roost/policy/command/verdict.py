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
    """A danger: of which kind, why, and in which command; where that stands in the line, in characters, if it stands
    there as such."""

    category: Category
    why: str
    command: str
    start: int | None = None
    end: int | None = None


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """What a command would do, as far as it is known.

    programs: the names of all that would run. paths: words that may be files or folders, as written, with a `GAP` where
    only the shell knows the rest. writes: those of them that are written. removes: those that are gone from their place
    then, with all that is in them. loses: those whose content is removed or overwritten. edits: those that
    are changed in place. links: those that
    only get another name. below: folders that are read
    with all that is in them; picked: those of which some is read, nobody knows what. named: words that may be files,
    though nothing in them says so. hosts: the machines that are named. installs: orders of package managers. network:
    calls that speak to other machines. unclear: what cannot be understood; then the rest is not all. calls: of each
    program the first words, as written; doing: those of them that may change something. reached: folders that a `cd`
    must have reached for all this to be so. variables: those that programs are given which may change what they do.
    redirected: files that redirections write. elsewhere: some of `doing` runs in, or is led to, another folder than the
    one in which the command begins. read_only: everything is known, and known to change nothing.
    """

    programs: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    paths: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    removes: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    picked: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    installs: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    loses: tuple[str, ...] = ()
    edits: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    calls: tuple[tuple[str, ...], ...] = ()
    doing: tuple[tuple[str, ...], ...] = ()
    reached: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    redirected: tuple[str, ...] = ()
    elsewhere: bool = False
    read_only: bool = False
