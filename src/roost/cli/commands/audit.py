"""`roost audit`."""

from __future__ import annotations

from pathlib import Path

import click

from roost.cli.app import App
from roost.cli.options import as_json, command
from roost.cli.output import note, say, say_json


@command("audit")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="[DIR]...")
@as_json
def audit(app: App, folders: tuple[Path, ...], as_json: bool) -> int:
    """Look for keys where they do not belong.

    It reads configuration, agents, environment files and dotfiles in the home and in DIR [default: this folder]. It
    shows only the first characters of a key. Exit code 1 when it finds keys.
    """
    from roost.policy.audit import audit as look

    found = look(app.home, folders or (Path.cwd(),))
    if as_json:
        say_json(found)
    else:
        for leak in found:
            say(f"{leak.path}:{leak.line}: {leak.kind}: {leak.shown}")
            note(f"  {leak.fix}")
        if not found:
            note("no keys where they do not belong")
    return 1 if found else 0
