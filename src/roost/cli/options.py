"""Options that several commands share. The global ones may come before or after the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from roost.cli.app import App

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])


def _home(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.ensure_object(App).set_home(Path(value))


def _url(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.ensure_object(App).url = value


def _token(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.ensure_object(App).token = value


def _store(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.ensure_object(App).set_store(value)


def places(hidden: bool, *, store: bool = False) -> Callable[[F], F]:
    """Add --home, --store, --url and --token. `hidden`: not in the help; with `store` --store is shown anyway."""

    def add(command: F) -> F:
        for option in (
            click.option("--token", metavar="TEXT", expose_value=False, callback=_token, hidden=hidden,
                         help="The daemon's token. [env: ROOST_TOKEN; default: the home's]"),
            click.option("--url", metavar="URL", expose_value=False, callback=_url, hidden=hidden,
                         help="A daemon's address. [env: ROOST_URL; default: the home's daemon]"),
            click.option("--store", metavar="URL", expose_value=False, callback=_store, hidden=hidden and not store,
                         help="Where the logs are: postgresql://user@host/database. Put a password into "
                         "ROOST_STORE. [env: ROOST_STORE; default: the home's SQLite file]"),
            click.option("--home", metavar="DIR", expose_value=False, callback=_home, hidden=hidden, is_eager=True,
                         help="The folder that holds everything. [env: ROOST_HOME; default: ~/.roost]"),
        ):  # fmt: skip
            command = option(command)
        return command

    return add


def command(name: str, *, store: bool = False) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command that accepts the global options and gets the `App` first. `store`: its help shows --store."""

    def make(function: Callable[..., Any]) -> click.Command:
        return click.command(name)(
            places(hidden=True, store=store)(click.make_pass_decorator(App, ensure=True)(function))
        )

    return make


class WholeNumber(click.IntRange):
    """An integer option with bounds, whose error names the value that is none."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            int(value)
        except ValueError:
            self.fail(f"{value!r} is no whole number", param, ctx)
        return super().convert(value, param, ctx)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
attached = click.option(
    "--attach",
    "-a",
    "attach",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A picture, a sound or another file to show to the model (repeatable).",
)
agent_places = click.option(
    "--agents",
    "agent_places",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A file or folder that defines agents (repeatable). Roost runs Python files. It always reads "
    "./agents and ./.roost/agents (except Python files), and the home's agents.",
)


def complete_session(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the id of a session in the shell."""
    from roost.cli.session_ids import completions

    return completions(context.ensure_object(App), begun)


named_session = click.argument("session", shell_complete=complete_session)
session_argument = click.argument("session", required=False, metavar="[SESSION]", shell_complete=complete_session)
sessions_argument = click.argument(
    "sessions", nargs=-1, required=True, metavar="SESSION...", shell_complete=complete_session
)
