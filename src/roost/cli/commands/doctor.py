"""`roost doctor`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from roost.cli import doctor_checks
from roost.cli.app import App
from roost.cli.options import as_json, command
from roost.cli.output import say, say_json, styled
from roost.cli.progress import Line
from roost.terminal_text import clean


@command("doctor")
@click.option("--deep", is_flag=True, help="Check every session too, as `roost store check` does (seconds to minutes).")
@as_json
def doctor(app: App, deep: bool, as_json: bool) -> int:
    """Check what this machine can do: store, sandbox, model, daemon.

    Each line is ok, warn (works, with less) or fail (Roost cannot work), with the fix. Exit code 1 when
    something fails.
    """
    findings: list[doctor_checks.Finding] = []
    for finding in _findings(app, deep=deep):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        say_json(findings)
    return 1 if any(finding.status == "fail" for finding in findings) else 0


def _findings(app: App, *, deep: bool) -> Iterator[doctor_checks.Finding]:
    for check in (
        doctor_checks.python,
        doctor_checks.sqlite,
        doctor_checks.machine,
        doctor_checks.user,
        doctor_checks.home,
        doctor_checks.files,
        doctor_checks.store,
        doctor_checks.sandbox,
        doctor_checks.isolation,
        doctor_checks.model,
        doctor_checks.agents,
        doctor_checks.daemon,
    ):
        yield from check(app)
    if deep:
        line = Line("checking")
        yield from doctor_checks.sessions(app, line.checked)
        line.end()


def _print(finding: doctor_checks.Finding) -> None:
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
