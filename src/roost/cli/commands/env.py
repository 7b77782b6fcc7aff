"""`roost env`: variables that every command and daemon of this home gets."""

from __future__ import annotations

import os
import sys

import click

from roost.cli import home_environment as variables
from roost.cli.app import App
from roost.cli.options import as_json, command
from roost.cli.output import note, say, say_json, table
from roost.terminal_text import visible


@click.group("env")
def env() -> None:
    """Set variables for every command and daemon of this home.

    \b
      roost env set BRAVE_API_KEY          asks for the value, and does not show it
      roost env set ROOST_MODEL=local
      roost env list
      roost env unset ROOST_MODEL

    They are in the file `env` of the home, which only you can read. A variable of your shell wins. A daemon that runs
    gets a change when it starts again.
    """


@command("set")
@click.argument("given", nargs=-1, required=True, metavar="NAME[=VALUE]...")
def set_(app: App, given: tuple[str, ...]) -> int:
    """Set variables. Without =VALUE the value is read from the terminal or from standard input."""
    values: dict[str, str | None] = {}
    for one in given:
        name, equals, value = one.partition("=")
        variables.check(name, None)
        values[name] = value if equals else _given(name)
        if equals and variables.is_secret(name):
            note(f"your shell may keep {name} in its history: `roost env set {name}` asks for the value", "yellow")
    variables.change(app.home, values)
    for name in values:
        say(f"set {name}")
        if os.environ.get(name) not in (None, values[name]):
            note(f"your shell has another {name}, which wins here", "yellow")
    _tell_of_daemon(app)
    return 0


def _given(name: str) -> str:
    """Return the value that a person types, or the next line of standard input."""
    if sys.stdin.isatty():
        typed: str = click.prompt(name, hide_input=True, prompt_suffix=": ", err=True)
        return typed
    if not (line := sys.stdin.readline()):
        raise click.UsageError(f"no value for {name} on standard input: nothing is changed")
    return line.rstrip("\r\n")


@command("unset")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def unset(app: App, names: tuple[str, ...]) -> int:
    """Remove variables from the file."""
    known = variables.load(app.home)
    for name in names:
        if name not in known:
            raise click.UsageError(f"{name!r} is not set for this home; see roost env list")
    variables.change(app.home, dict.fromkeys(names))
    for name in names:
        say(f"unset {name}")
    _tell_of_daemon(app)
    return 0


@command("list")
@as_json
def list_(app: App, as_json: bool) -> int:
    """List the variables of this home; of keys only their ends."""
    found = {name: variables.shown(name, value) for name, value in sorted(variables.load(app.home).items())}
    if as_json:
        say_json(found)
    elif not found:
        note("no variable is set for this home: roost env set NAME=VALUE")
    else:
        table(("NAME", "VALUE"), [(name, visible(value)) for name, value in found.items()])
    return 0


def _tell_of_daemon(app: App) -> None:
    if (app.home / "daemon.json").exists():
        note("a daemon that runs gets this when it starts again: roost down; roost up -d")


for _made in (set_, unset, list_):
    env.add_command(_made)
