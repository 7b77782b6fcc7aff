"""`roost stub`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from roost.cli.app import App
from roost.cli.options import WholeNumber, command
from roost.cli.output import say
from roost.errors import RoostError
from roost.models.http import LOOPBACK

_MAX_SCRIPT = 64 * 1024 * 1024
EXAMPLE = """\
{
  "rules": [
    {
      "when": "list",
      "answers": [
        {"text": "Let me look.", "calls": [{"name": "list_files", "arguments": {"path": "."}}]},
        {"text": "I found: {result}"}
      ]
    },
    {
      "when": "slow",
      "answers": [{"thinking": "Hm.", "text": "One word after the other.", "piece": 4, "pace": 0.2}]
    },
    {
      "when": "trouble",
      "answers": [
        {
          "text": "The second time it works.",
          "usage": {"input": 120, "output": 30, "cached": 80},
          "fault": {"kind": "status", "status": 429, "retry_after": "1", "times": 1}
        }
      ]
    },
    {"answers": [{"text": "You said: {input}"}]}
  ],
  "seed": 7,
  "delay": [0.05, 0.2]
}"""


@command("stub")
@click.option("--port", type=WholeNumber(0, 65535), default=8900, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--script", type=click.Path(path_type=Path), metavar="FILE", help="The script, as JSON. See --example.")
@click.option("--key", metavar="TEXT", help="Refuse requests without this key. [default: accept any key]")
@click.option("--wire", "wires", multiple=True, metavar="NAME", help="Speak only this protocol (repeatable).")
@click.option("--example", is_flag=True, help="Print a script to start from.")
def stub(
    app: App, port: int, host: str, script: Path | None, key: str | None, wires: tuple[str, ...], example: bool
) -> int:
    """Run a model provider that follows a script, for tests and for trials without a key.

    It speaks the protocols of the big providers, checks requests as strictly as they do, and breaks its answers where
    the script says so. Without a script it repeats the user's message.
    """
    if example:
        say(EXAMPLE)
        return 0
    from roost.stub import provider as kit

    speaks = _dialects(wires)
    served = kit.Provider(_script(script), key=key, speaks=speaks)
    listener = _listener(kit, host, port)
    address = f"[{host}]" if ":" in host else host or "0.0.0.0"
    _greet(f"http://{address}:{listener.getsockname()[1]}", speaks, key)
    if host not in LOOPBACK:
        click.echo("the network can reach it: use --key, and stop it when you are done", err=True)
    kit.serve(served, listener)
    return 0


def _dialects(wires: tuple[str, ...]) -> list[Any]:
    from roost.stub.dialects import dialects

    every = dialects()
    names = dict.fromkeys(dialect.name for dialect in every)
    for name in wires:
        if name not in names:
            raise click.BadParameter(f"no protocol {name!r}: use one of {', '.join(names)}", param_hint="--wire")
    return [dialect for dialect in every if not wires or dialect.name in wires]


def _script(path: Path | None) -> Any:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_SCRIPT + 1)
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="--script") from error
    if len(data) > _MAX_SCRIPT:
        raise click.BadParameter(f"{path}: at most {_MAX_SCRIPT} bytes are read", param_hint="--script")
    from roost.stub.script import load

    try:
        return load(data)
    except RoostError as error:
        raise click.BadParameter(f"{path}: {error.message}; compare --example", param_hint="--script") from error


def _listener(kit: Any, host: str, port: int) -> Any:
    try:
        return kit.listen(host, port)
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {host}:{port}: {error.strerror}; use another --port (0 takes a free one) or --host"
        ) from error


def _greet(base: str, dialects: list[Any], key: str | None) -> None:
    say(f"listening on {base}/v1")
    for dialect in dialects:
        say(f"  {dialect.name.ljust(17)} POST {dialect.path.replace(':path', '')}")
    known = (variables for dialect in dialects if (variables := _variables(dialect.name)))
    for variable, path, secret in dict.fromkeys(known):
        say(f"export {variable}={base}{path} {secret}={shlex.quote(key or 'any')}")
    say(f"counts: {base}/stats; Ctrl-C stops it")


def _variables(wire: str) -> tuple[str, str, str] | None:
    """Return the variable of the base URL that Roost and the official clients of a protocol read, the path after the
    bare address, and the variable of the key."""
    from roost.models.catalog.reader import catalog

    accounts = (at for at in catalog().accounts.values() if at.wire == wire and at.urls and at.keys)
    return next(((at.urls[0], urlsplit(at.base_url).path, at.keys[0]) for at in accounts), None)
