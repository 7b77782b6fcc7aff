"""`roost top`."""

from __future__ import annotations

import os

import click

from roost.cli.app import App
from roost.cli.options import as_json, command
from roost.cli.output import ago, note, say, say_json, table
from roost.log.session_info import SessionInfo


@command("top")
@click.option("--once", is_flag=True, help="Print what there is now, and end.")
@as_json
def top(app: App, once: bool, as_json: bool) -> int:
    """Show sessions, nodes, queues, money and waiting approvals, live.

    Keys: arrows choose a session; Enter attaches, a answers a call that waits, m writes a message (into the running
    turn), p pauses and resumes, c cancels the turn, s stops the session, / filters, q quits. Without a terminal it
    prints what there is now.
    """
    from roost.cli.top.overview import Reader

    node = app.node()
    try:
        if once or as_json or not _drawable():
            _print(Reader(node).read(), as_json=as_json)
            return 0
        from roost.cli.top.screen import Top, WholeScreen, attach_command, colours

        where = node.endpoint.url if node.daemon else f"{app.home} (no daemon runs)"
        store = app.store if app.store_meant else None
        attach = attach_command(str(app.home), app.url, store)
        Top(node, where, WholeScreen(), colour=colours(), attach=attach).run()
        return 0
    finally:
        node.close()


def _drawable() -> bool:
    """True on a terminal that a screen can be drawn on."""
    try:
        from roost.cli.terminal.tty import usable
    except ImportError:  # not on Unix
        return False
    return usable(os.environ)


def _about(info: SessionInfo) -> str:
    return info.title or info.workspace or "(private)"


def _print(now: object, *, as_json: bool) -> None:
    from roost.cli.terminal.lines import text_of
    from roost.cli.top.overview import Overview, word
    from roost.cli.top.rows import approval_rows, summary
    from roost.ids import short

    assert isinstance(now, Overview)
    if as_json:
        say_json(now)
        return
    for row in (*summary(now, "", 10_000), *approval_rows(now.waiting, 1000, 200)):
        say(text_of(row))
    if not now.sessions:
        note('no sessions. Start one with `roost run "…"` or `roost chat`')
        return
    rows = [
        (short(one.id), one.agent, word(one), ago(one.updated_at), str(one.pending or "-"), _about(one))
        for one in now.sessions
    ]
    table(("SESSION", "AGENT", "STATE", "ACTIVE", "QUEUE", "ABOUT"), rows)
