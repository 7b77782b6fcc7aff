"""`roost store migrate`, `copy`, `check` and `sweep`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from roost.cli.app import App
from roost.cli.options import as_json, command
from roost.cli.output import note, say, say_json, size, styled
from roost.cli.progress import Line
from roost.errors import ConfigError
from roost.kernel.check import Checked, check
from roost.kernel.home import store_name
from roost.kernel.sweep import sweep
from roost.log.store import Store
from roost.stores.admin import layout, migrate, shown
from roost.stores.copy import Copied, copy
from roost.stores.findings import Layout
from roost.stores.open import is_postgres, open_store, sqlite_path
from roost.terminal_text import clean
from roost.workspace.objects import open_objects
from roost.workspace.snapshots import Swept
from roost.workspace.store import ObjectSnapshots

_SHOWN = 20
"""Most findings of each kind in text output; --json has all."""
place = click.argument("address", required=False, metavar="[URL]")


@click.group("store")
def store() -> None:
    """Maintain the store: migrate, copy, check, sweep.

    URL is postgresql://user@host/database or the path of a SQLite file. The default is the store of --store,
    ROOST_STORE or the home. Daemons may run, except during `copy`.
    """


@command("migrate")
@place
@click.option("--dry-run", is_flag=True, help="Only print the steps.")
@as_json
def migrate_command(app: App, address: str | None, dry_run: bool, as_json: bool) -> int:
    """Migrate the tables to the newest layout, and report the steps.

    `roost up` does this, too; use this command to do it before. After an interruption, call it again: it continues.
    """
    where = _where(app, address)
    before = asyncio.run(layout(where) if dry_run else migrate(where))
    if as_json:
        say_json({"from": before.found, "to": before.known, "steps": before.steps, "done": not dry_run})
        return 0
    if not before.steps:
        say(f"up to date: layout {before.found}")
        return 0
    say(
        f"{_from(before)} {'would be' if dry_run else 'is'} brought to layout {before.known}: {', '.join(before.steps)}"
    )
    return 0


@command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--online", is_flag=True, help="FROM is in use: copy its present content.")
@click.option("--replace", is_flag=True, help="Update sessions in TO that are older than in FROM.")
@as_json
def copy_command(app: App, source: str, target: str, online: bool, replace: bool, as_json: bool) -> int:
    """Copy all sessions, settings and budgets from one store into another.

    It reads each copied session back and compares checksums. It skips sessions that TO already has unchanged, so you
    can repeat it after an interruption. Stop the daemons of both stores first. To stop them for a short time only,
    copy with --online, stop them, and copy again with --replace. Workspaces are folders and stay where they are. Exit
    code 1 when something was not copied.
    """
    _check_places(source, target)
    try:
        done = asyncio.run(_copy(source, target, online=online, replace=replace))
    except KeyboardInterrupt:
        note("interrupted: the copied sessions are complete and stay; repeat the command to copy the rest", "yellow")
        return 130
    if as_json:
        say_json(done)
    else:
        _print_copied(done, shown(target), online=online)
    return 1 if done.problems else 0


@command("check")
@place
@as_json
def check_command(app: App, address: str | None, as_json: bool) -> int:
    """Check every session of a store: its log, its inbox, its snapshot, its rows.

    It reads the whole store: about 10 s for a million events. Exit code 1 when it finds a fault.
    """
    where = _where(app, address)
    line = Line("checking")
    done = asyncio.run(check(where, line.checked))
    line.end()
    if as_json:
        say_json({"store": shown(where), **{name: getattr(done, name) for name in done.__struct_fields__}})
    else:
        _print_checked(done, shown(where))
    return 1 if done.faults else 0


@command("sweep")
@place
@click.option(
    "--snapshots", required=True, envvar="ROOST_SNAPSHOTS", metavar="URL",
    help="The snapshot store, as given to `roost up`. [env: ROOST_SNAPSHOTS]",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only print the files.")
@as_json
def sweep_command(app: App, address: str | None, snapshots: str, dry_run: bool, as_json: bool) -> int:
    """Remove the files that no session needs from the snapshot store.

    These are older snapshots, files of deleted sessions, and saves that a crash cut off. Files of the last two days
    stay. The command reads all sessions of the store; when it cannot read one, it removes nothing.
    """
    where = _where(app, address)
    _check_file(str(where))
    done = asyncio.run(_sweep(where, snapshots, dry=dry_run))
    if as_json:
        say_json({"removed": done.objects, "removed_bytes": done.bytes, "kept": done.kept,
                  "kept_bytes": done.kept_bytes, "done": not dry_run})  # fmt: skip
        return 0
    verb = "would be removed" if dry_run else "removed"
    say(f"{done.objects} objects ({size(done.bytes)}) {verb}, {done.kept} ({size(done.kept_bytes)}) kept")
    return 0


for one in (migrate_command, copy_command, check_command, sweep_command):
    store.add_command(one)


def _where(app: App, address: str | None) -> str | Path:
    """Return the store's address. Raises `ConfigError` for a named file that does not exist."""
    where = address or app.store or app.home_store
    if where != app.home_store:
        _check_file(str(where))
    return where


def _check_file(where: str) -> None:
    if is_postgres(where):
        return
    path = sqlite_path(where)
    if path.is_dir():
        raise ConfigError(f"{where!r} is a folder: give the file in it, {str(path / 'roost.db')!r}")
    if not path.exists():
        raise ConfigError(f"there is no store {where!r}: give postgresql://user@host/database, or a file that exists")


def _check_places(source: str, target: str) -> None:
    _check_file(source)
    if is_postgres(source) or is_postgres(target):
        same = source == target
    else:
        path = sqlite_path(target)
        if path.is_dir():
            raise ConfigError(f"{target!r} is a folder: give a file in it, {str(path / 'roost.db')!r}")
        same = sqlite_path(source).resolve() == path.resolve()
    if same:
        raise ConfigError("FROM and TO are the same store")


async def _copy(source: str, target: str, *, online: bool, replace: bool) -> Copied:
    line = Line("copying")
    origin = await open_store(source)
    try:
        house: Store = await open_store(target)
        try:
            return await copy(origin, house, online=online, replace=replace, progress=line.copied)
        finally:
            await house.close()
    finally:
        line.end()
        await origin.close()


async def _sweep(where: str | Path, url: str, *, dry: bool) -> Swept:
    line = Line("looking")
    snapshots = None
    house: Store = await open_store(where)
    try:
        snapshots = ObjectSnapshots(open_objects(url), owner=await store_name(house))
        return await sweep(house, snapshots, dry=dry, progress=line.looked)
    finally:
        line.end()
        if snapshots is not None:
            snapshots.close()
        await house.close()


def _print_copied(done: Copied, target: str, *, online: bool) -> None:
    what = f"copied {done.copied} sessions" + (f", replaced {done.replaced}" if done.replaced else "")
    there = f"; {done.same} were there already" if done.same else ""
    documents = f"; copied {done.documents} documents" if done.documents else ""
    say(f"{what} ({done.events} events, {size(done.bytes)}){there}{documents}; settings and budgets: {done.shared}")
    for problem in done.problems[:_SHOWN]:
        note(f"! {problem.session + ' ' if problem.session else ''}{clean(problem.detail)}", "yellow")
    _more(len(done.problems), "was not copied")
    if done.kept:
        note(f"the target keeps its own value of {', '.join(done.kept)}")
    if done.extra:
        note(f"{len(done.extra)} sessions are in the target only: {', '.join(done.extra[:3])}")
    if done.extra_documents:
        note(f"{done.extra_documents} documents are in the target only: --replace removes them")
    if online:
        note("FROM was in use: stop its daemons, then copy again with --replace")
    elif not done.problems:
        note(f"continue with it: roost up --store {target}")


def _print_checked(done: Checked, store: str) -> None:
    for fault in done.faults[:_SHOWN]:
        who = f"{fault.session}: " if fault.session else ""
        say(f"{styled('fail', 'red')} {fault.kind.ljust(10)} {who}{clean(fault.detail)}")
        if fault.fix:
            say(f"{' ' * 16}{styled('→ ' + fault.fix, 'dim')}")
    _more(len(done.faults), "is wrong")
    verdict = f"{len(done.faults)} faults" if done.faults else "all as it should be"
    say(f"{store}: {done.sessions} sessions, {done.events} events: {verdict}")


def _more(count: int, what: str) -> None:
    if count > _SHOWN:
        note(f"{count - _SHOWN} more {what}; --json lists all")


def _from(before: Layout) -> str:
    return f"layout {before.found}" if before.found else "an empty store"
