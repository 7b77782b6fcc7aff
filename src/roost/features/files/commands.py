"""`roost files`: find, read, write, put back and share the files of sessions and of shared folders."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from roost.cli.app import App, folder
from roost.cli.message_input import message_of
from roost.cli.options import WholeNumber, as_json, command
from roost.cli.output import ago, note, say, say_json, size, table
from roost.cli.session_ids import session_id
from roost.terminal_text import clean

if TYPE_CHECKING:
    from roost.cli.node import Node
    from roost.features.files.protocols import FoundFiles, IndexStatus

_PIECE = 256 * 1024
_TIMES = {"m": 60.0, "h": 3600.0, "d": 86_400.0}
_session = click.option("--session", "-s", metavar="SESSION", help="The session. [default: the newest]")
_space = click.option("--space", metavar="NAME", help="A shared folder instead (`roost files spaces`).")


@click.group("files")
def files() -> None:
    """Find, read, write, put back and share files, also in your own words.

    \b
      roost files ask "the invoice from May"
      roost files search "invoice" --space papers
      roost files share report.pdf --for 2d
    """


def _where(node: Node, session: str | None, space: str | None) -> str:
    if session is not None and space is not None:
        raise click.UsageError("give --session or --space, not both")
    return f"space:{space}" if space is not None else session_id(node, session)


@command("ask")
@click.argument("words")
@click.option("--folder", "-w", "place", metavar="DIR", default=".", help="The folder. [default: this one]")
@_space
@click.option("--model", "-m", metavar="NAME", help="A model for this question.")
@click.option("--session", "-s", metavar="SESSION", help="Go on in this session.")
@click.option("--yes", "-y", is_flag=True, help="Approve every tool call without asking.")
@click.option("--quiet", "-q", is_flag=True, help="Print only the answer.")
@as_json
def ask(
    app: App,
    words: str,
    place: str,
    space: str | None,
    model: str | None,
    session: str | None,
    yes: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Ask an agent for files, or to do something with them, in your own words.

    The agent has the tools for files and no others: it runs no commands and reaches no other machine. It asks before it
    shares a file.
    """
    from roost.cli.open_session import SessionOptions
    from roost.cli.run_task import do
    from roost.features.files.librarian import librarian

    message = message_of(words)
    if space is not None:
        with app.node() as node:
            place = _folder_of(node, space)
    agent = None if session is not None else librarian(model)
    wanted = SessionOptions(None, None, (), session, folder(place), quiet or as_json, message, definition=agent)
    return do(app, wanted, message, yes=yes, as_json=as_json, quiet=quiet)


def _folder_of(node: Node, space: str) -> str:
    for one in node.files.spaces().spaces:
        if one.name == space:
            return one.folder
    raise click.UsageError(f"there is no shared folder {space!r}; `roost files spaces` lists them")


@command("search", store=True)
@click.argument("query")
@_session
@_space
@click.option("--path", default="", metavar="DIR", help="Search only in this folder.")
@click.option("--exact", is_flag=True, help="By words alone, not by meaning.")
@click.option("--limit", type=WholeNumber(1, 100), default=10, show_default=True)
@as_json
def search(
    app: App,
    query: str,
    session: str | None,
    space: str | None,
    path: str,
    exact: bool,
    limit: int,
    as_json: bool,
) -> int:
    """Find files by words and by meaning, the best first."""
    with app.node() as node:
        where = _where(node, session, space)
        found = node.files.search(where, query, path=path, how="words" if exact else "hybrid", limit=limit)
    if as_json:
        say_json(found)
    else:
        _say_found(found)
    return 0


def _say_found(found: FoundFiles) -> None:
    for one in found.hits:
        lines = f":{one.first}" if one.first else ""
        say(f"{clean(one.path)}{lines}  {size(one.size)}, {ago(one.modified)}")
        for line in one.snippet.split("\n")[:4]:
            if line.strip():
                note(f"    {clean(line.strip()[:160])}")
    if not found.hits:
        note("nothing fits")
    if found.why is not None:
        note(f"{'by words alone' if found.how == 'words' else 'perhaps not all'}: {found.why}", "yellow")


@command("list", store=True)
@click.argument("path", default="")
@_session
@_space
@as_json
def list_(app: App, path: str, session: str | None, space: str | None, as_json: bool) -> int:
    """List a folder; without PATH the whole one's top."""
    found: list[Any] = []
    with app.node() as node:
        where, after = _where(node, session, space), ""
        while True:
            page = node.files.list(where, path=path, after=after)
            found += page.files
            if page.next is None:
                break
            after = page.next
    if as_json:
        say_json(found)
    for one in [] if as_json else found:
        say(f"{clean(one.path)}/" if one.folder else f"{clean(one.path)}  {size(one.size)}")
    return 0


@command("read", store=True)
@click.argument("path")
@_session
@_space
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it there.")
def read(app: App, path: str, session: str | None, space: str | None, output: Path | None) -> int:
    """Print a file, or copy it out."""
    with app.node() as node:
        got = node.files.read(_where(node, session, space), path)
        try:
            data = b"".join(got.chunks)
        finally:
            got.done()
    if output is not None:
        output.write_bytes(data)
        note(f"{output}: {len(data)} bytes")
    elif sys.stdout.isatty():
        say(clean(data.decode("utf-8", "replace").rstrip("\n")))
    else:
        sys.stdout.buffer.write(data)
    return 0


@command("write")
@click.argument("path")
@click.argument("source", type=click.File("rb"), default="-")
@_session
@_space
@click.option("--new", "fresh", is_flag=True, help="Fail if the file exists.")
@as_json
def write(app: App, path: str, source: Any, session: str | None, space: str | None, fresh: bool, as_json: bool) -> int:
    """Write a file from SOURCE, another file; by default from standard input."""
    data: bytes = source.read()
    pieces = [data[at : at + _PIECE] for at in range(0, len(data), _PIECE)] or [b""]
    with app.node() as node:
        where = _where(node, session, space)
        if space is None:
            node.work_on(where)
        done = node.files.write(where, path, pieces, digest="" if fresh else None)
    if as_json:
        say_json(done)
    else:
        note(f"{path}: {len(data)} bytes" if done.done else f"{path}: accepted; written before the session's next turn")
    return 0


@command("history", store=True)
@click.argument("path")
@_session
@as_json
def history(app: App, path: str, session: str | None, as_json: bool) -> int:
    """List the versions of a session's file over its checkpoints, the newest first."""
    with app.node() as node:
        found = node.checkpoints.history(session_id(node, session), path)
    if as_json:
        say_json(found)
    elif found.versions:
        rows = [
            (
                "now" if one.seq is None else str(one.seq),
                one.change,
                "-" if one.file is None else size(one.file.size),
                "" if one.made_at is None else ago(one.made_at),
                clean(one.label or ""),
            )
            for one in found.versions
        ]
        table(("AT", "CHANGE", "SIZE", "CHECKPOINT", "LABEL"), rows)
    else:
        note("no checkpoint has this file; `roost checkpoint` makes one")
    return 0


@command("restore")
@click.argument("path")
@click.argument("version")
@_session
@as_json
def restore(app: App, path: str, version: str, session: str | None, as_json: bool) -> int:
    """Put one file of a session back to VERSION, an event's number or a checkpoint's label.

    Everything else of the session stays as it is; `roost rollback` puts back all of it.
    """
    with app.node() as node:
        to = int(version) if version.isascii() and version.isdecimal() else version
        done = node.files.restore(session_id(node, session), path, to)
    if as_json:
        say_json(done)
    elif not done.done:
        note(f"{path}: accepted; put back before the session's next turn")
    else:
        note(f"{path}: removed, as it did not exist there" if done.size is None else f"{path}: {done.size} bytes")
    return 0


def _seconds(context: click.Context, parameter: click.Parameter, value: str) -> float:
    found = re.fullmatch(r"(\d{1,4})([mhd])", value)
    if found is None:
        raise click.BadParameter("give a time as 30m, 12h or 7d")
    return int(found[1]) * _TIMES[found[2]]


@command("share")
@click.argument("path")
@_session
@_space
@click.option("--for", "seconds", default="1d", show_default=True, callback=_seconds, metavar="TIME", help="As 12h.")
@as_json
def share(app: App, path: str, session: str | None, space: str | None, seconds: float, as_json: bool) -> int:
    """Make a link to a copy of a file. Everybody who has it can download the copy until it expires.

    The daemon serves links: one that listens on this machine alone serves no other.
    """
    with app.node() as node:
        made = node.files.share(_where(node, session, space), path, seconds=seconds)
        base = node.endpoint.url if node.daemon else ""
    if as_json:
        say_json(made)
    else:
        say(f"{base}{made.link}")
        until = time.strftime("%Y-%m-%d %H:%M", time.localtime(made.expires))
        note(f"until {until}; `roost files unshare {made.id}` revokes it" + ("" if base else "; `roost up` serves it"))
    return 0


@command("shares", store=True)
@as_json
def shares(app: App, as_json: bool) -> int:
    """List the links that hold."""
    with app.node() as node:
        found = node.files.shares(limit=1000).shares
    if as_json:
        say_json(found)
    elif found:
        rows = [(one.id, clean(one.path), clean(one.source), size(one.size), _until(one.expires)) for one in found]
        table(("ID", "FILE", "FROM", "SIZE", "HOLDS"), rows)
    else:
        note("there is no link")
    return 0


def _until(moment: float) -> str:
    left = moment - time.time()
    return f"{left / 86_400:.1f} days" if left > 86_400 else f"{left / 3600:.1f} hours"


@command("unshare", store=True)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def unshare(app: App, ids: tuple[str, ...]) -> int:
    """Revoke links."""
    with app.node() as node:
        for id in ids:
            note(f"revoked: {clean(node.files.unshare(id).path)}")
    return 0


@command("spaces", store=True)
@as_json
def spaces(app: App, as_json: bool) -> int:
    """List the shared folders."""
    with app.node() as node:
        found = node.files.spaces().spaces
    if as_json:
        say_json(found)
    elif found:
        rows = [(one.name, one.folder, one.account or "-", "yes" if one.writable else "no") for one in found]
        table(("NAME", "FOLDER", "ACCOUNT", "WRITABLE"), rows)
    else:
        note("there is none; `roost files add NAME FOLDER` shares one")
    return 0


@command("add", store=True)
@click.argument("name")
@click.argument("place", metavar="FOLDER")
@click.option("--account", default="", metavar="NAME", help="An account that may use it besides you.")
@click.option("--write", "writable", is_flag=True, help="That account may write there, too.")
@as_json
def add(app: App, name: str, place: str, account: str, writable: bool, as_json: bool) -> int:
    """Share a folder of this machine under a name, to search it with --space NAME."""
    with app.node() as node:
        made = node.files.add_space(name, os.path.abspath(place), account=account, writable=writable)
    say_json(made) if as_json else say(f"{made.name}  {made.folder}")
    return 0


@command("remove", store=True)
@click.argument("name")
def remove(app: App, name: str) -> int:
    """Share a folder no more. Its files stay."""
    with app.node() as node:
        note(f"no longer shared: {node.files.remove_space(name).folder}")
    return 0


@command("index", store=True)
@_session
@_space
@click.option("--rebuild", is_flag=True, help="Remove it and make it anew.")
@as_json
def index(app: App, session: str | None, space: str | None, rebuild: bool, as_json: bool) -> int:
    """Show the index of a folder: what can be found, and what was left out."""
    with app.node() as node:
        where = _where(node, session, space)
        found = node.files.rebuild(where) if rebuild else node.files.index(where)
    if as_json:
        say_json(found)
    else:
        _say_index(found)
    return 0


def _say_index(found: IndexStatus) -> None:
    rows = [
        ("files", f"{found.files:,}"),
        ("by name alone", f"{found.named:,}"),
        ("pieces of text", f"{found.pieces:,}"),
        ("with a vector", f"{found.vectors:,}"),
        ("on disk", size(found.bytes)),
        ("complete", "yes" if found.complete else "not yet"),
        ("hears changes", "yes" if found.follows else "no: each search looks at all files"),
    ]
    for name, value in rows:
        say(f"{name:<16}{value}")
    for one in found.notes:
        note(one, "yellow")


for one in (ask, search, list_, read, write, history, restore, share, shares, unshare, spaces, add, remove, index):
    files.add_command(one)


COMMANDS = {"Sessions": (files,)}
