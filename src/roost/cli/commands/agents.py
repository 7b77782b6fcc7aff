"""`roost agents`: list agents, and migrate sessions to their current version."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import click

from roost.cli.app import App
from roost.cli.commands.config import who
from roost.cli.options import agent_places, as_json, command, complete_session
from roost.cli.output import note, say, say_json, table
from roost.cli.session_ids import session_id, shortened
from roost.errors import RoostError
from roost.ids import short
from roost.terminal_text import one_line

if TYPE_CHECKING:
    from roost.cli.node import Node

_End: TypeAlias = Literal["moved", "later", "already"]
_PATIENCE = 5.0
"""Seconds to wait for a sleeping session to wake and move."""


class _Listing(click.Group):
    """Without a subcommand it lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("agents", cls=_Listing, subcommand_metavar="[OPTIONS] | COMMAND ...")
def agents() -> None:
    """List the agents: the built-in one, those of files, and those that the daemon knows.

    \b
      roost agents
      roost agents move @last          continue a session with its agent's present version
      roost agents move --all clerk    every session of an agent
    """


@command("list")
@agent_places
@as_json
def list_(app: App, agent_places: tuple[Path, ...], as_json: bool) -> int:
    """List the agents, and the faults of files that a running daemon could not read again."""
    from roost.agent.default_agent import default_agent
    from roost.server.node import agent_info

    rows = {"assistant": (agent_info(default_agent()), "built in")}
    faults: dict[str, str] = {}
    daemon = app.daemon()
    if daemon is not None:
        rows |= {row.name: (row, "daemon") for row in daemon.node.agents().agents if row.name != "assistant"}
        faults = _faults(daemon)
        daemon.close()
    files = app.agent_files(agent_places).files
    rows |= {found.agent.name: (agent_info(found.agent), str(found.path)) for found in files}
    chosen = [rows[name] for name in sorted(rows)]
    for fault in dict.fromkeys(faults.values()):
        note(f"! {fault}", "yellow")
    if as_json:
        say_json([{"source": source, **_fields(row)} for row, source in chosen])
        return 0
    table(
        ("AGENT", "MODEL", "PERMISSIONS", "FROM", "DESCRIPTION"),
        [
            (row.name, row.model or "(default)", row.permissions, source, one_line(row.description, 200) or "-")
            for row, source in chosen
        ],
    )
    return 0


def _faults(daemon: Node) -> dict[str, str]:
    """Return the faults of files; none to an account that may not see the configuration."""
    try:
        return dict(daemon.configuration.get().faults)
    except RoostError as error:
        if error.code != "forbidden":
            raise
        return {}


@command("move")
@click.argument("sessions", nargs=-1, metavar="SESSION...", shell_complete=complete_session)
@click.option("--all", "every", metavar="AGENT", help="Every session of this agent that has another version.")
@as_json
def move(app: App, sessions: tuple[str, ...], every: str | None, as_json: bool) -> int:
    """Move sessions to the present version of their agent.

    A session keeps the version of its agent that it began with. This command moves it when no turn is open: a
    sleeping session at once, a working one after its turn, a paused one when it is resumed. Start a stopped session
    first. A session that was made with --model loses that model.
    """
    if bool(sessions) == (every is not None):
        raise click.UsageError("name sessions, or give --all AGENT")
    node = app.node()
    failed = 0
    ends: dict[_End, list[str]] = {"moved": [], "later": [], "already": []}
    try:
        for session in sessions if every is None else _behind(node, every):
            try:
                name = session_id(node, session) if every is None else session
                end, said = _moved(node, name)
                ends[end].append(name)
                if not as_json:
                    say(f"{short(name)} {said}")
            except RoostError as error:
                failed += 1
                note(f"error: {shortened(error.message)}", "red")
    finally:
        node.close()
    if as_json:
        say_json({**ends, "failed": failed})
    elif not failed and not any(ends.values()):
        say("nothing to move")
    return 1 if failed else 0


def _moved(node: Node, session: str) -> tuple[_End, str]:
    """Move a session, and wait while a sleeping one wakes for it."""
    info = node.info(session)
    present = _present(node, info.agent)
    if info.version == present and not info.pending:
        return "already", f"is already at version {present} of its agent"
    node.upgrades.move(session, by=who())
    deadline = time.monotonic() + (_PATIENCE if info.state == "running" and info.phase == "idle" else 0.0)
    while (info := node.info(session)).version != present and time.monotonic() < deadline:
        time.sleep(0.05)
    if info.version == present and not info.pending:
        return "moved", f"moved to version {present} of its agent"
    return "later", "moves when it is resumed" if info.state == "paused" else "moves when no turn is open"


agents.add_command(list_)
agents.add_command(move)


def _behind(node: Node, agent: str) -> Iterator[str]:
    """Yield sessions of the agent that have another version than the current one, and can be moved."""
    if (present := _present(node, agent)) is None:
        raise RoostError(f"there is no agent {agent!r}", code="unknown_agent")
    before: str | None = None
    while page := node.sessions.find(agent=agent, before=before, limit=100).sessions:
        yield from (info.id for info in page if info.version != present and info.state not in ("stopped", "error"))
        before = page[-1].id


def _present(node: Node, agent: str) -> str | None:
    return next((row.version for row in node.node.agents().agents if row.name == agent), None)


def _fields(row: object) -> dict[str, object]:
    import msgspec

    return msgspec.structs.asdict(row)  # type: ignore[arg-type]
