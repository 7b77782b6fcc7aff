"""Two daemons on one store: any of them answers for every session, whichever runs it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from tests.harness.proxy import TcpProxy
from tests.kernel.filing import obey
from tests.kernel.undoing import sh

from roost.agent.definition import Agent
from roost.kernel.config import KernelConfig
from roost.kernel.peers import sign
from roost.log.content import Text
from roost.models.request import Completed, ModelEvent, Notice, Request, TextDelta
from roost.stores.open import open_store
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

from .conftest import Served, Stream, look, strike

READS = {"config": KernelConfig(max_live=0)}
"""A node that runs nothing, so that it is clear where a session runs."""
TEXT = "".join(f"word{i} " for i in range(60))
HALF = len(TEXT) // 2


class Held(ScriptedModel):
    """Says half of the text, and the other half when it is told to go on."""

    def __init__(self) -> None:
        super().__init__([])
        self._go_on = threading.Event()

    def go_on(self) -> None:
        self._go_on.set()

    async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
        for place in range(0, len(TEXT), 5):
            while place + 5 > HALF and not self._go_on.is_set():
                await asyncio.sleep(0.01)
            yield TextDelta(TEXT[place : place + 5])
            await asyncio.sleep(0.002)
        yield Completed((Text(TEXT),), "end")


class Again(Held):
    """Says something that does not count; then, when it is told to go on, the text."""

    async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
        yield TextDelta("wrong, ")
        yield TextDelta("all of it")
        while not self._go_on.is_set():
            await asyncio.sleep(0.01)
        yield Notice("restart")
        for place in range(0, len(TEXT), 5):
            yield TextDelta(TEXT[place : place + 5])
            await asyncio.sleep(0.002)
        yield Completed((Text(TEXT),), "end")


class Network:
    """Proxies on an event loop of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._proxies: list[TcpProxy] = []

    def proxy(self, port: Callable[[], int]) -> TcpProxy:
        proxy = TcpProxy(lambda: [("127.0.0.1", port())])
        self._proxies.append(proxy)
        self.do(proxy.start())
        return proxy

    def do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def call(self, work: Callable[[], object]) -> None:
        async def run() -> None:
            work()

        self.do(run())

    def close(self) -> None:
        for proxy in self._proxies:
            self.do(proxy.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    yield network
    network.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store of the test's own."""
    if request.param == "sqlite":
        return str(tmp_path / "shared.db")
    return asyncio.run(request.getfixturevalue("postgres").database(_prepared))


async def _prepared(url: str) -> None:
    await (await open_store(url)).close()


@pytest.fixture
def node(serve, tmp_path: Path, store: str):
    """Start a node of one cluster. Its agent `clerk` has the model of the node."""

    def start(name: str, model: ScriptedModel | None = None, **options) -> Served:
        model = model or ScriptedModel(lambda _: f"{name} says yes")
        agents = [Agent("clerk", model=model, tools=[look, strike])]
        return serve(agents=agents, home=tmp_path / name, store=store, **options)

    return start


class Kept:
    """A reader that keeps the pieces of a step. Complains when one is missing or comes twice."""

    def __init__(self, stream: Stream) -> None:
        self._events = iter(stream)
        self.text = ""
        self.seq = 0

    def read(self, length: int = len(TEXT)) -> None:
        """So much of the text, or up to the end of the step, which may come before its last pieces."""
        while len(self.text) < length:
            event = next(self._events)
            self.seq = event.id or self.seq
            if event.kind == "model.completed":
                break
            if event.kind == "delta":
                assert event.data["after"] == self.seq, "a piece came before the event that began its step"
                assert event.data["offset"] == len(self.text), "a piece is missing or came twice"
                self.text += event.data["text"]
        assert TEXT.startswith(self.text)

    def until(self, kind: str) -> None:
        while next(self._events).kind != kind:
            pass


@pytest.fixture
def held() -> Iterator[Held]:
    model = Held()
    yield model
    model.go_on()


def running_at(served: Served, session: str) -> str | None:
    return served.get(f"/sessions/{session}")["info"]["owner"]


def node_id(served: Served) -> str:
    return served.get("/health")["node"]


def test_a_reader_on_another_node_has_every_piece(node, held):
    a, b = node("a", held), node("b", **READS)
    session = a.session()
    with b.events(session) as there, b.events(session) as too:
        readers = [Kept(there), Kept(too)]
        a.post(f"/sessions/{session}/messages", {"text": "go"})
        for reader in readers:
            reader.read(HALF - 5)
        held.go_on()
        for reader in readers:
            reader.read()
            assert len(reader.text) > HALF
            reader.until("turn.completed")


def test_a_reader_that_joins_in_the_middle_has_the_step_from_its_beginning(node, held):
    a, b = node("a", held), node("b", **READS)
    session = a.session()
    a.post(f"/sessions/{session}/messages", {"text": "go"})
    with a.events(session) as here, b.events(session) as there:
        Kept(here).read(HALF - 5)
        first = Kept(there)
        first.read(HALF - 5)
        with b.events(session) as late:
            second = Kept(late)
            second.read(HALF - 5)
            held.go_on()
            for reader in (first, second):
                reader.read()
                assert len(reader.text) > HALF


def test_a_reader_that_comes_back_in_the_middle_has_the_step_from_its_beginning(node, held):
    a, b = node("a", held), node("b", **READS)
    session = a.session()
    a.post(f"/sessions/{session}/messages", {"text": "go"})
    with b.events(session) as stream:
        before = Kept(stream)
        before.read(HALF - 5)
    for _ in range(3):
        with b.events(session, Last_Event_ID=str(before.seq)) as stream:
            again = Kept(stream)
            again.seq = before.seq
            again.read(HALF - 5)


def test_pieces_of_a_step_that_is_over_are_not_told_again(node, held):
    a, b = node("a", held), node("b", **READS)
    session = a.session()
    with b.events(session) as there:
        a.post(f"/sessions/{session}/messages", {"text": "go"})
        reader = Kept(there)
        reader.read(HALF - 5)
        held.go_on()
        reader.until("turn.completed")
        last = len(a.history(session))
        with b.events(session, Last_Event_ID=str(last - 2)) as late:
            assert [event.kind for _, event in zip(range(2), late, strict=False)] == [
                "model.completed",
                "turn.completed",
            ]
            a.post(f"/sessions/{session}/emit", {"name": "mark"})
            assert next(iter(late)).kind == "emitted"


def _wrong(stream: Stream) -> str:
    """Hears all of what will not count."""
    text = ""
    for event in stream:
        if event.kind == "delta":
            assert event.data["offset"] == len(text), "a piece is missing or came twice"
            text += event.data["text"]
            if text == "wrong, all of it":
                break
    return text


def _again(stream: Stream, text: str) -> tuple[str, str]:
    """(what a reader had when the answer began again, what it has at the end)."""
    before, begun = "", 0
    for event in stream:
        if event.kind == "delta":
            assert event.data["after"] >= begun, "a piece of what does not count any more"
            assert event.data["offset"] == len(text), "a piece is missing or came twice"
            text += event.data["text"]
        elif event.kind == "model.notice" and event.data["kind"] == "restart":
            text, before, begun = "", text, event.id or 0
        elif event.kind == "model.completed":
            break
    return before, text


def test_an_answer_that_begins_again_begins_again_for_the_readers_of_all_nodes(node):
    model = Again()
    a, b = node("a", model), node("b", **READS)
    session = a.session()
    try:
        with a.events(session) as here, b.events(session) as there, b.events(session) as too:
            a.post(f"/sessions/{session}/messages", {"text": "go"})
            heard = [(stream, _wrong(stream)) for stream in (here, there, too)]
            model.go_on()
            for stream, wrong in heard:
                before, text = _again(stream, wrong)
                assert before == "wrong, all of it"
                assert TEXT.startswith(text)
                assert len(text) > HALF
    finally:
        model.go_on()


def test_many_readers_share_one_upstream_that_ends_with_the_last(node, network, wait, held):
    ports: list[int] = []
    proxy = network.proxy(lambda: ports[0])
    a = node("a", held, advertise=proxy.url)
    ports.append(a.port)
    b = node("b", **READS)
    session = a.session()
    a.post(f"/sessions/{session}/messages", {"text": "go"})
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            Kept(stack.enter_context(b.events(session))).read(HALF - 5)
        assert proxy.accepted == 1
        assert proxy.connections == 1
    wait(lambda: proxy.connections == 0, 3)


def test_the_pieces_go_on_where_the_connection_between_the_nodes_broke(node, network, held):
    ports: list[int] = []
    proxy = network.proxy(lambda: ports[0])
    a = node("a", held, advertise=proxy.url)
    ports.append(a.port)
    b = node("b", **READS)
    session = a.session()
    a.post(f"/sessions/{session}/messages", {"text": "go"})
    with b.events(session) as there:
        reader = Kept(there)
        reader.read(HALF - 5)
        network.call(proxy.cut)
        held.go_on()
        reader.read()
        assert len(reader.text) > HALF
        assert proxy.accepted > 1
        reader.until("turn.completed")


def test_a_node_that_cannot_be_reached_costs_the_deltas_alone(node, network, held):
    ports: list[int] = []
    proxy = network.proxy(lambda: ports[0])
    a = node("a", held, advertise=proxy.url)
    ports.append(a.port)
    b = node("b", **READS)
    network.call(proxy.hold)
    held.go_on()
    session = a.session()
    with b.events(session) as there:
        a.post(f"/sessions/{session}/messages", {"text": "go"})
        seen = there.until("turn.completed")
    assert [event.id for event in seen] == list(range(1, len(seen) + 1))


def test_the_stream_follows_the_session_to_another_node(node, held):
    a, c = node("a", Held(), grace=0.0), node("c", **READS)
    session = a.session()
    a.post(f"/sessions/{session}/messages", {"text": "go"})
    with c.events(session) as there:
        Kept(there).read(HALF - 5)
        first = node_id(a)
        assert running_at(c, session) == first
        b = node("b", held)
        a.stop()
        for event in there:
            if event.kind == "model.started":
                break
        reader = Kept(there)
        reader.seq = event.id
        reader.read(HALF - 5)
        assert running_at(c, session) == node_id(b)
        held.go_on()
        reader.until("turn.completed")


def test_resume_through_one_node_then_the_other_has_no_gap_and_no_duplicate(node):
    steps = [Answer(text="a" * 40, pace=0.005, calls=(Call("look", {"what": str(i)}),)) for i in range(12)]
    nodes = [node("a", ScriptedModel(by_step([*steps, "done"]))), node("b", **READS)]
    session = nodes[0].session()
    nodes[0].post(f"/sessions/{session}/messages", {"text": "go"})
    got: list[tuple[int, object]] = []
    hops = 0
    while not got or got[-1][1]["type"] != "turn.completed":
        hops += 1
        with nodes[hops % 2].events(session, Last_Event_ID=str(got[-1][0] if got else 0)) as stream:
            for _, event in zip(range(hops % 4 + 1), stream, strict=False):
                if event.id is not None:
                    got.append((event.id, event.data))
                if event.kind == "turn.completed":
                    break
    assert hops > 5
    assert got == [(entry["seq"], entry["event"]) for entry in nodes[1].history(session)]


def test_a_key_is_one_on_all_nodes(node):
    a, b = node("a"), node("b")
    made = a.post("/sessions", {"agent": "clerk"}, Idempotency_Key="s").json
    assert b.post("/sessions", {"agent": "clerk"}, Idempotency_Key="s").json["id"] == made["id"]
    path = f"/sessions/{made['id']}/messages"
    first = a.post(path, {"text": "hello"}, Idempotency_Key="k").json
    again = b.post(path, {"text": "hello"}, Idempotency_Key="k").json
    assert (again["input"], again["duplicate"]) == (first["input"], True)
    with b.stream("POST", path, {"text": "hello"}, Idempotency_Key="k") as stream:
        turn = list(stream)
    assert turn[-1].data["outcome"] == "answered"
    assert b.post(path, {"text": "other"}, Idempotency_Key="k").code == "idempotency_mismatch"
    assert [entry["event"]["type"] for entry in a.history(made["id"])].count("turn.completed") == 1


def test_a_turn_is_waited_for_through_any_node(node):
    slow = Answer(text="slow " * 20, pace=0.02, piece=5)
    a, b = node("a", ScriptedModel(lambda _: slow)), node("b", ScriptedModel(lambda _: slow))
    session = a.session()
    a.post(f"/sessions/{session}/messages", {"text": "first"})
    seen = b.say(session, "second")
    assert seen[-1].kind == "turn.completed"
    assert sum(event.kind == "input.received" for event in seen) == 2
    assert len({event.data.get("turn") for event in seen if event.kind == "turn.completed"}) == 2


def test_control_and_approvals_through_the_other_node(node):
    a, b = (
        node("a", ScriptedModel(by_step([Answer(calls=(Call("strike", {"what": "it"}),)), "done"]))),
        node("b", **READS),
    )
    session = a.session()
    with a.events(session) as stream:
        a.post(f"/sessions/{session}/messages", {"text": "go"})
        call = stream.until("approval.requested")[-1].data["call"]
        assert [one["call"] for one in b.get(f"/sessions/{session}")["approvals"]] == [call]
        assert b.post(f"/sessions/{session}/approvals/{call}", {"decision": "approve"}).status == 202
        stream.until("turn.completed")
    assert b.post(f"/sessions/{session}/pause").json["state"] == "paused"
    assert a.post(f"/sessions/{session}/resume").json["state"] == "running"
    started = time.monotonic()
    assert b.post(f"/sessions/{session}/stop").json["state"] == "stopped"
    assert time.monotonic() - started < 9, "nobody told the node"
    assert b.request("DELETE", f"/sessions/{session}").status == 204
    assert a.request("GET", f"/sessions/{session}").status == 404


def test_a_running_session_is_cancelled_and_deleted_through_the_other_node(node):
    forever = ScriptedModel(lambda _: Answer(text="x" * 1000, pace=0.05, piece=1))
    a, b = node("a", forever), node("b", forever)
    for order in ("cancel", "DELETE"):
        session = a.session()
        with a.events(session) as stream:
            a.post(f"/sessions/{session}/messages", {"text": "go"})
            stream.until("delta")
            if order == "cancel":
                assert b.post(f"/sessions/{session}/cancel").json["phase"] == "idle"
                assert stream.until("turn.completed")[-1].data["outcome"] == "cancelled"
            else:
                assert b.request("DELETE", f"/sessions/{session}").status == 204
                assert list(stream)[-1].data["code"] == "session_deleted"


async def test_sessions_that_many_delete_at_once_are_deleted_once(node):
    """While they run: who is asked to let go may be about to delete it, too."""
    nodes = [node(name, ScriptedModel(lambda _: Answer(text="x" * 1000, pace=0.05, piece=1))) for name in "abc"]
    for turn in range(24):
        session = nodes[turn % 3].session()
        nodes[turn % 3].post(f"/sessions/{session}/messages", {"text": "go"})
        await asyncio.sleep(0.02 * (turn % 4))
        answers = await asyncio.gather(
            *(asyncio.to_thread(one.request, "DELETE", f"/sessions/{session}") for one in nodes * 4)
        )
        assert sorted(answer.status for answer in answers) == [204] + 11 * [404], {a.body for a in answers}


async def test_of_many_answers_to_one_call_the_first_counts(node):
    model = by_step([Answer(calls=(Call("strike", {"what": "it"}),)), "done"])
    a, b = node("a", ScriptedModel(model)), node("b", ScriptedModel(model))
    session = a.session()
    with a.events(session) as stream:
        a.post(f"/sessions/{session}/messages", {"text": "go"})
        call = stream.until("approval.requested")[-1].data["call"]
        path = f"/sessions/{session}/approvals/{call}"
        decisions = [("approve", a), ("reject", b), ("approve", b), ("reject", a)] * 3
        answers = await asyncio.gather(
            *(asyncio.to_thread(served.post, path, {"decision": decision}) for decision, served in decisions)
        )
        won = [place for place, answer in enumerate(answers) if answer.status == 202]
        assert len(won) == 1
        others = {answer.code for answer in answers if answer.status != 202}
        assert others == {"not_waiting"}
        seen = stream.until("turn.completed")
    resolved = [event.data["decision"] for event in seen if event.kind == "approval.resolved"]
    assert resolved == [decisions[won[0]][0]]


def test_nodes_and_their_state(node, wait):
    a, b = node("a"), node("b")
    assert a.request("GET", "/live", Authorization="").json == {"status": "alive"}
    listed = a.get("/nodes")
    assert {row["id"]: row["this"] for row in listed["nodes"]} == {node_id(a): True, node_id(b): False}
    assert {row["url"] for row in listed["nodes"]} == {a.url, b.url}
    assert all(row["alive"] and not row["draining"] for row in listed["nodes"])
    assert (listed["waiting"], listed["waiting_seconds"]) == (0, 0)


def test_a_node_that_drains_gives_its_sessions_away_and_goes_on_answering(node, wait):
    steps = [Answer(text="piece " * 20, pace=0.01, piece=6, calls=(Call("look", {"what": str(i)}),)) for i in range(6)]
    a = node("a", ScriptedModel(by_step([*steps, "done"])))
    session = a.session()
    with a.events(session) as stream:
        a.post(f"/sessions/{session}/messages", {"text": "go"})
        stream.until("model.started")
        b = node("b")
        answer = a.post("/drain")
        assert (answer.status, answer.json["status"], answer.json["live"]) == (202, "draining", 1)
        seen = stream.until("turn.completed")
    assert seen[-1].data["outcome"] == "answered"
    assert "b says yes" in str(seen)
    wait(lambda: a.request("GET", "/health").json["live"] == 0)
    health = a.request("GET", "/health")
    assert (health.status, health.json["status"]) == (503, "draining")
    assert a.request("GET", "/live").status == 200
    wait(lambda: [row["draining"] for row in b.get("/nodes")["nodes"] if not row["this"]] == [True])
    assert a.say(a.session(), "hello")[-1].data["outcome"] == "answered"
    assert b.get("/health")["status"] == "ok"
    assert a.post("/drain").status == 202


def test_nodes_share_the_token_of_the_first(node, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "token").write_text("b's own")
    a, b, c = node("a"), node("b"), node("c", token="given")
    assert a.token == b.token == (tmp_path / "b" / "token").read_text().strip()
    assert (tmp_path / "b" / "token").stat().st_mode & 0o777 == 0o600
    assert c.request("GET", "/agents", Authorization=f"Bearer {a.token}").status == 401
    assert c.get("/agents")


async def secret_of(address: str) -> bytes:
    store = await open_store(address)
    found = await store.coordination.setting("node_secret")
    await store.close()
    return found.encode()


def test_what_nodes_ask_is_open_to_nodes_alone(node, store):
    a = node("a")
    session = a.session()
    path = f"/internal/sessions/{session}/deltas"
    assert a.request("GET", path).code == "unauthorized"
    secret, now, here = asyncio.run(secret_of(store)), time.time(), node_id(a)

    def status(given: str, method: str = "GET", path: str = path, **more: str) -> tuple[int, str]:
        answer = a.request(method, path, Authorization=given, **more)
        return answer.status, answer.code if answer.status >= 400 else ""

    assert status(sign(secret, here, "GET", path, now)) == (404, "not_here")
    assert status(sign(secret, here, "GET", path, now), Host="10.1.2.3:7667") == (404, "not_here")
    for wrong in (
        "",
        f"Bearer {a.token}",
        f"Roost-Node {a.token}",
        "Roost-Node",
        "Roost-Node ..",
        f"Roost-Node {int(now)}.",
        f"Roost-Node {'9' * 400}.00",
        sign(secret, "node_other", "GET", path, now),
        sign(b"other", here, "GET", path, now),
        sign(secret, here, "POST", path, now),
        sign(secret, here, "GET", path + "x", now),
        sign(secret, here, "GET", path, now).replace(".", "0."),
    ):
        assert status(wrong) == (401, "unauthorized"), wrong
    for skew in (-31, 32):
        assert status(sign(secret, here, "GET", path, now + skew)) == (401, "stale_signature")
    assert status(sign(secret, here, "GET", path, now - 25)) == (404, "not_here")
    assert status(sign(secret, here, "GET", "/agents", now), path="/agents") == (401, "unauthorized")
    assert status(f"Bearer {a.token}", path="/agents", Host="10.1.2.3:7667") == (403, "forbidden_host")
    assert status("", path="/internal/other") == (401, "unauthorized")
    evict = f"/internal/sessions/{session}/evict"
    assert status(f"Bearer {a.token}", "POST", evict) == (401, "unauthorized")
    assert status(sign(secret, here, "POST", evict, now), "POST", evict) == (204, "")
    assert not [path for path in a.get("/openapi.json")["paths"] if "internal" in path]


def test_a_node_without_its_database_says_so_and_comes_back(network, serve, wait, database):
    parts = urlsplit(database)
    proxy = network.proxy(lambda: parts.port)
    served = serve(store=proxy.through(database))
    session = served.session()
    served.say(session, "before")
    with served.events(session) as before:
        before.until("turn.completed")
        network.call(proxy.refuse)
        network.call(proxy.cut)
        asked = (
            ("POST", f"/sessions/{session}/messages", {"text": "lost?"}),
            ("GET", f"/sessions/{session}", None),
            ("PUT", f"/sessions/{session}/timers/t", {"text": "x", "in": 1}),
        )
        with ThreadPoolExecutor(len(asked)) as askers:
            answers = list(askers.map(lambda one: served.request(*one), asked))
        for answer in answers:
            assert (answer.status, answer.code) == (503, "store_unreachable"), answer
            assert int(answer.headers["retry-after"]) >= 1
        health = served.request("GET", "/health")
        assert (health.status, health.json["status"]) == (503, "degraded")
        assert served.request("GET", "/live").status == 200
    network.call(proxy.heal)
    wait(lambda: served.request("GET", "/health").status == 200)
    assert served.say(session, "after")[-1].data["outcome"] == "answered"


async def test_a_database_that_is_renamed_under_a_node_may_come_back(serve, database):
    served = serve(store=database)
    session = served.session()
    name = urlsplit(database).path[1:]
    admin = await asyncpg.connect(urlsplit(database)._replace(path="/postgres").geturl())
    gone = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"

    async def rename(old: str, new: str) -> None:
        await admin.execute(f'ALTER DATABASE "{old}" ALLOW_CONNECTIONS false')
        await admin.fetch(gone, old)
        await admin.execute(f'ALTER DATABASE "{old}" RENAME TO "{new}"')
        await admin.execute(f'ALTER DATABASE "{new}" ALLOW_CONNECTIONS true')

    await rename(name, f"{name}x")
    answer = await asyncio.to_thread(served.post, f"/sessions/{session}/messages", {"text": "lost?"})
    assert (answer.status, answer.code) == (503, "store_missing")
    assert int(answer.headers["retry-after"]) >= 1
    await rename(f"{name}x", name)
    await admin.close()
    seen = await asyncio.to_thread(served.say, session, "after")
    assert seen[-1].data["outcome"] == "answered"


def test_a_fork_is_made_where_the_files_are(serve, tmp_path: Path, store: str) -> None:
    """A node of another home has a node of that home keep them for the fork, before there is one."""
    agents = [Agent("clerk", model=ScriptedModel(obey), tools=[sh], permissions="all")]
    a, b = (serve(agents=agents, home=tmp_path / name, store=store) for name in "ab")
    session = a.request("POST", "/sessions", {"agent": "clerk"}).json["id"]

    def ask(session: str, text: str) -> str:
        said = b.request("POST", f"/sessions/{session}/messages", {"text": text}, Accept="text/event-stream")
        return said.body.decode()

    ask(session, "sh echo kept > a")
    assert a.request("POST", f"/sessions/{session}/checkpoints", {"label": "good"}).status == 201
    ask(session, "sh echo more >> a")
    diff = a.get(f"/sessions/{session}/diff?since=good")
    assert (diff["changed"], diff["until"]) == (1, None)
    assert diff["changes"][0]["diff"] == "--- a/a\n+++ b/a\n@@ -1 +1,2 @@\n kept\n+more\n"
    assert a.get(f"/sessions/{session}/diff?since=good&until=good")["changes"] == []
    elsewhere = b.request("GET", f"/sessions/{session}/diff?since=good")
    assert (elsewhere.status, elsewhere.code) == (409, "files_elsewhere")
    fork = b.request("POST", f"/sessions/{session}/fork", {"at": "good"})
    assert fork.status == 201
    assert b.request("DELETE", f"/sessions/{session}").status == 204
    assert "kept" in ask(fork.json["id"], "sh cat a")
    assert not list((tmp_path / "b/workspaces").glob("ses*"))
    for path in (f"/internal/sessions/{session}/lend/1-{'0' * 64}/f", f"/internal/sessions/{session}/evict"):
        assert b.request("POST", path).status == 401  # a person's token opens nothing of it
