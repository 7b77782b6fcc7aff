"""`roost checkpoint`, `checkpoints`, `diff`, `rollback`, `fork`, and `resume --from`."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING

import click
import msgspec

from roost.api.session_contents import event_of
from roost.cli.app import App
from roost.cli.commands.control import for_each
from roost.cli.commands.control import resume as plain_resume
from roost.cli.options import as_json, command, session_argument, sessions_argument
from roost.cli.output import ago, note, say, say_json, table
from roost.cli.session_ids import session_id
from roost.ids import short
from roost.log.events import SessionForked
from roost.terminal_text import clean

if TYPE_CHECKING:
    from roost.cli.node import Node
    from roost.features.checkpoints.api import FilesDiff, Travelled
    from roost.log.session_info import SessionInfo
    from roost.workspace.changes import FileChange

_LATER = "accepted; it takes effect as soon as the step allows, or when a daemon runs (`roost up`)"

_BEGINNING = 20
"""Events, more than a fork has right after its creation; its `SessionForked` is the first of its own."""


@contextlib.contextmanager
def _session(app: App, text: str | None) -> Generator[tuple[Node, str]]:
    with app.node() as node:
        yield node, session_id(node, text)


def _target(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else text


def _say_files(done: Travelled) -> None:
    if done.why_no_files is not None:
        note(f"files: {done.why_no_files}", "yellow")
    if done.files_left is not None:
        note(f"its files stay for now: {done.files_left}", "yellow")


@command("checkpoint")
@session_argument
@click.argument("label", required=False)
@click.option("--drop", is_flag=True, help="Drop the checkpoint LABEL (a label or a position).")
@as_json
def checkpoint(app: App, session: str | None, label: str | None, drop: bool, as_json: bool) -> int:
    """Save a session as a checkpoint, for a later rollback or fork.

    A checkpoint has the conversation, the memory and the private files. LABEL names it.
    """
    if drop and label is None:
        raise click.UsageError("--drop needs the LABEL or the position of a checkpoint")
    with _session(app, session) as (node, found):
        done = node.checkpoints.drop(found, _target(label) or "") if drop else node.checkpoints.make(found, label)
        if as_json:
            say_json(done)
        elif done.seq is None:
            say(f"{short(found)} {_LATER}")
        else:
            said = "dropped" if drop else f"at {done.seq}" if label else "made"
            say(f"{short(found)} checkpoint {clean(label or str(done.seq))} {said}")
            _say_files(done)
    return 0


@command("checkpoints")
@session_argument
@as_json
def checkpoints(app: App, session: str | None, as_json: bool) -> int:
    """List a session's checkpoints, newest first; by default the newest session's."""
    with _session(app, session) as (node, found):
        there = node.checkpoints.list(found).checkpoints
        if as_json:
            say_json(there)
        elif not there:
            note("there is no checkpoint; `roost checkpoint` makes one")
        else:
            rows = [
                (str(one.seq), ago(one.made_at), one.cause, "yes" if one.files else "no", one.label or "")
                for one in there
            ]
            table(("AT", "MADE", "WHY", "FILES", "LABEL"), rows)
    return 0


@command("diff")
@session_argument
@click.argument("since", required=False, metavar="[CHECKPOINT]")
@click.argument("until", required=False, metavar="[CHECKPOINT]")
@as_json
def diff(app: App, session: str | None, since: str | None, until: str | None, as_json: bool) -> int:
    """Show what changed in a session's files since a checkpoint, or between two.

    A checkpoint is a label or an event's number; the default is the newest. The command compares private files only,
    text files line by line; a folder of yours has no checkpoints.
    """
    with _session(app, session) as (node, found):
        done = node.checkpoints.diff(found, since=since, until=until)
        if as_json:
            say_json(done)
        else:
            _say_diff(done)
    return 0


def _say_diff(done: FilesDiff) -> None:
    for at, why in ((done.since, done.why_not_since), (done.until, done.why_not_until)):
        if why is not None:
            note(f"event {at}: {why}", "yellow")
    for one in done.changes:
        say(f"{one.change:8} {clean(one.path)}{_detail(one)}")
        if one.diff is not None:
            say(clean(one.diff.rstrip("\n")))
    if more := done.added + done.removed + done.changed - len(done.changes):
        note(f"{more} more are not shown")
    note(f"{done.added} added, {done.removed} removed, {done.changed} changed")


def _detail(one: FileChange) -> str:
    before, after = one.before, one.after
    said = [one.why_no_diff.replace("_", " ")] if one.why_no_diff is not None else []
    sizes = [str(state.size) for state in (before, after) if state is not None and state.kind == "file"]
    if one.why_no_diff is not None and sizes:
        said.append(f"{' -> '.join(sizes)} bytes")
    if before is not None and after is not None:
        if before.kind != after.kind:
            said.append(f"{before.kind} -> {after.kind}")
        elif before.mode != after.mode:
            said.append(f"mode {before.mode:o} -> {after.mode:o}")
    return f" ({', '.join(said)})" if said else ""


@command("rollback")
@session_argument
@click.option("--to", metavar="N|LABEL", help="An event's number (`roost logs`) or a checkpoint. [default: the newest]")
@click.option("--undo", is_flag=True, help="Undo the session's last rollback.")
@as_json
def rollback(app: App, session: str | None, to: str | None, undo: bool, as_json: bool) -> int:
    """Roll a session back to a checkpoint: its conversation, its memory and its private files.

    This cancels a running turn. The log keeps everything, and spent money stays spent; `--undo` undoes the rollback. A
    folder of yours that the session works in stays as it is.
    """
    if undo and to is not None:
        raise click.UsageError("either --to or --undo")
    with _session(app, session) as (node, found):
        done = node.checkpoints.rollback(found, _target(to), undo=undo)
        if as_json:
            say_json(done)
        elif done.seq is None:
            say(f"{short(found)} {_LATER}")
        else:
            what = f"{clean(done.label)} (event {done.to})" if done.label else f"event {done.to}"
            say(f"{short(found)} is again as it was at {what}" + (", with its files" if done.files else ""))
            _say_files(done)
            note(f"`roost rollback {short(found)} --undo` undoes it")
    return 0


@command("fork")
@session_argument
@click.option("--at", metavar="N|LABEL", help="An event's number or a checkpoint. [default: where its last turn ended]")
@click.option("--title", metavar="TEXT", help="The title of the new session.")
@as_json
def fork(app: App, session: str | None, at: str | None, title: str | None, as_json: bool) -> int:
    """Make a new session that begins like another one, and continues independently.

    Both share their common part on disk; you can delete either of them.
    """
    with _session(app, session) as (node, found):
        made = node.checkpoints.fork(found, _target(at), title=title)
        if why := _why_no_files(node, made):
            note(f"files: {why}", "yellow")
        if as_json:
            say_json({**msgspec.to_builtins(made), "why_no_files": why})
        else:
            say(made.id)
            note(f"`roost send {short(made.id)} …` continues it")
    return 0


def _why_no_files(node: Node, fork: SessionInfo) -> str | None:
    """Return the reason in the fork's log; only few events can follow it."""
    page = node.sessions.events(fork.id, after=max(0, fork.head - _BEGINNING))
    found = [event_of(entry) for entry in page.events]
    return next((event.why_no_files for event in reversed(found) if isinstance(event, SessionForked)), None)


@command("resume")
@sessions_argument
@click.option("--from", "start", metavar="N|LABEL", help="Begin again at an event's number or a checkpoint.")
@as_json
def resume(app: App, sessions: tuple[str, ...], start: str | None, as_json: bool) -> int:
    """Resume paused or failed sessions, also from a checkpoint.

    With --from it also resumes stopped sessions: it rolls each back (`roost rollback`) and resumes it, by one order.
    """
    if start is None:
        return click.get_current_context().invoke(plain_resume, sessions=sessions, as_json=as_json)

    def one(node: Node, session: str) -> Travelled:
        done = node.checkpoints.rollback(session, _target(start), resume=True)
        if as_json:
            return done
        if done.seq is None:
            say(f"{short(session)} {_LATER}")
        else:
            now, then = node.sessions.inspect(session).info.state, clean(done.label or str(done.to))
            say(f"{short(session)} {now}, again as it was at {then}")
            _say_files(done)
        return done

    return for_each(app, sessions, one, as_json=as_json)


COMMANDS = {"Sessions": (resume, checkpoint, checkpoints, diff, rollback, fork)}
