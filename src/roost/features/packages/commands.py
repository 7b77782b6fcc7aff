"""`roost hub`: find, install, update and publish packages of skills and agents."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import click
import msgspec

from roost.cli.app import App
from roost.cli.options import WholeNumber, as_json, command
from roost.cli.output import note, say, say_json, table
from roost.errors import Invalid, NotFound
from roost.terminal_text import clean, one_line

if TYPE_CHECKING:
    from roost.cli.node import Node
    from roost.features.packages.api import PackageView

_hub = click.option(
    "--hub", metavar="PLACE", envvar="ROOST_HUB", default="", help="An address, a folder, or s3://bucket/prefix."
)
_yes = click.option("--yes", is_flag=True, help="Accept what it wants without a question.")
_DEEPEST = 8


@click.group("hub")
def hub() -> None:
    """Find, install, update and publish packages of skills and agents.

    \b
      roost hub install ./my-skill
      roost hub install git+https://example.com/team/skills#pdf
      roost hub search pdf --hub https://hub.example.com
    """


@command("search")
@click.argument("words", nargs=-1)
@_hub
@as_json
def search(app: App, words: tuple[str, ...], hub: str, as_json: bool) -> int:
    """List the packages of a hub that have all the WORDS."""
    from roost.features.packages.fetching import index_of

    found = asyncio.run(index_of(_named(hub))).search(" ".join(words))
    if as_json:
        say_json([msgspec.to_builtins(one) for one in found])
    else:
        table(
            ("PACKAGE", "VERSION", "HAS", "DESCRIPTION"),
            [(one.name, one.version, _has(one.skills, one.agents), one_line(one.description, 60)) for one in found],
        )
    return 0


@command("install", store=True)
@click.argument("source")
@click.option("--version", "wanted", metavar="RANGE", default="*", help="Of a hub's package, as in '>=1.2, <2'.")
@_hub
@_yes
@as_json
def install(app: App, source: str, wanted: str, hub: str, yes: bool, as_json: bool) -> int:
    """Install a package: SOURCE is a folder, an archive, git+URL, the address of a site, or a name in a hub.

    It waits in quarantine until what it wants is accepted.
    """
    with app.node() as node:
        made = _installed(node, source, hub, wanted, yes=yes, quiet=as_json)
    if as_json:
        say_json(made)
    return 0


@command("update", store=True)
@click.argument("names", nargs=-1)
@_yes
def update(app: App, names: tuple[str, ...], yes: bool) -> int:
    """Fetch packages again from where they came from; without NAMES all of them."""
    with app.node() as node:
        found = [node.packages.get(name) for name in names] if names else node.packages.list().packages
        for one in found:
            present = one.active or one.waiting
            if present is not None and present.source:
                _installed(node, present.source, "", "*", yes=yes, quiet=False)
    return 0


@command("accept", store=True)
@click.argument("name")
@_yes
def accept(app: App, name: str, yes: bool) -> int:
    """Accept the waiting version of a package, with what it wants.

    Without a terminal it needs --yes. Exit code 1: the version still waits.
    """
    with app.node() as node:
        found = _offer(node, node.packages.get(name), yes=yes)
    return 0 if found.waiting is None else 1


@command("reject", store=True)
@click.argument("name")
def reject(app: App, name: str) -> int:
    """Remove the waiting version of a package."""
    with app.node() as node:
        node.packages.reject(name)
        say(f"removed the waiting version of {name}")
    return 0


@command("uninstall", store=True)
@click.argument("names", nargs=-1, required=True)
def uninstall(app: App, names: tuple[str, ...]) -> int:
    """Remove packages."""
    with app.node() as node:
        for name in names:
            node.packages.uninstall(name)
            say(f"uninstalled {name}")
    return 0


@command("list", store=True)
@click.option("--lock", is_flag=True, help="Write name, version, digest and source of each as JSON.")
@as_json
def list_(app: App, lock: bool, as_json: bool) -> int:
    """List the installed packages."""
    with app.node() as node:
        found = node.packages.list().packages
    if lock:
        say_json({"roost_lock": 1, "packages": [_locked(one) for one in found if one.active is not None]})
    elif as_json:
        say_json(found)
    elif not found:
        note("no package is installed")
    else:
        table(("PACKAGE", "VERSION", "WAITS", "HAS"), [_row(one) for one in found])
    return 0


@command("show", store=True)
@click.argument("name")
@as_json
def show(app: App, name: str, as_json: bool) -> int:
    """Show a package: what it has, wants, and what the scan found."""
    with app.node() as node:
        found = node.packages.get(name)
    if as_json:
        say_json(found)
    else:
        _tell(found)
    return 0


@command("publish")
@click.argument("source")
@_hub
@as_json
def publish(app: App, source: str, hub: str, as_json: bool) -> int:
    """Publish a package into a hub: a folder, or s3://bucket/prefix."""
    from roost.features.packages.archive import unpack
    from roost.features.packages.fetching import fetch, open_hub
    from roost.features.packages.manifest import read_package

    fetched = asyncio.run(fetch(source))
    entry = open_hub(_named(hub), make=True).publish(read_package(unpack(fetched.archive), name=fetched.name))
    if as_json:
        say_json(msgspec.to_builtins(entry))
    else:
        say(f"published {entry.name} {entry.version} ({entry.digest[:12]})")
    return 0


@command("serve")
@click.argument("place")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=WholeNumber(0, 65535), default=8808, show_default=True)
def serve(app: App, place: str, host: str, port: int) -> int:
    """Serve the hub in a folder or an object store over HTTP. It only reads."""
    import uvicorn

    from roost.features.packages.fetching import open_hub
    from roost.features.packages.hub_server import hub_app

    server = uvicorn.Server(uvicorn.Config(hub_app(open_hub(place)), host=host, port=port, log_level="warning"))
    note(f"the hub {place} is at http://{host}:{port}; Ctrl-C ends it")
    server.run()
    return 0


def _installed(
    node: Node, source: str, hub: str, wanted: str, *, yes: bool, quiet: bool, depth: int = 0
) -> PackageView:
    """Fetch, install and offer a package, after what it needs from the same hub."""
    from roost.features.packages.fetching import fetch

    fetched = asyncio.run(fetch(source, hub=hub, wanted=wanted))
    made = node.packages.install([fetched.archive], source=fetched.source, named=fetched.name)
    if made.waiting is None:
        if not quiet:
            note(f"{made.name} {made.active.version if made.active else ''} is installed already")
        return made
    place = fetched.source.removeprefix("hub:").rpartition("#")[0] if fetched.source.startswith("hub:") else hub
    for name, range_ in made.waiting.dependencies.items():
        if depth >= _DEEPEST:
            raise Invalid(f"{source}: packages need each other more than {_DEEPEST} deep")
        if place and not _is_there(node, name, range_):
            _installed(node, f"hub:{place}#{name}", place, range_, yes=yes, quiet=quiet, depth=depth + 1)
    return _offer(node, made, yes=yes, quiet=quiet)


def _is_there(node: Node, name: str, wanted: str) -> bool:
    from roost.features.packages.versions import fits

    try:
        active = node.packages.get(name).active
    except NotFound:
        return False
    return active is not None and fits(active.version, wanted)


def _offer(node: Node, found: PackageView, *, yes: bool, quiet: bool = False) -> PackageView:
    """Show what a waiting version wants, and accept it after a yes."""
    if found.waiting is None:
        raise NotFound(f"no version of {found.name!r} waits")
    if not quiet:
        _tell(found)
    if not yes:
        if quiet or not sys.stdin.isatty():
            note(f"{found.name} waits in quarantine; accept it with: roost hub accept {found.name} --yes")
            return found
        if not click.confirm(f"Accept {found.name} {found.waiting.version}?", err=True):
            return found
    made = node.packages.accept(found.name, found.waiting.digest)
    if not quiet:
        say(f"{made.name} {found.waiting.version} is installed")
    return made


def _tell(found: PackageView) -> None:
    one = found.waiting or found.active
    if one is None:
        return
    say(f"{found.name} {one.version}" + (f": {clean(one.description)}" if one.description else ""))
    rows: list[tuple[str, Any]] = [
        ("has", _has(one.skills, one.agents)),
        ("from", one.source or "-"),
        ("digest", one.digest),
        ("needs", ", ".join(f"{name} {wanted}" for name, wanted in one.dependencies.items()) or "-"),
    ]
    for name, value in rows:
        say(f"  {name:<9}{clean(value)}")
    former = found.active is not None and found.waiting is not None
    for permission in one.permissions:
        say(f"  {'wants new' if former and permission in found.added else 'wants'}: {clean(permission)}")
    for permission in found.removed:
        say(f"  wants no more: {clean(permission)}")
    for finding in one.findings:
        where = f"{finding.path}:{finding.line}" if finding.line else finding.path
        say(f"  {'WARNING' if finding.severity == 'high' else 'note'}: {clean(where)} {finding.what}")


def _has(skills: Any, agents: Any) -> str:
    parts = [f"{kind} {', '.join(names)}" for kind, names in (("skills", skills), ("agents", agents)) if names]
    return one_line("; ".join(parts), 80)


def _row(one: PackageView) -> tuple[str, str, str, str]:
    shown = one.active or one.waiting
    active, waiting = (each.version if each is not None else "-" for each in (one.active, one.waiting))
    return one.name, active, waiting, "" if shown is None else _has(shown.skills, shown.agents)


def _locked(one: PackageView) -> dict[str, str]:
    assert one.active is not None
    return {"name": one.name, "version": one.active.version, "digest": one.active.digest, "source": one.active.source}


def _named(hub: str) -> str:
    if not hub:
        raise Invalid("which hub? Give --hub PLACE, or set ROOST_HUB")
    return hub


for one in (search, install, update, accept, reject, uninstall, list_, show, publish, serve):
    hub.add_command(one)

COMMANDS = {"This machine": (hub,)}
