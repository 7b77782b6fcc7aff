"""`roost ps` and `version`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from roost.cli.app import App
from roost.cli.options import WholeNumber, as_json, command
from roost.cli.output import ago, note, say, say_json, table
from roost.cli.session_words import activity, trouble
from roost.errors import NotFound
from roost.ids import short
from roost.log.session_info import SessionInfo, SessionState
from roost.terminal_text import one_line

if TYPE_CHECKING:
    from roost.cli.node import Node

_STATES: dict[str, SessionState] = {
    "idle": "running", "failed": "running", "working": "running", "waiting": "running",
    "running": "running", "created": "created", "paused": "paused", "stopped": "stopped", "error": "error",
}  # fmt: skip
"""The states that a person may name, and the stored state that each belongs to."""


@command("ps")
@click.option("--all", "-a", "everything", is_flag=True, help="Also list stopped sessions.")
@click.option("--agent", metavar="NAME", help="Only sessions of this agent.")
@click.option(
    "--state", type=click.Choice(tuple(_STATES)), help="Only sessions in this state. [running: the first four]"
)
@click.option("--limit", "-n", type=WholeNumber(1, 10_000), default=50, help="List at most this many. [default: 50]")
@click.option("--tree", is_flag=True, help="Show the descendants of each session below it.")
@as_json
def ps(
    app: App,
    everything: bool,
    agent: str | None,
    state: str | None,
    limit: int,
    tree: bool,
    as_json: bool,
) -> int:
    """List sessions, the newest first.

    STATE is one of: idle (waits for a message), failed (idle, and its last turn failed; ABOUT has the reason), working
    (also while a command runs in the background), waiting (for a person's answer or for a child), created, paused,
    stopped, error. QUEUE counts the messages that it has not begun. --tree also shows background commands.
    """
    node = app.node()
    try:
        found: list[SessionInfo] = []
        for info in _sessions(node, agent, state):
            if (everything or state is not None or info.state != "stopped") and not (tree and info.parent):
                found.append(info)
            if len(found) > limit:
                break
        rows = [(info, 0) for info in found[:limit]] if not tree else _grown(node, found[:limit])
        jobs = {info.id: _jobs(node, info, depth) for info, depth in rows if tree and not as_json}
    finally:
        node.close()
    if as_json:
        say_json([info for info, _ in rows])
        return 0
    if not found:
        note('no sessions. Start one with `roost run "…"` or `roost chat`')
        return 0
    shown = [row for info, depth in rows for row in (_row(info, depth), *jobs.get(info.id, ()))]
    table(("SESSION", "AGENT", "STATE", "ACTIVE", "QUEUE", "ABOUT"), shown)
    if len(found) > limit:
        note(f"only the newest {limit}; more with --limit")
    if not node.daemon and any(info.phase == "working" or info.pending for info in found[:limit]):
        note("no daemon runs: `roost up` resumes unfinished work")
    return 0


def _sessions(node: Node, agent: str | None, state: str | None) -> Iterator[SessionInfo]:
    before: str | None = None
    stored = None if state is None else _STATES[state]
    while page := node.sessions.find(agent=agent, state=stored, before=before, limit=100, turns=True).sessions:
        yield from (info for info in page if state in (None, stored) or activity(info) == state)
        before = page[-1].id
        if len(page) < 100:
            return


def _grown(node: Node, roots: list[SessionInfo]) -> list[tuple[SessionInfo, int]]:
    """Return the sessions with all of their descendants, each below its parent, and their depths."""
    rows: list[tuple[SessionInfo, int]] = []
    for root in roots:
        below: dict[str | None, list[SessionInfo]] = {}
        for info in node.delegation.tree(root.id).sessions[1:]:
            below.setdefault(info.parent, []).append(info)
        waiting = [(root, 0)]
        while waiting:
            info, depth = waiting.pop()
            rows.append((info, depth))
            waiting += [(child, depth + 1) for child in below.get(info.id, ())]
    return rows


def _row(info: SessionInfo, depth: int) -> tuple[str, ...]:
    place = info.title or info.workspace or "(private)"
    place += f": {why}" if (why := trouble(info)) else ""
    return (
        "  " * depth + short(info.id),
        info.agent,
        activity(info),
        ago(info.updated_at),
        str(info.pending or "-"),
        place,
    )


def _jobs(node: Node, info: SessionInfo, depth: int) -> list[tuple[str, ...]]:
    """Return the rows of its background commands."""
    if info.phase == "idle":
        return []
    try:
        jobs = node.sessions.inspect(info.id).jobs
    except NotFound:  # deleted meanwhile
        return []
    place = "  " * depth + "  "
    return [(place + job.job, "", "runs", ago(job.began), "", one_line(job.command, 60)) for job in jobs]


@command("version")
@as_json
def version(app: App, as_json: bool) -> int:
    """Print the version."""
    import platform
    from importlib.metadata import version

    if as_json:
        say_json({"version": version("roost"), "python": platform.python_version()})
    else:
        say(f"roost {version('roost')} (Python {platform.python_version()})")
    return 0
