"""The result of the analysis of a command line."""

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
    """A danger. command: the command that contains it. start, end: its position in the line, in characters, or None."""

    category: Category
    why: str
    command: str
    start: int | None = None
    end: int | None = None


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """Effects of a command, as far as they are known.

    programs: names of all programs that would run. paths: words that may be files or folders, as written, with a `GAP`
    for parts that only the shell knows. writes: paths that are written. removes: paths that disappear, with their
    content. loses: files whose content is removed or overwritten. edits: files changed in place. links: files that only
    get another name. below: folders read with their whole content. picked: folders of which an unknown part is read.
    named: words that may be files, though their form does not show it. hosts: machines that are named. installs: calls
    of package managers. network: calls that use the network. unclear: parts that cannot be understood; then the
    analysis is incomplete. calls: first words of each program, as written. doing: calls that may change something.
    reached: folders that a `cd` must have reached for this to hold. variables: variables set for programs that may
    change their effect. redirected: files that redirections write. elsewhere: some of `doing` runs in, or is led to, a
    folder other than the start folder. read_only: everything is known, and known to change nothing.
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
