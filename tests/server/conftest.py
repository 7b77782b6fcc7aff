"""A real daemon on loopback, in a thread of the test's process so that a test can hold its model, and its client."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from roost.agent.definition import Agent
from roost.server.daemon import Daemon, Options
from roost.testing.scripted import ScriptedModel
from roost.tools.function import tool


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        assert self.headers["content-type"] == "application/problem+json", self
        problem = self.json
        assert problem["status"] == self.status
        assert set(problem) == {"type", "title", "status", "code", "detail"}
        return problem["code"]


class Event(NamedTuple):
    id: int | None
    kind: str
    data: Any


class Stream:
    """An open event stream. Iterating ends with the stream."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self.connection = connection
        self.response = response

    def __iter__(self) -> Iterator[Event]:
        fields: dict[str, str] = {}
        while line := self.response.readline():
            text = line.decode().rstrip("\n")
            if text and not text.startswith(":"):
                name, _, value = text.partition(": ")
                fields[name] = value
            elif fields:
                number = int(fields["id"]) if "id" in fields else None
                yield Event(number, fields["event"], json.loads(fields["data"]))
                fields = {}

    def until(self, kind: str) -> list[Event]:
        seen: list[Event] = []
        for event in self:
            seen.append(event)
            if event.kind == kind:
                return seen
        raise AssertionError(f"the stream ended without {kind}: {seen}")

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()
        self.connection.close()


class Served:
    """A daemon and what a client of it needs."""

    def __init__(self, options: Options, agents: list[Agent], **more: Any) -> None:
        self.options = options
        self.home = options.home or Path()
        self._ready: Future[str] = Future()
        self._thread = threading.Thread(target=self._main, args=(options, agents, more))
        self._thread.start()
        self.url = self._ready.result(60)
        self.port = int(self.url.rpartition(":")[2])
        self.token = options.token or (self.home / "token").read_text().strip()

    def _main(self, options: Options, agents: list[Agent], more: dict[str, Any]) -> None:
        async def work() -> None:
            self.loop = asyncio.get_running_loop()
            if "store" in more:
                more["store"] = await more["store"]()
            self.daemon = Daemon(options, agents=agents, ready=self._ready.set_result, **more)
            await self.daemon.run()

        try:
            asyncio.run(work())
        except BaseException as error:  # to the thread that waits for it
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    def stop(self) -> float:
        """Seconds that it took."""
        started = time.monotonic()
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.daemon.stop)
        self._thread.join(60)
        assert not self._thread.is_alive()
        return time.monotonic() - started

    def headers(self, **more: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", **{k.replace("_", "-"): v for k, v in more.items()}}

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=150)

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=150)

    def request(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **headers: str) -> Answer:
        connection = self.connect()
        try:
            return ask(connection, method, path, body, raw=raw, headers=self.headers(**headers))
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Any:
        answer = self.request("GET", path, **headers)
        assert answer.status == 200, answer
        return answer.json

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.request("POST", path, body, **headers)

    def session(self, agent: str = "clerk", **fields: Any) -> str:
        answer = self.post("/sessions", {"agent": agent, **fields})
        assert answer.status == 201, answer
        return answer.json["id"]

    def stream(self, method: str, path: str, body: Any = None, **headers: str) -> Stream:
        connection = self.connect()
        data = None if body is None else json.dumps(body).encode()
        more = self.headers(Accept="text/event-stream", Content_Type="application/json", **headers)
        connection.request(method, path, data, more)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        return Stream(connection, response)

    def events(self, session: str, after: int = 0, **headers: str) -> Stream:
        return self.stream("GET", f"/sessions/{session}/events?after={after}", **headers)

    def say(self, session: str, text: str, **headers: str) -> list[Event]:
        """Speak, and read the turn to its end."""
        with self.stream("POST", f"/sessions/{session}/messages", {"text": text}, **headers) as stream:
            return list(stream)

    def history(self, session: str) -> list[Any]:
        return self.get(f"/sessions/{session}/events?limit=1000")["events"]


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: Any = None,
    *,
    raw: bytes | None = None,
    headers: dict[str, str],
) -> Answer:
    data = raw if body is None else json.dumps(body).encode()
    given = {"Content-Type": "application/json"} if data is not None else {}
    connection.request(method, path, data, {**given, **headers})
    response = connection.getresponse()
    return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


@tool(replay="safe", safety="read_only")
async def look(what: str) -> str:
    """Look at something."""
    return f"seen {what}"


@tool(replay="never", safety="destructive")
async def strike(what: str) -> str:
    """Needs an approval."""
    return f"struck {what}"


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a daemon with one agent `clerk` of the given model, or with the given agents."""
    running: list[Served] = []

    def start(model: ScriptedModel | None = None, *, agents: list[Agent] | None = None, **options: Any) -> Served:
        more = {
            name: options.pop(name)
            for name in ("config", "store")
            if name in options and not isinstance(options[name], str)
        }
        chosen = Options(**{"home": tmp_path / "home", "port": 0, "grace": 2.0, **options})
        clerk = Agent("clerk", model=model or ScriptedModel(lambda _: "yes"), tools=[look, strike])
        running.append(Served(chosen, agents or [clerk], **more))
        return running[-1]

    yield start
    for served in running:
        served.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One daemon for the tests of a module that leave nothing behind that others would notice."""
    model = ScriptedModel(lambda _: "yes")
    options = Options(home=tmp_path_factory.mktemp("shared"), port=0, grace=2.0)
    served = Served(options, [Agent("clerk", model=model, tools=[look, strike])])
    yield served
    served.stop()


@pytest.fixture
def wait() -> Callable[[Callable[[], object]], None]:
    def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
        deadline, pause = time.monotonic() + seconds, 0.01
        while not condition():
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(pause)
            pause = min(pause * 1.2, 0.25)  # who waits for long must not take the processor from what it waits for

    return until
