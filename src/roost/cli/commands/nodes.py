"""`roost nodes` and `roost drain`."""

from __future__ import annotations

import asyncio
import time

import click

from roost.api.node import Health, NodeEntry, NodeList
from roost.cli.app import App
from roost.cli.node import Node
from roost.cli.options import as_json, command
from roost.cli.output import ago, note, say, say_json, table
from roost.client.daemon_address import Unreachable

_POLL_SECONDS = 0.2


@command("nodes")
@as_json
def nodes(app: App, as_json: bool) -> int:
    """List the nodes that work on one store.

    LIVE is the number of sessions in a node's memory, ROOM the number that it still takes. A lost node is shown until
    the others have taken over its sessions.
    """
    found = _found(app)
    if as_json:
        say_json(found)
        return 0
    if not found.nodes:
        note("no node works on this store. Start one with `roost up -d`")
        return 0
    table(("NODE", "STATE", "LIVE", "ROOM", "VERSION", "BEAT", "URL"), [_row(node) for node in found.nodes])
    if found.waiting:
        note(f"{found.waiting} sessions wait for a node, the oldest for {found.waiting_seconds:.1f} s", "yellow")
    return 0


def _found(app: App) -> NodeList:
    daemon = app.daemon()
    if daemon is None:
        return asyncio.run(_in_store(app))
    try:
        return daemon.node.nodes()
    finally:
        daemon.close()


async def _in_store(app: App) -> NodeList:
    """Read the nodes from the store, without becoming a node."""
    from roost.server.node import node_entry
    from roost.stores.open import open_store

    if not app.store and not app.home_store.exists():
        return NodeList(nodes=[], waiting=0, waiting_seconds=0.0)
    store = await open_store(app.store or app.home_store)
    try:
        nodes, backlog = await store.dispatch.nodes(), await store.dispatch.backlog()
    finally:
        await store.close()
    entries = [node_entry(node) for node in nodes]
    return NodeList(nodes=entries, waiting=backlog.sessions, waiting_seconds=backlog.seconds)


def _row(node: NodeEntry) -> tuple[str, ...]:
    state = "lost" if not node.alive else "draining" if node.draining else "ready"
    name = f"{node.id} *" if node.this else node.id
    return name, state, str(node.live), str(node.room), node.version, ago(node.beat_at), node.url or "-"


@command("drain")
@click.option(
    "--grace", type=click.FloatRange(0), metavar="SECONDS", help="The time for steps in progress to end. [default: 30]"
)
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Wait no longer than this.")
@as_json
def drain(app: App, grace: float | None, timeout: float | None, as_json: bool) -> int:
    """Move the sessions of a node to other nodes.

    The command waits until no session is left. Each session moves after its step in progress. The node interrupts a
    step that does not end within --grace; another node resumes it as after a crash. The node still answers requests,
    but claims no session. Then stop it with `roost down`. Exit code: 0 when no session is left, 1 after the timeout.
    """
    daemon = _daemon(app)
    try:
        daemon.node.drain(grace=30.0 if grace is None else grace)
        health = _wait(daemon, timeout, quiet=as_json)
        waiting = daemon.node.nodes().waiting
    finally:
        daemon.close()
    if as_json:
        say_json({"node": health.node, "drained": not health.live, "live": health.live, "waiting": waiting})
    elif health.live:
        note(f"{health.live} sessions are left; the drain continues", "yellow")
    else:
        say("drained: `roost down` stops it")
    if waiting and not as_json:
        note(f"{waiting} sessions wait for a node that can run them: `roost nodes` lists the nodes", "yellow")
    return 1 if health.live else 0


def _wait(daemon: Node, timeout: float | None, *, quiet: bool) -> Health:
    """Wait until no session is left or the time is up. Returns the node's last health."""
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    shown = -1
    while True:
        health = daemon.node.health()
        if health.live != shown and health.live and not quiet:
            note(f"{health.live} sessions left")
        shown = health.live
        if health.status != "ok" and (not health.live or time.monotonic() >= deadline):
            return health
        time.sleep(_POLL_SECONDS)


def _daemon(app: App) -> Node:
    daemon = app.daemon()
    if daemon is None:
        raise Unreachable("no daemon is running here. Name the one that you mean with --url")
    return daemon
