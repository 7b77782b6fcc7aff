"""AgentRuntime's HTTP API, by a client written from its description, against a real daemon."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from tests.doors.plain_clients import AgentdClient
from tests.server.accounts import tenant
from tests.server.conftest import Served, look, strike

from roost.agent.definition import Agent
from roost.testing.scripted import Answer, Call, ScriptedModel

FIELDS = {
    "session_id",
    "name",
    "model",
    "system_prompt",
    "tools",
    "status",
    "memory",
    "messages",
    "tool_history",
    "created_at",
    "updated_at",
}


def agentd(served: Any, token: str | None = "") -> AgentdClient:
    return AgentdClient(f"{served.url}/agentruntime", served.token if token == "" else token)


def looks(request: Any) -> Answer:
    seen = any(hasattr(message, "call") for message in request.messages)
    return Answer(text="It is red.") if seen else Answer(text="Wait.", calls=(Call("look", {"what": "it"}),))


def test_the_life_of_a_session(stored: Any) -> None:
    served = stored(ScriptedModel(looks))
    client = agentd(served)
    made = client.create(system_prompt="You are helpful.", tools=["look"])
    session = made["session_id"]
    assert set(made) == FIELDS
    assert (made["name"], made["model"], made["status"]) == ("my-agent", "clerk", "created")
    assert (made["system_prompt"], made["tools"]) == ("You are helpful.", ["look"])
    assert datetime.fromisoformat(made["created_at"]).tzinfo is not None
    heard = client.ask("POST", f"/sessions/{session}/pause")
    assert heard == (400, {"detail": f"Session {session} is not running"})
    assert client.act(session, "start")["status"] == "running"
    heard = client.ask("POST", f"/sessions/{session}/start")
    assert heard == (400, {"detail": f"Session {session} is already running"})
    served.say(session, "what colour?")
    now = client.get(f"/sessions/{session}")
    assert [(one["role"], one["content"]) for one in now["messages"]] == [
        ("user", "what colour?"),
        ("assistant", "Wait."),
        ("assistant", "It is red."),
    ]
    assert now["tool_history"] == [{"name": "look", "arguments": {"what": "it"}, "result": "seen it"}]
    assert client.act(session, "pause")["status"] == "paused"
    assert [one["label"] for one in client.checkpoints(session)] == ["pause-checkpoint"]
    assert client.act(session, "resume", {"session_id": session})["status"] == "running"
    assert client.act(session, "resume")["status"] == "running", "as theirs, twice is no error"
    served.say(session, "and now?")
    assert client.act(session, "stop")["status"] == "stopped"
    assert [one["label"] for one in client.checkpoints(session)] == ["stop-checkpoint", "pause-checkpoint"]
    assert client.act(session, "resume", {"session_id": session})["status"] == "running"
    (listed,) = client.get("/sessions")
    assert set(listed) == FIELDS
    assert (listed["session_id"], listed["name"], listed["status"]) == (session, "my-agent", "running")


def test_a_session_without_messages_is_kept_too(serve: Any) -> None:
    client = agentd(serve())
    session = client.create()["session_id"]
    client.act(session, "start")
    client.act(session, "pause")
    (kept,) = client.checkpoints(session)
    assert kept["label"] == "pause-checkpoint"
    client.act(session, "resume", {"session_id": session, "checkpoint_id": kept["checkpoint_id"]})
    assert client.act(session, "stop")["status"] == "stopped"


def test_a_session_goes_back_to_a_checkpoint(stored: Any) -> None:
    served = stored()
    client = agentd(served)
    session = client.create()["session_id"]
    client.act(session, "start")
    served.say(session, "one")
    heard = client.ask("POST", f"/sessions/{session}/checkpoints?label=my-checkpoint")
    assert (heard.status, heard.json["label"], heard.json["session_id"]) == (201, "my-checkpoint", session)
    assert client.checkpoints(session)[0]["checkpoint_id"] == heard.json["checkpoint_id"]
    client.store(session, "after", 1)
    served.say(session, "two")
    body = {"session_id": session, "checkpoint_id": heard.json["checkpoint_id"]}
    now = client.act(session, "resume", body)
    assert (now["status"], [one["content"] for one in now["messages"]]) == ("running", ["one", "yes"])
    for wrong in ("cp_1", "cp_999999", "cp_", "", "x", "cp_" + "9" * 40, "my-checkpoint"):
        heard = client.ask("POST", f"/sessions/{session}/resume", {"session_id": session, "checkpoint_id": wrong})
        assert (heard.status, heard.json) == (400, {"detail": f"Checkpoint {wrong} not found"})


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        1.5,
        10**30,
        "Dark",
        "",
        {},
        [],
        {"theme": "dark", "list": [1, {"a": None}]},
        "a\u0000b",
    ],
)
def test_memory_gives_back_what_was_stored(shared: Served, value: Any) -> None:
    client = agentd(shared)
    session = client.create()["session_id"]
    client.store(session, "user preference/1", value)
    assert client.recall(session, "user preference/1") == value
    assert client.get(f"/sessions/{session}")["memory"] == {"user preference/1": value}


def test_memory_is_replaced_by_its_key(stored: Any) -> None:
    client = agentd(stored())
    session = client.create()["session_id"]
    for value in ("dark", "Dark", "dark!", {"n": 1}, {"n": 2}, {"n": -2}):
        client.store(session, "a", value)
        client.store(session, "b", value)
        assert (client.recall(session, "a"), client.recall(session, "b")) == (value, value)
    assert client.get(f"/sessions/{session}/memory") == {"keys": ["a", "b"]}
    heard = client.ask("GET", f"/sessions/{session}/memory?key=none")
    assert heard == (404, {"detail": "Memory key none not found"})
    other = client.create()["session_id"]
    assert client.get(f"/sessions/{other}/memory") == {"keys": []}, "each session has its own"


@pytest.mark.parametrize(
    ("path", "raw", "status"),
    [
        ("/sessions", b"", 400),
        ("/sessions", b"{", 400),
        ("/sessions", b"\xff", 400),
        ("/sessions", b"[" * 100_000, 422),
        ("/sessions", b"[]", 422),
        ("/sessions", b'{"name": "x"}', 422),
        ("/sessions", b'{"name": 5, "model": "clerk"}', 422),
        ("/sessions", b'{"name": "a\\u0000b", "model": "clerk"}', 422),
        ("/sessions", b'{"name": "x", "model": "clerk", "tools": "look"}', 422),
        ("/sessions", b'{"name": "x", "model": "clerk", "tools": ["no_such"]}', 422),
        ("/sessions", b'{"name": "x", "model": "fableforge-14b"}', 400),
        ("/sessions", b'{"name": "x", "model": "http://127.0.0.1/x"}', 400),
        ("/sessions", b'{"name": "x", "model": "clerk", "system_prompt": "' + b"x" * 3_000_000 + b'"}', 413),
        ("/sessions/S/memory", b"{}", 422),
        ("/sessions/S/memory", b'{"key": "", "value": 1}', 422),
        ("/sessions/S/memory", b'{"key": "k"}', 422),
        ("/sessions/S/memory", b'{"key": "' + b"k" * 201 + b'", "value": 1}', 422),
        ("/sessions/S/memory", b'{"key": "k", "value": "' + b"x" * 5000 + b'"}', 413),
        ("/sessions/S/memory", b'{"key": "k", "value": 1e999}', 422),
        ("/sessions/S/memory", b'{"key": "k", "value": "\\ud800"}', 400),
        ("/sessions/S/memory", b'{"key": "k", "value": ' + b"[" * 2000 + b"]" * 2000 + b"}", 422),
        ("/sessions/S/resume", b"[]", 422),
        ("/sessions/S/resume", b"{", 400),
        ("/sessions/S/checkpoints?label=" + "x" * 500, b"", 422),
        ("/sessions/S/nothing", b"", 404),
        ("/sessions/none/start", b"", 400),
        ("/sessions/none/pause", b"", 400),
        ("/sessions/none/resume", b"", 400),
        ("/sessions/none/stop", b"", 400),
        ("/sessions/none/memory", b'{"key": "k", "value": 1}', 404),
        ("/sessions/none/checkpoints", b"", 404),
        ("/sessions/%00/start", b"", 400),
        ("/sessions/%ff%fe/start", b"", 400),
        ("/sessions/" + "x" * 500 + "/start", b"", 400),
    ],
)
def test_a_wrong_request_is_refused_in_their_shape(shared: Served, path: str, raw: bytes, status: int) -> None:
    client = agentd(shared)
    path = path.replace("/S/", f"/{client.create()['session_id']}/")
    heard = client.ask("POST", path, raw=raw)
    assert heard.status == status, heard
    assert set(heard.json) == {"detail"}
    assert isinstance(heard.json["detail"], list if status == 422 else str)


def test_what_is_not_there(shared: Served) -> None:
    client = agentd(shared)
    heard = client.ask("GET", "/sessions/none")
    assert heard == (404, {"detail": "Session none not found"})
    for path in ("/sessions/none/memory", "/sessions/none/checkpoints", "/sessions/%00", "", "/", "/docs"):
        assert client.ask("GET", path).status == 404, path
    for query in ("?key=%ff", "?" + "&".join(f"a{at}=1" for at in range(100))):
        session = client.create()["session_id"]
        assert client.ask("GET", f"/sessions/{session}/memory{query}").status in (200, 404, 422)


def test_health_needs_no_token_and_all_else_does(serve: Any) -> None:
    served = serve()
    bare = agentd(served, None)
    assert set(bare.get("/health")) == {"status", "uptime_seconds", "active_sessions"}
    assert bare.get("/health")["status"] == "healthy"
    for method, path in (("GET", "/sessions"), ("POST", "/sessions"), ("POST", "/health"), ("GET", "/health/")):
        heard = bare.ask(method, path)
        assert (heard.status, set(heard.json)) == (401, {"detail"})
    password = AgentdClient(f"http://agentd:{served.token}@127.0.0.1:{served.port}/agentruntime")
    assert password.create()["status"] == "created"


def test_a_key_makes_one_session(serve: Any) -> None:
    client = agentd(serve())
    body = {"name": "x", "model": "clerk"}
    ids = {client.ask("POST", "/sessions", body, Idempotency_Key="k").json["session_id"] for _ in range(3)}
    assert len(ids) == 1


def test_the_session_is_roosts_own(serve: Any) -> None:
    """Sessions of other clients are listed, and an agent without checkpoints at a pause gets one that is ordered."""
    bare = Agent("bare", model=ScriptedModel(lambda _: "yes"), tools=[look, strike], checkpoints={"at_pause": False})
    served = serve(agents=[bare])
    session = served.session("bare", title="by hand")
    served.say(session, "hi")
    client = agentd(served)
    assert [(one["session_id"], one["name"], one["model"]) for one in client.get("/sessions")] == [
        (session, "by hand", "bare")
    ]
    client.act(session, "pause")
    assert [one["label"] for one in client.checkpoints(session)] == ["pause-checkpoint"]


def test_an_account_sees_its_own_alone(serve: Any) -> None:
    served = serve()
    alice, bob = (agentd(served, tenant(served, name).token) for name in ("alice", "bob"))
    session = alice.create()["session_id"]
    alice.act(session, "start")
    alice.store(session, "code", 1234)
    assert bob.get("/sessions") == []
    asked = [
        ("GET", ""),
        ("POST", "/start"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/stop"),
        ("GET", "/memory"),
        ("GET", "/memory?key=code"),
        ("GET", "/checkpoints"),
        ("POST", "/checkpoints"),
    ]
    for method, path in asked:
        theirs, none = (bob.ask(method, f"/sessions/{one}{path}") for one in (session, "alice.none"))
        assert theirs.status == none.status >= 400, path
        assert str(theirs.json).replace(session, "S") == str(none.json).replace("alice.none", "S"), path
    assert bob.ask("POST", f"/sessions/{session}/memory", {"key": "code", "value": 0}).status == 404
    assert alice.recall(session, "code") == 1234
    for more in ({"system_prompt": "x"}, {"tools": ["look"]}):
        assert alice.ask("POST", "/sessions", {"name": "x", "model": "clerk", **more}).status == 403
    viewer = agentd(served, tenant(served, "eve", role="viewer").token)
    assert viewer.ask("POST", "/sessions", {"name": "x", "model": "clerk"}).status == 403
