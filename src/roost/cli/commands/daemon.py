"""`roost up` and `roost down`."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roost.cli.app import App
from roost.cli.options import WholeNumber, agent_places, as_json, command
from roost.cli.output import note, say, say_json, styled
from roost.cli.weights_download import missing
from roost.client.daemon_address import Unreachable
from roost.errors import RoostError

if TYPE_CHECKING:
    import subprocess

    from roost.cli.node import Node

_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_AGAIN_SECONDS = 0.5
_FIRST_SECONDS = 0.5
"""Seconds after which the ready daemon starts background work: commands that wait for the daemon come first."""


@command("up", store=True)
@click.option("--background", "-d", is_flag=True, help="Leave it running and return when it is ready.")
@click.option("--host", metavar="ADDRESS", help="Where to listen. [default: 127.0.0.1]")
@click.option("--port", type=WholeNumber(0, 65535), help="[env: ROOST_PORT; default: 7667; 0: any free one]")
@click.option("--allow-public", is_flag=True, help="Allow an address that other machines reach; needs --token.")
@click.option(
    "--session-timeout",
    type=click.FloatRange(1),
    metavar="SECONDS",
    help="Stop sessions that were unused for this long.",
)
@click.option(
    "--retention", type=click.FloatRange(1), metavar="SECONDS", help="Delete sessions that were stopped this long ago."
)
@click.option(
    "--lease",
    type=click.FloatRange(1, 300),
    envvar="ROOST_LEASE",
    metavar="SECONDS",
    help="A node that is silent for this long loses its sessions to other nodes. [env: ROOST_LEASE; default: 10]",
)
@click.option("--snapshots", metavar="URL", help="The snapshot store of all nodes: file:///folder or s3://bucket.")
@click.option(
    "--advertise", metavar="URL", help="The address of this node for other nodes. [default: where it listens]"
)
@click.option(
    "--shared-folder",
    "shared_folders",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="A folder that every node's machine has (repeatable).",
)
@click.option(
    "--dispatcher",
    type=click.Choice(["store", "dbos"]),
    help="What decides which node runs which session. [env: ROOST_DISPATCHER; default: store]",
)
@agent_places
@as_json
def up(
    app: App,
    background: bool,
    host: str | None,
    port: int | None,
    allow_public: bool,
    session_timeout: float | None,
    retention: float | None,
    lease: float | None,
    snapshots: str | None,
    advertise: str | None,
    shared_folders: tuple[Path, ...],
    dispatcher: str | None,
    agent_places: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Start the daemon, in this terminal until Ctrl-C, or with -d in the background.

    The daemon runs all sessions of the home, resumes unfinished turns, and serves the HTTP API on this machine only.
    `roost run`, `chat` and the other commands use it while it runs.

    With --store (or ROOST_STORE) on a PostgreSQL database it is one of many nodes: a session runs on any node of this
    database, and every node answers for every session. The nodes share one token, unless you give --token.
    """
    running = _running(app)
    if running is not None:
        return _already(running, as_json=as_json)
    files = app.agent_files(agent_places)
    models = {agent.model for agent in files.agents if agent.python.model is None}
    if background:
        given = {"--host": host, "--port": port, "--session-timeout": session_timeout, "--retention": retention}
        given |= {"--snapshots": snapshots, "--advertise": advertise, "--dispatcher": dispatcher}
        given |= {"--lease": lease}
        folders = {"--shared-folder": shared_folders, "--agents": agent_places}
        code = _background(app, _arguments(given, allow_public, folders), as_json=as_json)
        if any(missing(model) for model in models):
            note("it is fetching the weights of its local model; `roost pull` shows how far it is")
        return code
    from roost.kernel.config import KernelConfig
    from roost.server.daemon import Options, main

    options = Options.from_environment(
        home=app.home,
        host=host,
        port=port,
        token=app.token,
        allow_public=allow_public or None,
        store=app.store,
        snapshots=snapshots,
        advertise=advertise,
        shared_folders=tuple(place.absolute() for place in shared_folders) or None,
        dispatcher=dispatcher,
    )

    def ready(url: str) -> None:
        _ready(app, url, as_json=as_json)
        later = threading.Timer(_FIRST_SECONDS, _prepare, args=[models])
        later.daemon = True
        later.start()

    config = KernelConfig(session_timeout=session_timeout, retention=retention, lease=lease or 10.0)
    main(options, agent_files=files, config=config, ready=ready)
    return 0


def _already(running: Node, *, as_json: bool) -> int:
    if as_json:
        say_json({"url": running.endpoint.url, "pid": running.endpoint.pid, "started": False})
    else:
        say(f"already running at {running.endpoint.url} (process {running.endpoint.pid}); `roost down` stops it")
    return 0


def _running(app: App) -> Node | None:
    app.url = None  # look for the daemon of this home, whatever ROOST_URL names
    return app.daemon()


def _prepare(models: set[str | None]) -> None:
    """Fetch missing weights of local models while the daemon runs: an earlier turn waits for them. A failure does not
    stop the daemon; the model's turns report it."""
    from roost.cli.weights_download import ensure_model, hosted

    for name in sorted(models, key=lambda model: model or ""):
        try:
            if not hosted(name):
                ensure_model(name)
        except RoostError as error:
            note(f"! the model {name or '(default)'} cannot be used now: {error.message}", "yellow")


def _ready(app: App, url: str, *, as_json: bool) -> None:
    if as_json:
        say_json({"url": url, "pid": os.getpid(), "home": str(app.home), "started": True}, lines=True)
        return
    say(f"roost is up at {styled(url, 'bold')}, home {app.home}")
    note('Ctrl-C stops it. In another terminal: roost chat, or roost run "…"')


def _arguments(
    values: dict[str, str | float | None], allow_public: bool, folders: dict[str, tuple[Path, ...]]
) -> list[str]:
    """Build arguments without secrets, which go through the environment: all users can read a process's arguments."""
    given = [*values.items(), *((name, str(place.absolute())) for name, all in folders.items() for place in all)]
    arguments = [str(part) for name, value in given if value is not None for part in (name, value)]
    return arguments + (["--allow-public"] if allow_public else [])


def _background(app: App, arguments: list[str], *, as_json: bool) -> int:
    """Start a process in its own session, with its log in the home. While another daemon of the home is ending, retry
    until that one is gone."""
    from roost.server.daemon_files import RUNNING

    app.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = app.home / "daemon.log"
    process, begin = _begin(app, path, arguments)
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        node = app.daemon()
        if node is not None and node.endpoint.pid == process.pid:
            if as_json:
                say_json({"url": node.endpoint.url, "pid": process.pid, "started": True})
            else:
                say(f"roost is up at {node.endpoint.url} (process {process.pid}, log {path})")
            return 0
        if process.poll() is not None:
            if (other := app.daemon()) is not None:
                return _already(other, as_json=as_json)
            why = _last_words(path, begin)
            if RUNNING not in why:
                raise RoostError(f"the daemon did not start: {why}", code="not_started")
            time.sleep(_AGAIN_SECONDS)  # the other daemon is about to publish its address, or is ending
            if app.daemon() is None:
                process, begin = _begin(app, path, arguments)
        time.sleep(0.05)
    raise RoostError(f"the daemon is not ready after {_START_SECONDS:.0f} s; see {path}", code="not_started")


def _begin(app: App, path: Path, arguments: list[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start the process. Returns it, and the offset of its output in the log at `path`."""
    import subprocess

    environment = os.environ | {"ROOST_HOME": str(app.home)}
    environment |= {"ROOST_TOKEN": app.token} if app.token else {}
    environment |= {"ROOST_STORE": app.store} if app.store else {}
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab") as log:
        begin = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "roost.cli", "up", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    return process, begin


def _last_words(path: Path, begin: int) -> str:
    with path.open("rb") as log:
        log.seek(begin)
        lines = [line for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or ["it said nothing"])[-1]


@command("down")
@as_json
def down(app: App, as_json: bool) -> int:
    """Stop the daemon gracefully and wait until it is gone.

    Steps in progress get a few seconds to end. The next start resumes unfinished turns.
    """
    node = app.daemon()
    if node is None:
        if as_json:
            say_json({"stopped": False})
        else:
            say("no daemon is running")
        return 0
    endpoint = node.endpoint
    with node:
        node.node.shutdown()
        deadline = time.monotonic() + _STOP_SECONDS
        while _alive(node, endpoint.pid):
            if time.monotonic() > deadline:
                raise RoostError(f"the daemon still runs after {_STOP_SECONDS:.0f} s (process {endpoint.pid})")
            time.sleep(0.05)
    if as_json:
        say_json({"stopped": True, "pid": endpoint.pid})
    else:
        say("stopped")
    return 0


def _alive(node: Node, pid: int | None) -> bool:
    if pid is not None:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return not _is_zombie(pid)
    try:
        node.node.health()
    except Unreachable:
        return False
    return True


def _is_zombie(pid: int) -> bool:
    """True for a process that has ended and that its parent has not reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False
