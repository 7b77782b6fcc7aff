"""`roost replay`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from roost.cli.app import App
from roost.cli.atomic_file import write_text
from roost.cli.options import as_json, command, complete_session
from roost.cli.output import note, say, say_json, styled
from roost.cli.session_ids import session_id
from roost.errors import Invalid, RoostError
from roost.ids import short
from roost.terminal_text import clean

if TYPE_CHECKING:
    from roost.cli.node import Node
    from roost.features.replay.suite import Case, Result

_PAGE = 200
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@command("replay")
@click.argument("sources", nargs=-1, metavar="[SESSION|LOG|FILE.toml]...", shell_complete=complete_session)
@click.option("--label", metavar="KEY=VALUE", help="Replay all sessions with this label.")
@click.option("--all", "everything", is_flag=True, help="Replay all sessions.")
@click.option(
    "--since", metavar="TIME", help="With --label or --all: sessions active since a date, or `12h`, `7d` ago."
)
@click.option("--tools", type=click.Choice(("recorded", "live")), default="recorded", show_default=True,
              help="Take the results of tools from the record, or run the tools of files and sandbox.")  # fmt: skip
@click.option("--model", metavar="NAME", help="Ask this model, with recorded tools.")
@click.option(
    "--agent", metavar="NAME[@VERSION]", help="Run this agent, with recorded tools; `recorded`: as in the log."
)
@click.option("--prompt", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Ask a model with these instructions, with recorded tools.")  # fmt: skip
@click.option("--compare", type=click.Choice(("all", "calls")),
              help="`all`: texts and sizes, too. `calls`: calls, decisions, ends of turns. "
              "[default: calls with a model, else all]")  # fmt: skip
@click.option("--network", is_flag=True, help="Live tools may reach the hosts that the agent may reach.")
@click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
              help="Live tools begin with a copy of this folder.")  # fmt: skip
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write a JUnit file.")
@as_json
def replay(
    app: App,
    sources: tuple[str, ...],
    label: str | None,
    everything: bool,
    since: str | None,
    junit: Path | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Run recorded sessions again, as tests.

    A source is a session, a log that `roost export` wrote, or a file of replays with assertions. Nothing happens
    outside: by default the model's answers and the results of tools come from the record, and the present agent runs.
    The first difference is shown, and ends with exit code 1, as a failed assertion does.
    """
    from roost.features.replay import reports

    if not sources and label is None and not everything:
        raise click.UsageError("name a session, a log or a file of replays; or use --label or --all")
    if since is not None and label is None and not everything:
        raise click.UsageError("--since belongs to --label or --all")
    options, oldest = _options(given), 0.0 if since is None else _time_of(since)
    results: list[Result] = []
    with app.node() as node:
        for case in _cases(node, sources, options, label, everything, oldest):
            results.append(result := _run(node, case))
            if not as_json:
                _show(result)
    if junit is not None:
        write_text(junit, reports.junit(results))
    if as_json:
        say_json(reports.as_json(results))
    elif not results:
        note("no session fits")
    elif len(results) > 1:
        good = sum(one.good for one in results)
        note(f"{good} of {len(results)} replays passed", "green" if good == len(results) else "red")
    return 0 if all(one.good for one in results) else 1


def _options(given: dict[str, Any]) -> dict[str, Any]:
    from roost.features.replay.suite import read_text

    if given["prompt"] is not None:
        given["prompt"] = read_text(given["prompt"])
    if given["folder"] is not None:
        given["folder"] = str(given["folder"].resolve())
    return given


def _cases(
    node: Node, sources: tuple[str, ...], options: dict[str, Any], label: str | None, everything: bool, oldest: float
) -> Iterator[Case]:
    from roost.features.replay.expectations import Expect
    from roost.features.replay.suite import Case, read_suite

    for source in sources:
        path = Path(source)
        if source.endswith(".toml"):
            if not path.is_file():
                raise Invalid(f"there is no file {source}")
            if any(options[name] not in (None, False, "recorded") for name in options):
                raise click.UsageError(f"{source} says how its replays run: leave out the options, or name its logs")
            yield from read_suite(path)
        elif path.is_file():
            yield Case(source, path, None, options, Expect())
        else:
            found = session_id(node, source)
            yield Case(short(found), None, found, options, Expect())
    if label is not None or everything:
        for found in _found(node, label, oldest):
            yield Case(short(found), None, found, options, Expect(), optional=True)


def _found(node: Node, label: str | None, oldest: float) -> Iterator[str]:
    if label is not None and "=" not in label:
        raise click.UsageError("--label KEY=VALUE")
    wanted, before = None if label is None else label.replace("=", ":", 1), None
    while page := node.sessions.find(label=wanted, before=before, limit=_PAGE).sessions:
        yield from (info.id for info in page if info.updated_at >= oldest)
        before = page[-1].id
        if len(page) < _PAGE:
            return


def _run(node: Node, case: Case) -> Result:
    """Run one replay. A failure is its result, so that the others run."""
    from roost.features.replay.expectations import failures
    from roost.features.replay.suite import Result, read_text

    try:
        if case.log is not None:
            found = node.replays.log(read_text(case.log), **case.options)
        else:
            found = node.replays.run(session_id(node, case.session), **case.options)
    except RoostError as error:
        if case.optional and error.code == "not_replayable":
            return Result(case.name, skipped=error.message)
        return Result(case.name, error=error.message)
    return Result(case.name, found, failures(case.expect, found))


def _show(result: Result) -> None:
    from roost.features.replay.reports import line_of, reasons_of

    colours = {"passed": "green", "skipped": "dim"}
    say(styled(line_of(result), colours.get(result.verdict, "red")))  # pyright: ignore[reportArgumentType]
    for reason in reasons_of(result):
        for line in clean(reason).splitlines():
            colour = "green" if line.startswith("+") else "red" if line.startswith("-") else None
            say("  " + (line if colour is None else styled(line, colour)))
    for text in () if result.found is None else result.found.notes:
        note(f"  {clean(text)}")


def _time_of(text: str) -> float:
    """Return a time: `12h` ago, or a date."""
    if (ago := re.fullmatch(r"(\d+)([smhdw])", text)) is not None:
        return time.time() - int(ago[1]) * _UNITS[ago[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise click.UsageError(f"--since {text!r} is no time: use 12h, 7d, or 2026-11-23") from None


COMMANDS = {"Sessions": (replay,)}
