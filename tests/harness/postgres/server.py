"""One throw-away server: made, broken in every way, started again, and gone with the process that made it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from tests.harness.postgres import watchdog
from tests.harness.postgres.binaries import Binaries, find_binaries
from tests.harness.postgres.empty import Empty, empty, look
from tests.harness.postgres.volume import Volume

from roost.errors import ConfigError

if TYPE_CHECKING:
    import asyncpg

_START_SECONDS = 60.0
_PORTS = (20000, 29999)
"""Below what systems hand out to connections: nobody else may sit on the port while the server is down, not even a
client that happens to connect to itself."""

StopMode = Literal["smart", "fast", "immediate"]
_SIGNALS: Mapping[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
Prepare = Callable[[str], Awaitable[object]]


class PostgresServer:
    """A PostgreSQL server of one's own on a loopback port and a Unix socket; anybody on the machine may log in.

    `fsync` off saves time where nothing is learnt from syncing. `settings` go to its command line. `disk`: its data is
    on a disk of so many MiB of its own, which `fill_disk` fills (ask `no_volume` first); else on the real disk. Works
    as root too: the server then runs as `nobody`. `ROOST_TEST_POSTGRES` (a URL of a superuser) takes the place of a
    server of one's own where nothing is to be broken: see `shared`. Methods block; `database` does not.
    """

    def __init__(
        self,
        *,
        fsync: bool = True,
        settings: Mapping[str, str] | None = None,
        major: int | None = None,
        disk: int | None = None,
        url: str | None = None,
    ) -> None:
        self._settings = {"fsync": "on" if fsync else "off", "max_connections": "200"} | dict(settings or {})
        self._major = major
        self._disk = disk
        self._numbers = itertools.count(1)
        self._templates: dict[Prepare, str] = {}
        self._spare: list[str] = []
        self._empty: Empty | None = None
        self._given = url
        self._made: list[str] = []
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._volume: Volume | None = None

    @classmethod
    def shared(cls) -> PostgresServer:
        """One for many tests: the server that `ROOST_TEST_POSTGRES` names, or a quick one of one's own."""
        return cls(fsync=False, url=os.environ.get("ROOST_TEST_POSTGRES"))

    # Its addresses

    def url(self, database: str = "postgres") -> str:
        if self._given is not None:
            return urlunsplit(urlsplit(self._given)._replace(path=f"/{database}"))
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={quote(str(self.folder))}&port={self.port}"

    async def database(self, prepare: Prepare | None = None) -> str:
        """The URL of a fresh database. `prepare(url)` is run once per server; later databases are copies of its work.
        It must have closed its connections when it returns."""
        if prepare is not None and prepare not in self._templates:
            made = await self._create("template0")
            await prepare(self.url(made))
            self._templates[prepare] = made
        return self.url(await self._create(self._templates[prepare] if prepare else "template0"))

    @contextlib.asynccontextmanager
    async def borrowed(self) -> AsyncGenerator[str]:
        """The URL of a database without a session for a while: far less for the disk to do than a fresh one each
        time. Afterwards its connections are cut, and what Roost keeps in it is gone."""
        if self._empty is None:
            self._empty = await self._look()
        url = self._spare.pop() if self._spare else await self.database()
        yield url
        async with _connected(url) as connection:
            await empty(connection, self._empty)
        self._spare.append(url)

    async def _look(self) -> Empty:
        from roost.stores.postgres.store import open_postgres

        url = await self.database()
        await (await open_postgres(url)).close()
        async with _connected(url) as connection:
            found = await look(connection)
        self._spare.append(url)
        return found

    async def _create(self, template: str) -> str:
        name = f"t{next(self._numbers)}_{secrets.token_hex(4)}"
        async with _connected(self.url()) as connection:
            copied = "STRATEGY file_copy" if connection.get_server_version().major >= 15 else ""  # a tenth of the time
            await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" {copied}')
        if self._given is not None:
            self._made.append(name)
        return name

    async def _drop(self) -> None:
        async with _connected(self.url()) as connection:
            while self._made:
                await connection.execute(f'DROP DATABASE IF EXISTS "{self._made.pop()}" WITH (FORCE)')

    def run(self, program: str, *arguments: str, timeout: float = 120.0) -> str:
        """The output of one of PostgreSQL's own programs (`psql`, `pg_dump`, `pg_basebackup` …), run as the server's
        user, connected to this server. Raises `CalledProcessError`."""
        binaries = self._found()
        environment = {**os.environ, "PGHOST": str(self.folder), "PGPORT": str(self.port), "PGUSER": "postgres"}
        done = subprocess.run(
            [str(binaries.bin / program), *arguments],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=True,
            user=binaries.user,
            group=binaries.group,
            extra_groups=binaries.groups,
        )
        return done.stdout

    # Its life

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Its first process is there. It may still be starting, suspended, or cleaning up after a crash."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Make it, or start it again, and wait until it takes connections. A running server may be recovering from a
        crash, and may end because its disk is full: it is waited for, or started once more. Raises `ConfigError` with
        the end of its log when it does not come up within a minute."""
        if self._given is not None:
            return
        if self._watchdog is None:
            self._make()
        spawned, deadline = False, time.monotonic() + _START_SECONDS
        while not (self._ready() if spawned else self.running and self._answers()):
            if not self.running:
                if spawned and not self._blocked():
                    raise ConfigError(f"PostgreSQL did not start:\n{self.log_tail()}")
                self._spawn()
                spawned = True
            if time.monotonic() > deadline:
                raise ConfigError(f"PostgreSQL is not up after {_START_SECONDS:g} s:\n{self.log_tail()}")
            time.sleep(0.01)

    def stop(self, mode: StopMode = "fast") -> None:
        """`fast`: transactions are rolled back, connections closed. `immediate`: as after a crash."""
        if self._process is not None and self.running:
            self._process.send_signal(_SIGNALS[mode])
            try:
                self._process.wait(_START_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                raise

    def restart(self, mode: StopMode = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """kill -9 of all its processes at once. What was synced is on the disk; `start` recovers."""
        for pid in self._family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def suspend(self) -> None:
        """SIGSTOP to all its processes: connections stay open and nothing answers."""
        for pid in self._family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in self._family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def fill_disk(self) -> None:
        """No byte more fits onto its disk. It may refuse writes, or give up and end: `free_disk`, then `start`."""
        self._own_volume().fill()

    def free_disk(self) -> None:
        self._own_volume().free()

    def close(self) -> None:
        """End it and remove all that it left; on a server that is not ours, the databases that were made."""
        if self._made:
            asyncio.run(self._drop())
        if self._watchdog is not None:
            watch, self._watchdog = self._watchdog, None
            assert watch.stdin is not None
            watch.stdin.close()
            if self._process is not None:
                self._process.wait()
            watch.wait()

    def log_tail(self, lines: int = 20) -> str:
        return "\n".join((self.folder / "server.log").read_text(errors="replace").splitlines()[-lines:])

    # Inner parts

    def _found(self) -> Binaries:
        if self._given is not None:
            raise ConfigError("this server is not ours: unset ROOST_TEST_POSTGRES for what starts and stops it")
        return self._binaries

    def _make(self) -> None:
        self._binaries = find_binaries(self._major)
        root = "/var/tmp" if os.access("/var/tmp", os.W_OK) else None  # /tmp is a memory disk on many machines
        self.folder = Path(tempfile.mkdtemp(prefix="roost-pg-", dir=root))
        self.folder.chmod(0o755)
        self._watchdog = subprocess.Popen(
            [sys.executable, "-IS", watchdog.__file__, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if self._disk is not None:
            self._volume = Volume(self.folder / "disk", self._disk)
        home = self.folder / "disk" if self._volume else self.folder
        self.data = home / "data"
        self.data.mkdir(mode=0o700)
        if self._binaries.user is not None and self._binaries.group is not None:
            for place in (self.folder, self.data):
                os.chown(place, self._binaries.user, self._binaries.group)
        self.port = _free_port()
        initdb = ["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale"]
        try:
            self.run("initdb", *initdb, "--pgdata", str(self.data))
        except subprocess.CalledProcessError as error:
            raise ConfigError(f"PostgreSQL's initdb failed: {error.stderr or error.stdout}") from error

    def _spawn(self) -> None:
        fixed = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "cluster_name": self.folder.name,
        }
        options = [f"--{name}={value}" for name, value in (fixed | self._settings).items()]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._binaries.bin / "postgres"), "-D", str(self.data), *options],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self._binaries.user,
                group=self._binaries.group,
                extra_groups=self._binaries.groups,
            )

    def _ready(self) -> bool:
        """The server says so itself, in the eighth line of its pid file."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return self.running and lines[:1] == [str(self._pid)] and lines[7:8] == ["ready   "]

    def _answers(self) -> bool:
        """A connection works. While it recovers from a crash its pid file still says that it is ready."""
        try:
            self.run("psql", "-c", "SELECT 1", timeout=5.0)
        except subprocess.SubprocessError:
            return False
        return True

    @property
    def _pid(self) -> int:
        return self._process.pid if self._process else 0

    def _blocked(self) -> bool:
        """It gave up because processes of the one before are still there: they go when they notice."""
        return "is still in use" in self.log_tail(5)

    def _family(self) -> list[int]:
        return watchdog.family(str(self.folder)) if self._given is None else []

    def _own_volume(self) -> Volume:
        if self._volume is None:
            raise ConfigError("this server has no disk of its own: PostgresServer(disk=…)")
        return self._volume


def _free_port() -> int:
    while True:
        port = random.SystemRandom().randint(*_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.asynccontextmanager
async def _connected(url: str) -> AsyncGenerator[asyncpg.Connection[Any]]:
    import asyncpg

    connection = await asyncpg.connect(url, timeout=30)
    try:
        yield connection
    finally:
        await connection.close()
