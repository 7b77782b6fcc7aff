"""`roost pull`."""

from __future__ import annotations

import click

from roost.cli.app import App
from roost.cli.options import as_json, command
from roost.cli.output import say, say_json


@command("pull")
@click.argument("model", required=False)
@click.option("--list", "listed", is_flag=True, help="Only list the models.")
@as_json
def pull(app: App, model: str | None, listed: bool, as_json: bool) -> int:
    """Fetch the weights of a local model; by default of the one that is used when no key is set.

    Roost checks them against the publisher's SHA-256 and keeps them for all homes of this machine. After an
    interruption it continues the download. The first time it also finds the fastest settings of this machine, in
    about a minute.
    """
    from roost.cli.output import size, table
    from roost.cli.weights_download import fetch, tune
    from roost.local.catalog import CATALOG, DEFAULT

    if listed:
        if as_json:
            say_json([{"name": one.name, "bytes": one.bytes, "licence": one.licence} for one in CATALOG.values()])
        else:
            table(
                ("MODEL", "SIZE", "LICENCE", ""),
                [(w.name, size(w.bytes), w.licence, "default" if w.name == DEFAULT else "") for w in CATALOG.values()],
            )
        return 0
    path = fetch(model, quiet=as_json)
    tune(model, quiet=as_json)
    if as_json:
        say_json({"path": str(path), "bytes": path.stat().st_size})
    else:
        say(f"ready: {path}")
    return 0
