"""Run tools of packages: commands in the session's sandbox, JSON in and JSON out.

Nothing of a package is imported or run by the daemon. Each call brings the package's files into a new folder of the
sandbox, so that every backend can run it, and no call meets files that another one has changed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from roost.features.packages.ports import Bundle, ToolEntry
from roost.log.content import Text
from roost.policy.rules import Touches
from roost.policy.touched_paths import command
from roost.sandbox.base import ExecResult, Quota
from roost.tools.base import Tool, ToolContext, ToolResult
from roost.tools.errors import ToolError
from roost.tools.text_limits import capped

_OUTPUT = 256 * 1024
_SPARE = 30.0
_NO_FOLDER = 125
_BEGIN = (
    "d=$(mktemp -d) || exit 125; trap 'rm -rf \"$d\"' EXIT; IFS= read -r given || exit 125;"
    ' tar xzf - -C "$d" || exit 125; cd "$d" || exit 125; printf %s "$given" | "$@"'
)
"""Keep the first line of the input for the command, and unpack the rest. `read` alone takes no byte more than it says:
`head` of BusyBox and of macOS reads ahead."""


def made(bundle: Bundle) -> Iterator[Tool]:
    """Yield the tools of a package, `PACKAGE-TOOL`."""
    for one in bundle.tools:
        yield Tool(
            name=f"{bundle.package}-{one.name}",
            description=one.description,
            schema={"type": "object", "properties": {}, **one.schema},
            run=partial(_run, bundle, one),
            replay=one.replay,
            safety="high_risk",
            timeout=one.seconds + _SPARE,
            taints=bool(bundle.hosts),
            reach=partial(_reach, bundle, one),
            early=False,
        )


def _reach(bundle: Bundle, one: ToolEntry, arguments: Mapping[str, Any], root: Path) -> Touches:
    """Judge the call as its command, with the hosts that the package names. It runs in the package's folder: what `git
    status` or `npm test` does there the package decides. So it is never known to only read, and no rule that allows
    commands means it."""
    touched = command(shlex.join(one.command), root)
    assert touched.command is not None
    work = msgspec.structs.replace(
        touched.command, read_only=False, elsewhere=True, variables=(*touched.command.variables, "PWD")
    )
    return msgspec.structs.replace(touched, command=work, outside=True, hosts=(*touched.hosts, *bundle.hosts))


async def _run(bundle: Bundle, one: ToolEntry, context: ToolContext, arguments: dict[str, Any]) -> ToolResult:
    result = await context.sandbox.exec(
        ["sh", "-c", _BEGIN, "package", *one.command],
        cwd=str(context.workspace.root),
        env={"ROOST_WORKSPACE": str(context.workspace.root), "ROOST_CALL_KEY": context.key},
        stdin=msgspec.json.encode(arguments) + b"\n" + bundle.archive,
        quota=Quota(wall_seconds=one.seconds, output_bytes=_OUTPUT),
    )
    context.code = result.exit_code
    if (problem := _problem(result, one)) is not None:
        raise ToolError(capped(f"{problem}\n{result.stderr.strip() or result.stdout.strip()}".strip()))
    try:
        found: object = msgspec.json.decode(result.stdout)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise ToolError(capped(f"{one.name!r} did not print JSON: {result.stdout.strip()[:500]!r}")) from None
    text = found if isinstance(found, str) else msgspec.json.encode(found).decode()
    return ToolResult((Text(capped(text)),))


def _problem(result: ExecResult, one: ToolEntry) -> str | None:
    if result.killed_by == "wall_seconds":
        return f"{one.name!r} was ended: it took longer than {one.seconds:g} seconds"
    if result.killed_by is not None:
        return f"{one.name!r} was ended: limit {result.killed_by}"
    if result.exit_code == _NO_FOLDER:
        return f"{one.name!r} could not begin in the sandbox"
    return f"{one.name!r} failed with exit code {result.exit_code}" if result.exit_code else None
