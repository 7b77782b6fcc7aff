"""`roost console`: open the web console of the daemon, signed in."""

from __future__ import annotations

import os
import sys

import click

from roost.cli.app import App
from roost.cli.options import as_json, command
from roost.cli.output import note, say, say_json
from roost.errors import NotFound


@command("console")
@click.option("--print", "only", is_flag=True, help="Print the link and open nothing.")
@as_json
def console(app: App, only: bool, as_json: bool) -> int:
    """Open the web console of the daemon, signed in.

    The link works once, within five minutes; it has the rights of the token that this command uses. The console itself
    is at the daemon's address, where you can also sign in with a token.
    """
    node = app.daemon()
    if node is None:
        raise NotFound("no daemon is running, which serves the console. Start one with `roost up -d`")
    try:
        made = node.console.code()
        link = f"{node.endpoint.url}/#/enter/{made.code}"
    finally:
        node.close()
    if as_json:
        say_json({"link": link, "ends": made.ends})
        return 0
    say(link)
    if not only and _has_screen():
        import webbrowser

        if webbrowser.open(link):
            note("opened in your browser; the link works once")
    return 0


def _has_screen() -> bool:
    """Whether a browser would open in a window, and not in this terminal."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


COMMANDS = {"This machine": (console,)}
