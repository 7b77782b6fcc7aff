"""`roost openapi`: look at the documents of APIs, and accept changed ones."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import msgspec

from roost.cli.app import App
from roost.cli.options import as_json, command, named_session, session_argument
from roost.cli.output import note, say, say_json, table
from roost.cli.session_ids import session_id
from roost.errors import Invalid
from roost.terminal_text import visible

if TYPE_CHECKING:
    from roost.agent.openapi_options import OpenApi
    from roost.features.openapi.api import ApiView
    from roost.features.openapi.catalog import Catalog

_SECONDS = 180


@click.group("openapi")
def openapi() -> None:
    """Look at the documents of HTTP APIs, whose operations agents call.

    \b
      roost openapi check https://petstore3.swagger.io/api/v3/openapi.json
      roost openapi list SESSION
      roost openapi accept SESSION pets
    """


class _Row(msgspec.Struct):
    """A tool that an agent would have."""

    name: str
    operation: str
    safety: str
    replay: str
    about: str


class _Report(msgspec.Struct):
    """What a document gives. unusable: what no tool is made of, each with the reason."""

    title: str
    version: str
    format: str
    digest: str
    tools: list[_Row]
    unusable: list[tuple[str, str]]


@command("check")
@click.argument("spec")
@click.option("--name", default="api", metavar="NAME", help="Prefix of the tools' names.")
@click.option("--server", metavar="URL", help="Base URL in place of the document's.")
@click.option("--operations", "-o", metavar="GLOB", multiple=True, help="Only these operations (repeatable).")
@as_json
def check(app: App, spec: str, name: str, server: str | None, operations: tuple[str, ...], as_json: bool) -> int:
    """Show the tools that an agent would have from the document SPEC, a file or URL, and what cannot be used."""
    from roost.agent.openapi_options import OpenApi

    api = OpenApi(name=name, spec=spec, server=server, operations=operations or ("*",))
    data = asyncio.run(_read(api))
    report = _report(api, _compiled(data), data)
    if as_json:
        say_json(report)
        return 0
    say(f"{report.title} {report.version} ({report.format}), document {report.digest}")
    if report.tools:
        table(["TOOL", "SAFETY", "AFTER A CRASH", "OPERATION"], [_cells(row) for row in report.tools])
    for what, why in report.unusable:
        note(f"no tool: {visible(what)}: {visible(why)}", None)
    say(f"{len(report.tools)} tools, {len(report.unusable)} parts of the document that give none")
    return 0 if report.tools else 1


def _cells(row: _Row) -> list[str]:
    return [row.name, row.safety, row.replay, visible(row.operation)]


async def _read(api: OpenApi) -> bytes:
    """Read a document. The person who types a private address means it."""
    from roost.features.openapi.fetching import is_url, read_source
    from roost.tools.checked_http import parts_of, place_of
    from roost.tools.errors import ToolError

    private: list[str] = []
    if is_url(api.spec):
        try:
            host, port = place_of(parts_of(api.spec))
        except ToolError as error:
            raise Invalid(str(error)) from None
        private = [f"{host}:{port}"]
    return await read_source(api.spec, private=private)


def _compiled(data: bytes) -> Catalog:
    from roost.features.openapi.compile_worker import Compiled
    from roost.features.openapi.document import BadDocument

    argv = [sys.executable, "-I", "-m", "roost.features.openapi.compile_worker"]
    try:
        done = subprocess.run(argv, input=data, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise BadDocument(f"it takes more than {_SECONDS} seconds to compile") from None
    found = msgspec.json.decode(done.stdout, type=Compiled) if done.returncode == 0 else Compiled(error="it is too odd")
    if found.catalog is None:
        raise BadDocument(f"the document cannot be used: {found.error}")
    return found.catalog


def _report(api: OpenApi, catalog: Catalog, data: bytes) -> _Report:
    from roost.features.openapi.fetching import digest_of_document
    from roost.features.openapi.naming import offered, tool_name
    from roost.features.openapi.servers import BadServer, base_of
    from roost.features.openapi.tool_making import replay_for, safety_for

    tools: list[_Row] = []
    unusable = [(one.what, one.why) for one in catalog.no_tools]
    for one in offered(api, catalog.operations):
        try:
            base_of(api, catalog, one, api.spec)
        except BadServer as why:
            unusable.append((one.place, str(why)))
            continue
        about = one.about.partition("\n")[0]
        tools.append(_Row(tool_name(api.name, one), one.place, safety_for(api, one), replay_for(api, one), about))
    return _Report(catalog.title, catalog.version, catalog.format, digest_of_document(data), tools, unusable)


@command("list")
@session_argument
@as_json
def list_apis(app: App, session: str | None, as_json: bool) -> int:
    """Show the APIs of a session, and the documents that it uses."""
    with app.node() as node:
        found = node.openapi.list(session_id(node, session)).apis
    if as_json:
        say_json(found)
        return 0
    table(["API", "DOCUMENT", "WAITS", "FROM"], [_shown(one) for one in found])
    return 0


def _shown(one: ApiView) -> list[str]:
    return [one.name, one.digest or "-", one.waiting or "-", visible(one.failed or one.spec)]


@command("accept")
@named_session
@click.argument("api")
def accept(app: App, session: str, api: str) -> int:
    """Let a session use the changed document of an API from its next turn on."""
    with app.node() as node:
        id = session_id(node, session)
        waiting = next((one.waiting for one in node.openapi.list(id).apis if one.name == api), None)
        if waiting is None:
            note(f"no changed document of the API {api!r} waits in this session")
            return 1
        node.openapi.accept(id, api, waiting, by="cli")
    say(f"{api}: {waiting}")
    return 0


for one in (check, list_apis, accept):
    openapi.add_command(one)

COMMANDS = {"This machine": (openapi,)}
