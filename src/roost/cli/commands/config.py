"""`roost config` and `roost reload`: change settings while nodes run."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING

import click

from roost.cli.app import App
from roost.cli.options import WholeNumber, as_json, command
from roost.cli.output import ago, note, say, say_json, table

if TYPE_CHECKING:
    from roost.client.sync_rooms import SyncConfiguration
    from roost.kernel.settings import Changed, Revision, Value


@click.group("config", invoke_without_command=True)
@click.pass_context
def config(context: click.Context) -> None:
    """Show every setting and where it comes from, and change the settings of all running nodes.

    \b
      roost config                               what holds here: home, model, keys, files, and who says so
      roost config get                           every key, its value and what it means
      roost config set retention=604800 linger=5
      roost config set retention=                as each node was started
      roost config history                       the changes, with author and time

    A change takes effect on this node at once, and on every other node of the store within seconds. It overrides the
    options and files of a node's start. To undo it, set the old value.
    """
    if context.invoked_subcommand is None:
        context.invoke(show)


@command("show")
@as_json
def show(app: App, as_json: bool) -> int:
    """Show what holds in this folder, and where each value comes from."""
    from roost.cli.setting_sources import settings

    found = settings(app)
    if as_json:
        say_json([{"setting": one.name, "value": one.value, "from": one.source} for one in found])
    else:
        table(("SETTING", "VALUE", "FROM"), [(one.name, one.value, one.source) for one in found])
        note("keys for all nodes: roost config get")
    return 0


@contextlib.contextmanager
def _node(app: App) -> Generator[SyncConfiguration]:
    node = app.node()
    try:
        yield node.configuration
    finally:
        node.close()


@command("get", store=True)
@click.argument("key", required=False)
@as_json
def get(app: App, key: str | None, as_json: bool) -> int:
    """Show a key, or all of them."""
    from roost.kernel.settings import KEYS, checked

    if key is not None and key not in KEYS:
        checked(key, None)
    with _node(app) as configuration:
        found = [one for one in configuration.get().settings if key in (None, one.key)]
    if as_json:
        say_json(found if key is None else found[0])
    elif key is not None:
        say(_shown(found[0].value))
    else:
        rows = [(one.key, _shown(one.value), "set" if one.set else "started", one.says) for one in found]
        table(("KEY", "VALUE", "FROM", "MEANS"), rows)
    return 0


@command("set", store=True)
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE...")
@as_json
def set_(app: App, changes: tuple[str, ...], as_json: bool) -> int:
    """Change keys: all of them, or none when one is wrong. KEY= resets a key."""
    from roost.kernel.settings import checked, read

    given: dict[str, Value | None] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise click.UsageError(f"{change!r} is no change: write KEY=VALUE, as in linger=5")
        given[key.strip()] = read(key.strip(), value) if value.strip() else checked(key.strip(), None)
    with _node(app) as configuration:
        made = configuration.patch(given, by=who())
    if as_json:
        say_json(made)
        return 0
    for change in made.changes:
        if change.key in given:
            say(_change(change))
    return 0


@command("history", store=True)
@click.option("--limit", "-n", type=WholeNumber(1, 1000), default=20, show_default=True)
@as_json
def history(app: App, limit: int, as_json: bool) -> int:
    """Show the changes and their authors, the newest first."""
    with _node(app) as configuration:
        found = configuration.history(limit=limit).changes
    if as_json:
        say_json(found)
        return 0
    if not found:
        note("nothing was changed")
        return 0
    table(("NUMBER", "WHEN", "BY", "CHANGE"), [_row(revision) for revision in found])
    return 0


config.add_command(show)
config.add_command(get)
config.add_command(set_)
config.add_command(history)


@command("reload")
@as_json
def reload(app: App, as_json: bool) -> int:
    """Have the daemon read its files again: agents, models.toml, policy.toml.

    The daemon reads most changed files without this command. It needs the command for Python files, policy.toml, the
    file of ROOST_MODELS, and a file outside the home that changes what its agent may do. Running turns continue
    unchanged. A file with an error changes nothing; then the exit code is 1.
    """
    node = app.daemon()
    if node is None:
        note("no daemon is running; the next one reads its files when it starts")
        return 0
    try:
        done = node.configuration.reload()
    finally:
        node.close()
    if as_json:
        say_json(done)
        return 1 if done.faults else 0
    say(f"agents: {', '.join(done.agents) or 'as they were'}; files: {', '.join(done.files) or 'as they were'}")
    for fault in done.faults.values():
        note(f"! {fault}", "yellow")
    return 1 if done.faults else 0


def _row(revision: Revision) -> tuple[str, ...]:
    return str(revision.number), ago(revision.at), revision.by, ", ".join(map(_change, revision.changes))


def _change(change: Changed) -> str:
    return f"{change.key}: {_set(change.old)} → {_set(change.new)}"


def _set(value: Value | None) -> str:
    return "(as started)" if value is None else _shown(value)


def _shown(value: Value | None) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def who() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user number without a name
        return "a person"
