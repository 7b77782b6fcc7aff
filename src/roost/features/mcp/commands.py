"""`roost mcp`: the MCP servers whose tools agents use. Without a command, `roost mcp` is Roost's own MCP server."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import click

from roost.cli.app import App
from roost.cli.commands.mcp import mcp as serve
from roost.cli.options import as_json, command
from roost.cli.output import note, say, say_json, table
from roost.cli.session_ids import session_id
from roost.terminal_text import clean, one_line

if TYPE_CHECKING:
    pass


class _Group(click.Group):
    """Run Roost's own server where no command is named, as clients of MCP start it."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if "--help" in args or any(arg in self.commands for arg in args):
            return super().make_context(info_name, args, parent, **extra)
        return serve.make_context(info_name, args, parent, **extra)


@click.group("mcp", cls=_Group)
def mcp() -> None:
    """Offer agents to clients of MCP, or set up MCP servers for agents.

    \b
      roost mcp                              offer agents and sessions on standard input and output
      roost mcp add git -- mcp-server-git    a program; it runs in the sandbox of each session
      roost mcp add docs --http https://docs.example/mcp
      roost mcp login docs                   sign in at it in a browser
      roost mcp list
    """


@command("list", store=True)
@as_json
def list_(app: App, as_json: bool) -> int:
    """List the MCP servers of this home, and those that files of this folder name."""
    with app.node() as node:
        found = node.mcp.list(folder=os.getcwd())
    if as_json:
        say_json(found)
        return 0
    if not found.servers:
        note("there are no MCP servers: add one with roost mcp add")
    else:
        rows = [
            (one.name, one.source, one.health if one.accepted else "not accepted", one_line(one.where, 70))
            for one in found.servers
        ]
        table(("SERVER", "FROM", "STATE", "WHERE"), rows)
    for problem in found.wrong:
        note(clean(problem), "yellow")
    return 0


@command("add", store=True)
@click.argument("name")
@click.argument("program", nargs=-1, metavar="[-- PROGRAM [ARG]...]")
@click.option("--http", metavar="URL", help="The address of a server.")
@click.option("--sse", metavar="URL", help="The address of a server with the older transport of server-sent events.")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="A variable of the program.")
@click.option("--header", multiple=True, metavar="NAME=VALUE", help="A header; {{secret:NAME}} in it is a secret.")
@click.option("--tool", "tools", multiple=True, metavar="GLOB", help="Offer only these tools.")
@click.option("--reads", multiple=True, metavar="GLOB", help="Tools that only read: no person is asked.")
@click.option("--trust", is_flag=True, help="Run it on this machine outside the sandbox, and believe its hints.")
@as_json
def add(
    app: App,
    name: str,
    program: tuple[str, ...],
    http: str | None,
    sse: str | None,
    env: tuple[str, ...],
    header: tuple[str, ...],
    tools: tuple[str, ...],
    reads: tuple[str, ...],
    trust: bool,
    as_json: bool,
) -> int:
    """Add an MCP server to this home, or change one. Agents with `servers = ["*"]` or its name use it."""
    server: dict[str, Any] = {
        **({"command": program[0], "args": list(program[1:])} if program else {}),
        **({"url": http} if http is not None else {}),
        **({"url": sse, "type": "sse"} if sse is not None else {}),
        "env": _pairs(env, "--env"),
        "headers": _pairs(header, "--header"),
        "tools": list(tools),
        "reads": list(reads),
        "trust": trust,
    }
    with app.node() as node:
        made = node.mcp.add(name, {key: value for key, value in server.items() if value})
    say_json(made) if as_json else say(made.name)
    return 0


@command("remove", store=True)
@click.argument("names", nargs=-1, required=True, metavar="SERVER...")
def remove(app: App, names: tuple[str, ...]) -> int:
    """Remove MCP servers that were added, and what they gave at sign-in."""
    gone = True
    with app.node() as node:
        for name in names:
            if node.mcp.remove(name).removed:
                say(f"removed {name}")
            else:
                gone = False
                note(f"{name} was not added: it is in a file, or there is none", "yellow")
    return 0 if gone else 1


@command("tools", store=True)
@click.argument("name", metavar="SERVER")
@as_json
def tools(app: App, name: str, as_json: bool) -> int:
    """Ask a server for its tools."""
    with app.node() as node:
        found = node.mcp.tools(name)
    if as_json:
        say_json(found)
        return 0
    rows = [(one.name, one.safety, one_line(one.description, 80)) for one in found.tools]
    table(("TOOL", "SAFETY", "DESCRIPTION"), rows)
    for why in found.dropped:
        note(f"left out: {clean(why)}", "yellow")
    return 0


@command("accept", store=True)
@click.argument("name", metavar="SERVER")
@click.option("--session", metavar="SESSION", help="Accept the server's tools as they are now, in this session.")
def accept(app: App, name: str, session: str | None) -> int:
    """Accept a server that a file of this folder names, as it is now. A change in the file ends this."""
    with app.node() as node:
        if session is not None:
            node.mcp.accept_tools(session_id(node, session), name)
            note(f"{name}: its tools are accepted from the next turn on")
        else:
            made = node.mcp.accept(name, os.getcwd())
            note(f"accepted: {clean(made.where)}")
    return 0


@command("login", store=True)
@click.argument("name", metavar="SERVER")
@click.option("--paste", is_flag=True, help="Ask for the address to which the browser was sent.")
def login(app: App, name: str, paste: bool) -> int:
    """Sign in at a server in a browser."""
    with app.node() as node, contextlib.closing(_Callback()) as callback:
        url = node.mcp.login(name, callback.address).url
        note("open this address in a browser and sign in:")
        say(url)
        if paste:
            returned = click.prompt("the address to which the browser was sent", err=True)
        else:
            note("waiting for the browser; on another machine use --paste")
            returned = callback.wait()
        node.mcp.finish_login(name, returned.strip())
    note(f"signed in at {name}")
    return 0


class _Callback:
    """A server on this machine to which the browser is sent back."""

    def __init__(self) -> None:
        callback = self
        self.path: str | None = None

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/callback?"):
                    callback.path = self.path
                self.send_response(200 if callback.path else 404)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.end_headers()
                self.wfile.write(b"You can close this window and go back to the terminal.\n")

            def log_message(self, format: str, *args: Any) -> None:
                return None

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/callback"

    def wait(self) -> str:
        while self.path is None:
            self._server.handle_request()
        return self.address.removesuffix("/callback") + self.path

    def close(self) -> None:
        self._server.server_close()


def _pairs(given: Sequence[str], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{option} takes NAME=VALUE, not {json.dumps(one)}")
        found[name] = value
    return found


for _command in (list_, add, remove, tools, accept, login):
    mcp.add_command(_command)
COMMANDS = {"Talk to an agent": (mcp,)}
