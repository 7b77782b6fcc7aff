"""`roost doctor`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from roost.cli import checks
from roost.cli.app import App
from roost.cli.options import as_json, command
from roost.cli.out import clean, say, say_json, styled


@command("doctor")
@click.option("--store", is_flag=True, help="Check every page of the database too (seconds to minutes).")
@as_json
def doctor(app: App, store: bool, as_json: bool) -> int:
    """Check what this machine can do: store, sandbox, model, daemon.

    Each line is ok, warn (less than it could be) or fail (Roost cannot work), with what to do. Exit code 1 when
    something fails.
    """
    findings: list[checks.Finding] = []
    for finding in _findings(app, store=store):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        say_json(findings)
    return 1 if any(finding.status == "fail" for finding in findings) else 0


def _findings(app: App, *, store: bool) -> Iterator[checks.Finding]:
    for check in (
        checks.python,
        checks.sqlite,
        checks.machine,
        checks.home,
        checks.sandbox,
        checks.model,
        checks.agents,
        checks.daemon,
    ):
        yield from check(app)
    if store:
        yield from checks.store(app, _progress)
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")


def _progress(seconds: float, steps: int) -> None:
    if sys.stderr.isatty() and steps % 10 == 0:
        sys.stderr.write(f"\rchecking the store: {seconds:.0f} s\x1b[K")
        sys.stderr.flush()


def _print(finding: checks.Finding) -> None:
    match finding.status:
        case "ok":
            word = styled("ok  ", "green")
        case "warn":
            word = styled("warn", "yellow")
        case "fail":
            word = styled("fail", "red")
    say(f"{word} {finding.check.ljust(8)} {clean(finding.detail)}")
    if finding.fix:
        say(f"{' ' * 14}{styled('→ ' + finding.fix, 'dim')}")
