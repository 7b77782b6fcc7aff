"""The WebSocket, by the client of the library `websockets`, against a real daemon."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.doors.test_openai_killed import LONG, SCRIPT, Node
from tests.server.accounts import tenant
from tests.server.conftest import Served
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from roost.stub.provider import ProviderServer
from roost.testing.scripted import Answer, Call, ScriptedModel

V1 = Subprotocol("roost.v1")


class Peer:
    """A connection, and what came over it."""

    def __init__(self, port: int, token: str | None, **options: Any) -> None:
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        options = {"subprotocols": [V1], "max_size": None, "compression": None, **options}
        self.link = connect(f"ws://127.0.0.1:{port}/ws", additional_headers=headers, **options).__enter__()
        self.seen: list[dict[str, Any]] = []
        self._number = 0

    def send(self, op: str, *, key: str | None = None, **args: Any) -> int:
        self._number += 1
        more = {} if key is None else {"key": key}
        self.link.send(json.dumps({"id": self._number, "op": op, "args": args, **more}))
        return self._number

    def read(self) -> dict[str, Any]:
        self.seen.append(json.loads(self.link.recv(60)))
        return self.seen[-1]

    def answer(self, number: int | str | None) -> dict[str, Any]:
        while True:
            got = self.read()
            if got["type"] in ("result", "error") and got["id"] == number:
                return got

    def ask(self, op: str, *, key: str | None = None, **args: Any) -> Any:
        got = self.answer(self.send(op, key=key, **args))
        assert got["type"] == "result", got
        return got["body"]

    def refused(self, op: str, *, key: str | None = None, **args: Any) -> str:
        got = self.answer(self.send(op, key=key, **args))
        assert got["type"] == "error", got
        assert set(got["problem"]) == {"type", "title", "status", "code", "detail"}
        return got["problem"]["code"]

    def events(self, session: str) -> list[tuple[int, dict[str, Any]]]:
        """The events of a session's log that came."""
        return [
            (one["seq"], one["event"])
            for got in self.seen
            if got["type"] == "events" and got["session"] == session
            for one in got["events"]
            if "seq" in one
        ]

    def deltas(self, session: str) -> list[dict[str, Any]]:
        found = [got["events"] for got in self.seen if got["type"] == "events" and got["session"] == session]
        return [one["event"] for entries in found for one in entries if "seq" not in one]

    def until(self, session: str, kind: str, count: int = 1) -> None:
        while sum(event["type"] == kind for _, event in self.events(session)) < count:
            self.read()

    def end(self) -> dict[str, Any]:
        """Read to the end."""
        with suppress(ConnectionClosed):
            while True:
                self.read()
        return self.seen[-1]


Open = Callable[..., Peer]


@pytest.fixture
def open_peer() -> Iterator[Open]:
    made: list[Peer] = []

    def start(served: Any, token: str | None = None, **options: Any) -> Peer:
        made.append(Peer(served.port, served.token if token is None else token, **options))
        return made[-1]

    yield start
    for one in made:
        one.link.close()


def seqs(peer: Peer, session: str) -> list[int]:
    return [seq for seq, _ in peer.events(session)]


def test_one_connection_follows_sessions_and_speaks_to_them(shared: Served, open_peer: Open) -> None:
    peer = open_peer(shared)
    assert peer.link.subprotocol == V1
    for name in ("ws-a", "ws-b"):
        assert peer.ask("sessions.create", agent="clerk", id=name)["id"] == name
        assert peer.ask("subscribe", session=name)["session"] == name
    first = peer.ask("inputs.send", session="ws-a", text="one", key="1")
    peer.send("inputs.send", session="ws-b", text="two")
    for name in ("ws-a", "ws-b"):
        peer.until(name, "turn.completed")
        assert seqs(peer, name) == list(range(1, len(peer.events(name)) + 1))
    assert not first["duplicate"]
    assert peer.ask("inputs.send", session="ws-a", text="one", key="1")["duplicate"]
    heard = [entry["event"] for entry in shared.history("ws-a")]
    assert [event for _, event in peer.events("ws-a")] == heard[: len(peer.events("ws-a"))]
    assert sum(event["type"] == "input.received" for event in heard) == 1
    assert peer.ask("sessions.inspect", session="ws-b")["info"]["id"] == "ws-b"
    assert [one["id"] for one in peer.ask("sessions.find", limit=1, turns=True)["sessions"]]


def test_a_subscription_resumes_after_a_position_and_ends_when_told(shared: Served, open_peer: Open) -> None:
    session = shared.session(id="ws-resume")
    shared.say(session, "one")
    head = len(shared.history(session))
    peer = open_peer(shared)
    begun = peer.ask("subscribe", session=session, after=head - 2)
    assert begun == {"session": session, "head": head}
    shared.say(session, "two")
    peer.until(session, "turn.completed", 2)
    assert seqs(peer, session) == list(range(head - 1, len(shared.history(session)) + 1))
    assert peer.refused("subscribe", session=session) == "already_subscribed"
    assert peer.ask("unsubscribe", session=session) == {"session": session}
    assert peer.refused("unsubscribe", session=session) == "not_subscribed"
    before = len(peer.events(session))
    shared.say(session, "three")
    peer.ask("node.health")
    assert len(peer.events(session)) == before
    assert peer.refused("subscribe", session=session, after=10_000) == "ahead_of_log"
    assert peer.refused("subscribe", session="ws-none") == "not_found"
    peer.ask("subscribe", session=session, deltas=False)
    peer.ask("sessions.delete", session=session)
    while not (ends := [got for got in peer.seen if got["type"] == "end"]):
        peer.read()
    assert (ends[0]["session"], ends[0]["problem"]["code"]) == (session, "session_deleted")
    peer.ask("node.health")


def test_steer_approve_and_cancel(serve: Any, open_peer: Open) -> None:
    def model(request: Any) -> Answer:
        done = any(hasattr(message, "call") for message in request.messages)
        return Answer(text="word " * 20, pace=0.05) if done else Answer(calls=(Call("strike", {"what": "it"}),))

    served = serve(ScriptedModel(model))
    peer = open_peer(served)
    peer.ask("sessions.create", agent="clerk", id="one")
    peer.ask("subscribe", session="one")
    peer.ask("inputs.send", session="one", text="strike")
    peer.until("one", "approval.requested")
    (asked,) = peer.ask("approvals.waiting", session="one")["approvals"]
    peer.ask("approvals.answer", session="one", call=asked["call"], decision="approve")
    assert peer.refused("approvals.answer", session="one", call=asked["call"], decision="approve") == "not_waiting"
    while not peer.deltas("one"):
        peer.read()
    peer.ask("inputs.send", session="one", text="gently", mode="steer")
    peer.ask("sessions.control", session="one", action="cancel", key="c")
    peer.until("one", "turn.completed")
    assert peer.events("one")[-1][1]["outcome"] == "cancelled"
    assert "struck it" in json.dumps(peer.events("one"))
    assert "gently" in json.dumps(served.get("/sessions/one/messages")) or "gently" in json.dumps(served.history("one"))


def test_requests_of_a_session_keep_their_order(shared: Served, open_peer: Open) -> None:
    peer = open_peer(shared)
    peer.send("sessions.create", agent="clerk", id="ws-order")
    numbers = [peer.send("inputs.send", session="ws-order", text=f"{n}", key=f"{n}") for n in range(100)]
    bodies = {number: peer.answer(number)["body"] for number in numbers}
    given = [bodies[number]["input"] for number in numbers]
    assert given == sorted(given)
    assert len(set(given)) == len(given)


@pytest.mark.parametrize(
    ("text", "code", "id"),
    [
        ("", "invalid_json", None),
        ("{", "invalid_json", None),
        ("[]", "invalid", None),
        ('{"id":"x"}', "invalid", "x"),
        ('{"id":"x","op":"nothing"}', "unknown_operation", "x"),
        ('{"id":"x","op":"metrics"}', "unknown_operation", "x"),
        ('{"id":"x","op":"sessions.inspect"}', "invalid", "x"),
        ('{"id":"x","op":"sessions.inspect","args":{"session":"a/messages"}}', "invalid", "x"),
        ('{"id":"x","op":"sessions.inspect","args":{"session":""}}', "invalid", "x"),
        ('{"id":"x","op":"sessions.inspect","args":{"session":7}}', "invalid", "x"),
        ('{"id":"x","op":"sessions.inspect","args":{"session":"none"}}', "not_found", "x"),
        ('{"id":"x","op":"sessions.inspect","args":{"session":"none","more":1}}', "invalid", "x"),
        ('{"id":"x","op":"sessions.inspect","key":"k","args":{"session":"none"}}', "invalid", "x"),
        ('{"id":"x","op":"sessions.control","args":{"session":"none","action":"fly"}}', "invalid", "x"),
        ('{"id":"x","op":"sessions.find","args":{"limit":[1]}}', "invalid", "x"),
        ('{"id":"x","op":"inputs.send","key":"é","args":{"session":"none","text":"a"}}', "invalid", "x"),
        ('{"id":"x","op":"subscribe","args":{"session":"none","after":-1}}', "invalid", "x"),
        ('{"id":"x","op":"subscribe","args":{"session":"none"},"more":1}', "invalid", "x"),
        ('{"id":"x","op":"subscribe","args":{"session":"none","more":1}}', "invalid", "x"),
        ('{"op":"subscribe","args":' + '{"a":' * 5000 + "1" + "}" * 5000 + "}", "invalid", None),
    ],
)
def test_a_wrong_message_gets_an_error_and_the_connection_goes_on(
    shared: Served, open_peer: Open, text: str, code: str, id: str | None
) -> None:
    peer = open_peer(shared)
    peer.link.send(text)
    got = peer.read()
    assert (got["type"], got["id"], got["problem"]["code"]) == ("error", id, code)
    assert "node" in json.dumps(peer.ask("node.health")) or peer.seen[-1]["status"] == 200


def test_binary_messages_and_messages_that_are_too_large(shared: Served, open_peer: Open) -> None:
    peer = open_peer(shared)
    peer.link.send(b"\x00\xff")
    assert peer.read()["problem"]["code"] == "binary_message"
    peer.ask("node.health")
    with suppress(ConnectionClosed):
        peer.link.send("x" * (1024 * 1024 + 1))
    peer.end()
    assert peer.link.close_code == 1009
    pieces = open_peer(shared)
    with suppress(ConnectionClosed):
        pieces.link.send("" for _ in range(5000))
    with suppress(ConnectionClosed):
        pieces.read()
    assert pieces.link.close_code in (1009, 1006), "reset, since it still sends"
    assert open_peer(shared).ask("node.health")


def test_who_may_connect(shared: Served) -> None:
    def status(**options: Any) -> tuple[int, str]:
        token = options.pop("token", None)
        with pytest.raises(InvalidStatus) as refused:
            Peer(shared.port, token, **options)
        problem = json.loads(refused.value.response.body or b"{}")
        return refused.value.response.status_code, problem["code"]

    assert status() == (401, "unauthorized")
    assert status(token="wrong") == (401, "unauthorized")
    assert status(token=shared.token, origin="http://evil.example") == (403, "forbidden_origin")
    assert status(token=shared.token, subprotocols=["roost.v2"]) == (400, "unknown_subprotocol")
    assert status(subprotocols=[V1, "roost.token.wrong"]) == (401, "unauthorized")
    page = Peer(
        shared.port, None, subprotocols=[V1, f"roost.token.{shared.token}"], origin=f"http://127.0.0.1:{shared.port}"
    )
    assert page.link.subprotocol == V1
    page.ask("node.health")
    page.link.close()
    assert shared.request("GET", "/ws").code == "upgrade_required"
    for path, code in (("/sessions", 405), ("/none", 404), ("/mcp", 405), ("/v1/models", 404)):
        with pytest.raises(InvalidStatus) as refused:
            connect(
                f"ws://127.0.0.1:{shared.port}{path}",
                additional_headers={"Authorization": f"Bearer {shared.token}"},
            ).__enter__()
        assert refused.value.response.status_code == code, path


@pytest.mark.parametrize(
    "head",
    [
        b"POST /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"X-Long: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /ws HTTP/1.0\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_an_upgrade_that_is_none_ends(shared: Served, head: bytes) -> None:
    with shared.socket() as link:
        link.sendall(head)
        said = b""
        while got := link.recv(65536):
            said += got
    assert b" 101 " not in said


def test_an_account_sees_its_own_and_is_cut_off_with_its_token(serve: Any, open_peer: Open) -> None:
    served = serve()
    alice, bob = tenant(served, "alice"), tenant(served, "bob")
    session = alice.session(id="plan")
    theirs = open_peer(served, bob.token)
    for op, args in (
        ("subscribe", {}),
        ("sessions.inspect", {}),
        ("inputs.send", {"text": "x"}),
        ("sessions.delete", {}),
    ):
        assert theirs.refused(op, session=session, **args) == "not_found", op
    assert theirs.refused("node.shutdown") == "forbidden"
    assert theirs.ask("sessions.find")["sessions"] == []
    mine = open_peer(served, alice.token)
    assert mine.ask("subscribe", session="plan")["session"] == session
    mine.ask("inputs.send", session="plan", text="hello")
    mine.until(session, "turn.completed")
    served.request("DELETE", f"/tokens/{alice.id}")
    last = mine.end()
    assert (last["type"], last["session"], last["problem"]["code"]) == ("end", None, "token_ended")
    theirs.ask("node.health")
    carol = tenant(served, "carol", role="viewer")
    viewer = open_peer(served, carol.token)
    assert viewer.refused("sessions.create", agent="clerk") == "forbidden"


def test_an_account_counts_each_request_against_its_rate(serve: Any, open_peer: Open) -> None:
    served = serve()
    peer = open_peer(served, tenant(served, "alice", rate=5).token)
    codes = [peer.answer(peer.send("sessions.find")) for _ in range(20)]
    refused = [got for got in codes if got["type"] == "error"]
    assert refused[-1]["problem"]["code"] == "too_many_requests"
    assert refused[-1]["retry_after"] >= 1


def test_a_reader_that_does_not_read_slows_nothing_and_misses_nothing(serve: Any, open_peer: Open) -> None:
    served = serve(ScriptedModel(lambda _: Answer(text="word " * 40_000, piece=4000)))
    names = [f"s{n}" for n in range(8)]
    for name in names:
        served.session(id=name)
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    link.connect(("127.0.0.1", served.port))
    slow = open_peer(served, max_queue=1, sock=link, ping_interval=None)
    for name in names:
        slow.send("subscribe", session=name)
    for n in range(2):
        for name in names:
            served.say(name, f"{n}")
    for name in names:
        head = served.get(f"/sessions/{name}")["info"]["head"]
        while len(seqs(slow, name)) < head:
            slow.read()
        assert seqs(slow, name) == list(range(1, head + 1))


def test_subscriptions_are_bounded(shared: Served, open_peer: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.doors.websocket.subscriptions.MOST", 2)
    names = [shared.session(id=f"ws-many-{n}") for n in range(3)]
    peer = open_peer(shared)
    for name in names[:2]:
        peer.ask("subscribe", session=name)
    assert peer.refused("subscribe", session=names[2]) == "too_many_subscriptions"
    peer.ask("unsubscribe", session=names[0])
    peer.ask("subscribe", session=names[2])


def test_a_stop_says_that_it_stops(serve: Any, open_peer: Open) -> None:
    served = serve()
    peer = open_peer(served)
    served.session(id="one")
    peer.ask("subscribe", session="one")
    served.loop.call_soon_threadsafe(served.daemon.stop)
    last = peer.end()
    assert (last["type"], last["problem"]["code"]) == ("end", "shutting_down")
    assert peer.link.close_code == 1012


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with ProviderServer(SCRIPT) as provider:
        node = Node(tmp_path, provider.url)
        yield node
        if node.process.poll() is None:
            node.kill()


def test_after_a_kill_a_client_resumes_and_sends_again_and_nothing_is_doubled(node: Node) -> None:
    peer = Peer(node.port, node.token)
    for name in ("a", "b"):
        peer.ask("sessions.create", agent="marker", id=name)
        peer.ask("subscribe", session=name)
        peer.ask("inputs.send", session=name, text="mark it", key="first")
    while not all(len("".join(d["text"] for d in peer.deltas(name))) > 60 for name in ("a", "b")):
        peer.read()
    node.kill()
    peer.end()
    node.up()
    again = Peer(node.port, node.token)
    for name in ("a", "b"):
        last = max(seqs(peer, name))
        again.send("subscribe", session=name, after=last)
        assert again.ask("inputs.send", session=name, text="mark it", key="first")["duplicate"]
        again.until(name, "turn.completed")
        assert seqs(peer, name) + seqs(again, name) == list(range(1, max(seqs(again, name)) + 1))
        texts = [event for _, event in again.events(name) if event["type"] == "model.completed"]
        assert LONG in json.dumps(texts)
    assert node.marks.read_text() == "xx"
    again.link.close()


def test_the_program_of_the_guide(node: Node) -> None:
    page = (Path(__file__).parents[2] / "docs/guides/websocket.md").read_text()
    program = page.partition("```python\n")[2].partition("```")[0].replace('"assistant"', '"marker"')
    more = {"ROOST_WS": f"ws://127.0.0.1:{node.port}/ws", "ROOST_TOKEN": node.token}
    for _ in range(2):  # the second time everything is there already
        ran = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=node.environment | more
        )
        assert ran.returncode == 0, ran.stderr
        lines = sorted(ran.stdout.splitlines())
        assert lines == [f"{name} says: You said: Hello from the {name}" for name in ("north", "south")]


def test_nothing_is_imported_before_the_first_connection(tmp_path: Path) -> None:
    """`tests/server/test_daemon.py` looks into an idle daemon; here: a request over HTTP loads no WebSocket."""
    code = (
        "import sys, roost.server.uvicorn_server, roost.server.app, roost.doors.websocket.door\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'websockets' or 'websocket_limits' in name])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
