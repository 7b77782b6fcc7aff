"""The daemon: one per home, from taking its lock to its graceful end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Generator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from roost import registry
from roost.agent.agent_file_watch import AgentFiles
from roost.agent.definition import Agent
from roost.errors import ConfigError, StoreFailed
from roost.kernel.config import KernelConfig
from roost.kernel.settings import Reloaded
from roost.log.dispatch import Dispatcher
from roost.log.store import Durability, Store
from roost.providers.accounts import Models
from roost.runtime import YOUNG, Runtime, default_home
from roost.sandbox.environment import hide_secrets, root_warning, runs_as_root
from roost.server import problems
from roost.server.app import build_app
from roost.server.app_state import Api
from roost.server.auth import is_loopback
from roost.server.daemon_files import Home
from roost.server.listener import DEFAULT_PORT, advertised, bind, check_exposure, url_of
from roost.server.logs import log_to_stderr, mask
from roost.server.uvicorn_server import Server
from roost.stores.open import is_postgres
from roost.version import version

log = logging.getLogger("roost.daemon")
DispatcherKind: TypeAlias = Literal["store", "dbos"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the daemon.

    home: None is `default_home()`.
    token: None is the home's own, or the cluster's.
    port: 0 takes any free one.
    grace: seconds that requests, and then steps, get to end when the daemon stops.
    store: an address (`roost.stores.open.open_store`); None is the home's SQLite file.
    snapshots: where the files of sessions are kept for all nodes.
    advertise: the URL under which other nodes reach this one; None is its listening address.
    shared_folders: folders that exist on every node's machine.
    dispatcher: decides which node runs which session: the store, or DBOS Transact, which needs PostgreSQL as the store.
    """

    home: Path | None = None
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = None
    allow_public: bool = False
    grace: float = 5.0
    durability: Durability = "full"
    store: str | None = None
    snapshots: str | None = None
    advertise: str | None = None
    shared_folders: tuple[Path, ...] = ()
    dispatcher: DispatcherKind = "store"

    @staticmethod
    def from_environment(**given: Any) -> Options:
        """Read the options: first those `given` that are not None, then ROOST_HOME, ROOST_HOST, ROOST_PORT,
        ROOST_TOKEN, ROOST_STORE, ROOST_SNAPSHOTS, ROOST_ADVERTISE, ROOST_DISPATCHER and ROOST_SHARED_FOLDER (several as
        in PATH). Raises `ConfigError`."""
        names = ("home", "host", "port", "token", "store", "snapshots", "advertise", "dispatcher")
        found: dict[str, Any] = {name: value for name in names if (value := os.environ.get(f"ROOST_{name.upper()}"))}
        if folders := os.environ.get("ROOST_SHARED_FOLDER"):
            found["shared_folders"] = tuple(Path(folder) for folder in folders.split(os.pathsep) if folder)
        found |= {field: value for field, value in given.items() if value is not None}
        try:
            found["port"] = int(found.get("port", DEFAULT_PORT))
        except ValueError:
            raise ConfigError(f"{found['port']!r} is not a port: give a number, 0 for any free one") from None
        if (kind := found.get("dispatcher", "store")) not in get_args(DispatcherKind):
            raise ConfigError(f"{kind!r} is no dispatcher: give store or dbos")
        if "home" in found:
            found["home"] = Path(found["home"])
        return Options(**found)


class Daemon:
    """A daemon. `run` returns after the graceful end. `stop` begins that end, from the event loop; a second call cuts
    the remaining work as a crash would: no accepted input is lost."""

    def __init__(
        self,
        options: Options,
        *,
        agents: Sequence[Agent] = (),
        agent_files: AgentFiles | None = None,
        models: Models | None = None,
        config: KernelConfig | None = None,
        store: str | Path | Store | None = None,
        ready: Callable[[str], None] | None = None,
    ) -> None:
        self._options = options
        self._home = Home(options.home or default_home())
        self._shares = store is not None or options.store is not None
        self._runtime = Runtime(
            self._home.path,
            agents=agents,
            agent_files=agent_files,
            models=models,
            store=store if store is not None else options.store,
            config=config,
            durability=options.durability,
            snapshots=options.snapshots,
            shared_folders=options.shared_folders,
            dispatcher=_dispatcher(options),
        )
        self._ready = ready
        self._stop = asyncio.Event()
        self._cut = asyncio.Event()
        self._reloading: asyncio.Task[Reloaded] | None = None

    def stop(self) -> None:
        if self._stop.is_set():
            self._cut.set()
        self._stop.set()

    def reload(self) -> None:
        """Reload the configuration files. Faults are logged."""
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self._runtime.configuration.reload())

    async def run(self) -> None:
        """Serve until stopped. Raises `ConfigError` (running already, port taken, public address) and `StoreFailed`
        before it serves."""
        options = self._options
        token = _checked(options.token)
        check_exposure(options.host, token=token, allow_public=options.allow_public)
        _check_folders(options.shared_folders)
        self._home.lock()
        try:
            with contextlib.closing(bind(options.host, options.port)) as listener:
                self._runtime.advertise = advertised(listener, options.advertise)
                await self._runtime.start()
                gc.set_threshold(YOUNG, *gc.get_threshold()[1:])  # a start sets it higher than that
                mask(lambda text: self._runtime.vault.scrub(text))
                problems.mask(lambda text: self._runtime.vault.scrub(text))
                try:
                    await self._serve(listener, token or await self._shared_token())
                finally:
                    await self._end()
        finally:
            self._home.unlock()

    async def _shared_token(self) -> str:
        """Return the home's token; when homes share a store, the cluster's, which is the first home's."""
        own = await asyncio.to_thread(self._home.token)
        if not self._shares:
            return own
        token = await self._runtime.node.store.coordination.setting("api_token", own)
        assert token is not None
        if token != own:
            await asyncio.to_thread(self._home.keep_token, token)
        return token

    async def _serve(self, listener: socket.socket, token: str) -> None:
        app, api = build_app(
            self._runtime, token=token, loopback=is_loopback(self._options.host), on_shutdown=self._stop.set
        )
        server = Server(app, grace=self._options.grace)
        serving = asyncio.create_task(server.serve([listener]))
        stopping = asyncio.create_task(self._stop.wait())
        preparing = asyncio.create_task(self._prepare(server.listening))
        working = asyncio.create_task(self._doors(api, server.listening))
        try:
            await server.listening.wait()
            self._announce(url_of(listener))
            await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            log.info("stopping")
            api.drain(self._options.grace)
            api.stop()
            server.leave()
            cutting = asyncio.create_task(self._cut.wait())
            await asyncio.wait([serving, cutting], return_when=asyncio.FIRST_COMPLETED)
            server.force_exit = True
            cutting.cancel()
            await serving
        finally:
            for task in (serving, stopping, preparing, working):
                task.cancel()

    async def _doors(self, api: Api, listening: asyncio.Event) -> None:
        """Do what doors do without a request."""
        await listening.wait()
        await asyncio.gather(*(self._door_work(module, api) for module in registry.door_duties()))

    async def _door_work(self, module: ModuleType, api: Api) -> None:
        try:
            await module.work(api)
        except Exception:  # a defect: the others go on
            log.exception("%s has ended", module.__name__)

    async def _prepare(self, listening: asyncio.Event) -> None:
        await listening.wait()
        if self._shares:
            with contextlib.suppress(StoreFailed):  # the first request retries it
                await self._runtime.peers.prepare()

    async def _end(self) -> None:
        """Stop the kernel; a second order to stop cuts the steps that it waits for."""
        self._home.retract()
        node = self._runtime.node
        ending = asyncio.create_task(self._runtime.stop(grace=self._options.grace))
        cutting = asyncio.create_task(self._cut.wait())
        await asyncio.wait([ending, cutting], return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            for live in list(node.slots.live.values()):
                live.interrupts.shut_down(cut=True)
        cutting.cancel()
        await ending
        log.info("stopped")

    def _announce(self, url: str) -> None:
        self._home.announce(url)
        log.info("roost %s serves %s at %s", version(), self._home.path, url)
        if runs_as_root():
            users = self._runtime.users
            log.warning("%s", root_warning(users=users.owners is not None, why=users.why))
        if self._shares:
            log.info("other nodes reach it at %s (--advertise)", self._runtime.advertise)
        if self._ready is not None:
            self._ready(url)


async def serve(
    options: Options,
    *,
    agents: Sequence[Agent] = (),
    agent_files: AgentFiles | None = None,
    models: Models | None = None,
    config: KernelConfig | None = None,
    store: str | Path | Store | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or POST /shutdown. A second signal cuts, a third kills. SIGHUP reloads, or stops when
    there is a terminal. `ready` is called with the URL. `store` replaces the home's SQLite file, as in `Runtime`.
    Raises as `Daemon.run`."""
    daemon = Daemon(
        options, agents=agents, agent_files=agent_files, models=models, config=config, store=store, ready=ready
    )
    with _signals(daemon):
        await daemon.run()


def main(
    options: Options | None = None,
    *,
    agents: Sequence[Agent] = (),
    agent_files: AgentFiles | None = None,
    models: Models | None = None,
    config: KernelConfig | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Run `serve` in this process, with its log on stderr and the secrets of its environment hidden."""
    hide_secrets()
    log_to_stderr()
    chosen = options or Options.from_environment()
    gc.freeze()  # imported modules stay: no collection need visit them
    run(serve(chosen, agents=agents, agent_files=agent_files, models=models, config=config, ready=ready))


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where it is installed."""
    _keep_to_oneself()
    try:
        factory = importlib.import_module("uvloop").new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work)


def _keep_to_oneself() -> None:
    """Make inherited file descriptors beyond the standard streams non-inheritable: uvloop passes them to every program
    that it starts."""
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself
            if int(name) > 2:
                os.set_inheritable(int(name), False)


@contextlib.contextmanager
def _signals(daemon: Daemon) -> Generator[None, None, None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    heard = 0

    def on_signal() -> None:
        nonlocal heard
        heard += 1
        daemon.stop()
        if heard == 2:
            unhook()

    def unhook() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(signal.SIGHUP, daemon.stop if _has_terminal() else daemon.reload)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        unhook()


def _has_terminal() -> bool:
    """Return whether stdin is a terminal: then a hangup means that it closed, and Ctrl-C can no longer stop the
    daemon."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def _dispatcher(options: Options) -> Callable[[Store], Dispatcher] | None:
    """Return the dispatcher's factory; None for the store. Raises `ConfigError`."""
    url = options.store
    match options.dispatcher:
        case "store":
            return None
        case "dbos" if url is not None and is_postgres(url):
            from roost.log.dbos import DbosDispatcher

            return lambda store: DbosDispatcher(store, url)
        case "dbos":
            raise ConfigError(
                "--dispatcher dbos needs PostgreSQL: give --store postgresql://user@host/database, or leave it out"
            )


def _check_folders(folders: Sequence[Path]) -> None:
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(
                f"--shared-folder {str(folder)!r} is no folder here: mount it at that path on every node's machine,"
                " or leave it out"
            )


def _checked(token: str | None) -> str | None:
    if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token and token):
        raise ConfigError("a token is one word of printable ASCII characters; leave it out to use the home's own")
    return token


if __name__ == "__main__":
    main()
