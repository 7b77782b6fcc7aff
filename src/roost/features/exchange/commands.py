"""`roost export` and `roost import`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, Literal

import click
import msgspec

from roost.cli.app import App, folder
from roost.cli.atomic_file import write_whole
from roost.cli.options import as_json, command, session_argument
from roost.cli.output import note, say, say_json
from roost.cli.session_ids import session_id
from roost.features.exchange.conversation_items import FORMATS, Format, Report, Source
from roost.ids import new_id, short
from roost.operation import Download
from roost.terminal_text import clean

_CHUNK = 256 * 1024
_SHOWN = 12
"""Kinds that are listed by name; --json has all."""


@command("export")
@session_argument
@click.option(
    "--format",
    "-f",
    type=click.Choice(FORMATS),
    default="roost",
    show_default=True,
    help="Roost's own format, a session log of Claude Code or of Codex, or text for people.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    default="-",
    metavar="FILE",
    help="The file to write. An existing file stays until the new one is complete. Default: -, standard output.",
)
@click.option(
    "--files",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    metavar="TAR",
    help="Write the session's files there, too.",
)
def export(app: App, session: str | None, format: Format, output: Path, files: Path | None) -> int:
    """Write a session to a file; by default the newest session.

    --files also writes the session's files, to another file. Standard error counts the parts that the format cannot
    express.
    """
    if files is not None and files.absolute() == output.absolute():
        raise click.UsageError("--output and --files are the same file: give two")
    with app.node() as node:
        name = session_id(node, session)
        made = write_whole(output, lambda out: _download(node.exchange.export(name, format=format), out))
        report = msgspec.convert(made, Report)
        note(f"session {short(name)}: {report.events} events read")
        _account(report, "out")
        if files is not None:
            count = write_whole(files, lambda out: _download(node.exchange.files(name), out))["files"]
            note(f"{count} files, with whatever secrets are in them: {files}")
        return 0


@command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--as", "id", metavar="ID", help="The id of the new session.")
@click.option(
    "--agent",
    metavar="NAME",
    help="The agent of the session. Default: the definition in the file; for a foreign log, assistant.",
)
@click.option(
    "--format",
    "-f",
    type=click.Choice([name for name in FORMATS if name != "transcript"]),
    help="The format of the file. Default: by its content.",
)
@click.option("--title", metavar="TEXT", help="The title. Default: the file's.")
@click.option("--workspace", "-w", metavar="DIR", help="A folder of yours to work in. Default: a new, private one.")
@click.option("--user", metavar="NAME", help="The user whose memory it has. Default: none, whatever the file says.")
@click.option("--again", is_flag=True, help="Make a new session, even if this file was imported before.")
@as_json
def import_(
    app: App,
    file: Path,
    id: str | None,
    agent: str | None,
    format: Source | None,
    title: str | None,
    workspace: str | None,
    user: str | None,
    again: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Make a session from a file that Roost, Claude Code or Codex wrote.

    Roost imports the whole file or nothing; an error names the line. Nothing in the file runs: calls that were in
    progress in it count as interrupted. A definition in the file decides what its agent may do: import only files
    that you trust, or name an --agent.
    """
    with app.node() as node, tempfile.TemporaryDirectory(prefix="roost-import-") as room:
        path = _spooled(Path(room)) if str(file) == "-" else file
        key = new_id("key") if again else f"{_digest(path)}:{id or ''}"
        place = None if workspace is None else folder(workspace)
        with path.open("rb") as content:
            brought = node.exchange.load(
                _chunks(content),
                format=format, id=id, agent=agent, title=title, workspace=place, user=user, key=key,
            )  # fmt: skip
    if as_json:
        say_json(brought)
        return 0
    say(brought.session.id)
    if brought.duplicate:
        note("this file was imported before, as this session; --again makes another")
        return 0
    report = brought.report
    note(f"{report.events} events of {report.format}, agent {clean(brought.session.agent)}")
    if report.left_out.pop("label user", 0):
        note("the file does not decide whose memory the session has: name a --user", "yellow")
    _account(report, "in")
    return 0


def _account(report: Report, way: Literal["in", "out"]) -> None:
    """Report the content that only one of the two formats has."""
    if report.kept:
        note(f"kept, but only an export to {report.format} shows them: {_counts(report.kept)}")
    if report.mirrors:
        note(f"{report.mirrors} lines repeated others and were left out")
    if report.left_out:
        style = "yellow" if way == "in" else "dim"
        note(
            f"left out, as {report.format if way == 'out' else 'Roost'} cannot say it: {_counts(report.left_out)}",
            style,
        )


def _counts(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    shown = ", ".join(f"{count} {clean(kind)}" for kind, count in ordered[:_SHOWN])
    return shown + (f", and {len(ordered) - _SHOWN} kinds more" if len(ordered) > _SHOWN else "")


def _download(file: Download[Iterator[bytes]], out: IO[bytes]) -> Any:
    """Write the file to `out`. Returns its report."""
    for chunk in file.chunks:
        out.write(chunk)
    return file.report


def _spooled(folder: Path) -> Path:
    path = folder / "stdin"
    with path.open("wb") as out:
        shutil.copyfileobj(sys.stdin.buffer, out)
    return path


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _digest(path: Path) -> str:
    found = blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(1024 * 1024):
            found.update(chunk)
    return found.hexdigest()


COMMANDS = {
    "Sessions": (
        export,
        import_,
    )
}
