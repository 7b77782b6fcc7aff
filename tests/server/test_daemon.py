"""The daemon as a process: one per home, found by its files, gone without a trace, back after a crash."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from roost.errors import ConfigError
from roost.server.daemon_files import Home
from roost.testing.scripted import Answer, ScriptedModel

SLOW = Answer(text="word " * 4000, pace=0.02, piece=5)
PROGRAM = """
import sys
from pathlib import Path
from roost.agent.definition import Agent
from roost.server.daemon import Options, main
from roost.testing.scripted import Answer, ScriptedModel
pace = float(sys.argv[2])
model = ScriptedModel(lambda _: Answer(text="word " * 40, pace=pace, piece=5))
main(Options(home=Path(sys.argv[1]), port=0, grace=float(sys.argv[3])), agents=[Agent("clerk", model=model)])
"""


class Process:
    def __init__(self, home: Path, pace: float, grace: float) -> None:
        self.home = home
        self.popen = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(home), str(pace), str(grace)], stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 60
        while (daemon := Home(home).daemon()) is None or daemon.pid != self.popen.pid:
            assert self.popen.poll() is None, self.popen.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.port = int(daemon.url.rpartition(":")[2])
        self.token = (home / "token").read_text().strip()
        self.connections: list[http.client.HTTPConnection] = []

    def open(self, method: str, path: str, body: object = None, **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        given = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **headers}
        connection.request(method, path, None if body is None else json.dumps(body), given)
        self.connections.append(connection)
        return connection.getresponse()

    def ask(self, method: str, path: str, body: object = None) -> object:
        with self.open(method, path, body) as response:
            data = response.read()
        assert response.status < 300, data
        return json.loads(data) if data else None

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.communicate()

    def says(self, what: str) -> None:
        """Wait until it has written this on stderr."""
        assert self.popen.stderr is not None
        while what not in (line := self.popen.stderr.readline()):
            assert line, "it ended without"

    def end(self, number: int = signal.SIGTERM) -> str:
        """What it wrote on stderr since."""
        self.popen.send_signal(number)
        return self.popen.communicate(timeout=60)[1]


@pytest.fixture
def start(tmp_path):
    made: list[Process] = []

    def one(pace: float = 0.0, grace: float = 1.0) -> Process:
        made.append(Process(tmp_path / "home", pace, grace))
        return made[-1]

    yield one
    for process in made:
        process.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_gracefully_and_its_streams_politely(start, number):
    daemon = start(pace=0.1)
    daemon.ask("POST", "/sessions", {"agent": "clerk", "id": "one"})
    turn = daemon.open("POST", "/sessions/one/messages", {"text": "go"}, Accept="text/event-stream")
    idle = [daemon.open("GET", "/sessions/one/events", Accept="text/event-stream") for _ in range(5)]
    while not turn.readline().startswith(b"event: delta"):
        pass
    written = daemon.end(number)
    assert daemon.popen.returncode == 0
    for response in (turn, *idle):
        last = response.read().strip().split(b"\n\n")[-1]
        assert last.startswith(b"event: problem\n")
        assert b'"code":"shutting_down"' in last
        response.close()
    assert not (daemon.home / "daemon.json").exists()
    assert [line.split(" ", 2)[2] for line in written.splitlines()][-2:] == [
        "roost.daemon: stopping",
        "roost.daemon: stopped",
    ]


def test_the_turn_that_was_cut_is_finished_by_the_next_daemon(start):
    first = start(pace=2.0, grace=100.0)
    first.ask("POST", "/sessions", {"agent": "clerk", "id": "one"})
    accepted = first.ask("POST", "/sessions/one/messages", {"text": "go"})
    time.sleep(0.3)
    started = time.monotonic()
    first.popen.send_signal(signal.SIGTERM)
    first.says("stopping")  # two signals that wait for a process are one
    first.end()
    assert time.monotonic() - started < 50, "the second signal did not cut"
    second = start()
    stream = second.open("GET", "/sessions/one/events", Accept="text/event-stream")
    seen = b""
    while b"event: turn.completed" not in seen:
        seen += stream.readline()
    stream.close()
    assert seen.count(b'"type":"input.received","input":%d' % accepted["input"]) == 1
    assert b'"outcome":"answered"' in stream_tail(second)


def stream_tail(daemon: Process) -> bytes:
    return json.dumps(daemon.ask("GET", "/sessions/one/events"), separators=(",", ":")).encode()


def test_after_a_kill_the_next_daemon_takes_the_home_over(start):
    first = start(pace=0.2)
    first.ask("POST", "/sessions", {"agent": "clerk", "id": "one"})
    first.ask("POST", "/sessions/one/messages", {"text": "go"})
    first.end(signal.SIGKILL)
    assert (first.home / "daemon.json").exists()
    second = start()
    assert second.token == first.token
    stream = second.open("GET", "/sessions/one/events", Accept="text/event-stream")
    while not stream.readline().startswith(b"event: turn.completed"):
        pass
    stream.close()


def test_a_home_has_one_daemon(serve):
    served = serve()
    with pytest.raises(ConfigError, match=rf"running already at {served.url}, process {os.getpid()}") as caught:
        serve()
    assert caught.value.code == "already_running"
    assert served.get("/agents")["agents"]
    served.stop()
    serve()


def test_a_port_that_is_taken_is_named_with_what_to_do(serve):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} .* --port") as caught:
            serve(port=port)
    assert caught.value.code == "port_taken"
    serve()


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 0), ("127.0.0.1", 99999)])
def test_an_address_that_is_none(serve, host, port):
    with pytest.raises(ConfigError) as caught:
        serve(host=host, port=port, token="t" * 16, allow_public=True)
    assert caught.value.code == "cannot_listen"


def test_the_files_say_where_it_is(serve):
    served = serve()
    info = Home(served.home).daemon()
    assert info is not None
    assert (info.url, info.pid) == (served.url, os.getpid())
    assert abs(info.started_at - time.time()) < 60
    served.stop()
    assert Home(served.home).daemon() is None


def test_a_client_can_stop_it(serve):
    served = serve()
    answer = served.post("/shutdown")
    assert (answer.status, answer.json) == (202, {"status": "stopping"})
    assert served.stop() < 5
    with pytest.raises(OSError):
        served.get("/health")


def test_stopping_waits_for_steps_no_longer_than_the_grace(serve):
    served = serve(ScriptedModel(lambda _: SLOW), grace=1.0)
    session = served.session()
    served.post(f"/sessions/{session}/messages", {"text": "go"})
    with served.events(session) as stream:
        stream.until("delta")
        took = served.stop()
        events = list(stream)
    assert events[-1].data["code"] == "shutting_down"
    assert took < 40


def test_the_log_has_one_line_an_entry():
    import logging

    from roost.server.logs import OneLine

    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("roost.x", logging.ERROR, "", 1, "failed", (), sys.exc_info())
    text = OneLine().format(record)
    assert "\n" not in text
    assert "ERROR roost.x: failed | Traceback" in text


IDLE = """
import json, os, signal, socket, sys, threading, time
from pathlib import Path
home, late = Path(sys.argv[1]), sys.argv[2:]
def look():
    while not (home / "daemon.json").exists():
        time.sleep(0.01)
    port = int(json.loads((home / "daemon.json").read_text())["url"].rpartition(":")[2])
    with socket.socket() as link:
        link.connect(("127.0.0.1", port))
        link.sendall(b"GET /health HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
        print(link.recv(64).split()[1].decode())
    print(*(name for name in late if any(each == name or each.startswith(name + ".") for each in sys.modules)))
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=look, daemon=True).start()
from roost.cli.main import run
sys.exit(run(["--home", str(home), "up", "--port", "0"]))
"""
LATE = (
    "aiohttp", "numpy", "yaml", "tree_sitter", "cronsim", "zoneinfo", "tzdata", "prometheus_client", "PIL",
    "xllamacpp", "rich", "keyring", "dbos", "asyncpg", "obstore", "trafilatura", "http.client", "tarfile", "html",
    "tomllib", "importlib.metadata", "importlib.resources", "encodings.idna", "starlette.routing", "anyio",
    "roost.testing", "roost.agent.loop", "roost.cli.node", "roost.client.sync_client",
    "roost.features.exchange.import_session", "roost.features.exchange.export_session", "roost.providers.embedders",
    "roost.features.mcp.service", "roost.features.mcp.node_servers", "roost.features.memory.service",
    "roost.local.model", "roost.policy.command.analysis", "roost.sandbox.containers", "roost.machines",
    "roost.tools.git", "roost.tools.shell", "roost.tools.web", "websockets", "roost.doors.websocket.door",
)  # fmt: skip


def test_a_daemon_that_idles_has_nothing_in_memory_that_comes_with_its_first_use(tmp_path):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OPENAI_API_KEY": "none"}
    command = [sys.executable, "-c", IDLE, str(tmp_path / "home"), *LATE]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60)
    assert ran.returncode == 0, ran.stderr
    status, found = ran.stdout.splitlines()[-2:]
    assert (status, found) == ("200", "")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_what_the_daemon_was_given_is_not_passed_on():
    """uvloop leaves it open in every program that it starts."""
    code = (
        "import asyncio, roost.server.daemon as d\n"
        "async def look(): await (await asyncio.create_subprocess_exec('ls', '/proc/self/fd')).wait()\n"
        "d.run(look())"
    )
    ours, theirs = os.pipe()
    try:
        os.dup2(theirs, 177)
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, pass_fds=[177])
    finally:
        for fd in (ours, theirs, 177):
            os.close(fd)
    assert "3" in ran.stdout.split()
    assert "177" not in ran.stdout.split()
