"""termo-agent's HTTP API, by a client written from its description, against a real daemon."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from tests.doors.plain_clients import TermoClient
from tests.server.accounts import tenant
from tests.server.conftest import Served, look, strike

from roost.agent.definition import Agent
from roost.log.content import ErrorData
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step


def termo(served: Any, agent: str = "clerk", token: str | None = "") -> TermoClient:
    return TermoClient(f"{served.url}/termo/{agent}", served.token if token == "" else token)


def echo(request: Any) -> Answer:
    return Answer(text=f"You said: {request.messages[-1].parts[-1].text}")


def looks(request: Any) -> Answer:
    seen = any(hasattr(message, "call") for message in request.messages)
    return Answer(text="It is red.") if seen else Answer(text="Wait. ", calls=(Call("look", {"what": "it"}),))


def test_conversations_are_kept_by_their_keys(stored: Any) -> None:
    client = termo(stored(ScriptedModel(echo)))
    assert client.get("/api/sessions") == []
    assert client.history("user:123") == []
    assert client.send("one", "user:123") == "You said: one"
    assert client.send("two", "user:123") == "You said: two"
    assert client.send("three", "user_123") == "You said: three"
    assert client.send("four", "a/b ../c") == "You said: four"
    assert client.send("five") == "You said: five"
    keys = [one["session_key"] for one in client.get("/api/sessions")]
    assert sorted(keys) == ["a/b ../c", "api:direct", "user:123", "user_123"]
    assert [(one["role"], one["content"]) for one in client.history("user:123")] == [
        ("user", "one"),
        ("assistant", "You said: one"),
        ("user", "two"),
        ("assistant", "You said: two"),
    ]
    assert client.history("a/b ../c")[0]["content"] == "four"


def test_two_agents_have_no_conversation_in_common(serve: Any) -> None:
    agents = [Agent(name, model=ScriptedModel(by_step([name]))) for name in ("one", "two")]
    served = serve(agents=agents)
    assert [termo(served, name).send("who?") for name in ("one", "two")] == ["one", "two"]
    assert len(termo(served, "one").get("/api/sessions")) == 1


def test_a_stream_has_their_events(stored: Any) -> None:
    client = termo(stored(ScriptedModel(looks)))
    events = list(client.stream("what colour?", "user:1"))
    kinds = [one["type"] for one in events]
    assert [kind for at, kind in enumerate(kinds) if kinds[at - 1 : at] != [kind]] == [
        "token",
        "tool_start",
        "tool_end",
        "token",
        "done",
    ]
    (start,) = [one for one in events if one["type"] == "tool_start"]
    (end,) = [one for one in events if one["type"] == "tool_end"]
    assert (start["name"], start["input"]) == ("look", {"what": "it"})
    assert (end["name"], end["output"], end["call_id"]) == ("look", "seen it", start["call_id"])
    done = events[-1]
    assert done["content"] == "".join(one["content"] for one in events if one["type"] == "token")
    assert set(done["usage"]) == {"prompt_tokens", "completion_tokens"}
    roles = [one["role"] for one in client.history("user:1")]
    assert roles == ["user", "assistant", "tool", "assistant"]


def test_the_older_path_of_send(serve: Any) -> None:
    client = termo(serve(ScriptedModel(echo)))
    heard = client.ask("POST", "/api/sessions/send", {"message": "hi"})
    assert heard == (200, {"response": "You said: hi", "session_key": "api:direct"})


def test_a_body_needs_no_content_type_and_a_token_may_be_a_password(serve: Any) -> None:
    served = serve(ScriptedModel(echo))
    client = TermoClient(f"http://any:{served.token}@127.0.0.1:{served.port}/termo/clerk")
    assert client.ask("POST", "/api/send", raw=b'{"message": "hi"}').json["response"] == "You said: hi"
    for base in (f"http://any:wrong@127.0.0.1:{served.port}", served.url):
        heard = TermoClient(f"{base}/termo/clerk").ask("GET", "/api/sessions")
        assert (heard.status, heard.json["code"]) == (401, "unauthorized")
        assert TermoClient(f"{base}/termo/clerk").get("/health")["status"] == "ok"
    for words in (b"Basic", b"Basic !!!", b"Basic Og==", b"Basic \xff"):
        client.headers = {"Authorization": words.decode("latin-1")}
        assert client.ask("GET", "/api/sessions").status == 401


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b"{}", 400),
        (b'{"message": ""}', 400),
        (b'{"message": "  "}', 400),
        (b'{"message": 5}', 400),
        (b'{"message": "x", "session_key": ""}', 400),
        (b'{"message": "x", "session_key": null}', 400),
        (b'{"message": "x", "session_key": "' + b"k" * 300 + b'"}', 400),
        (b'{"message": "x", "session_key": "a\\u0000b"}', 400),
        (b'{"message": "x", "session_key": "a\\nb"}', 400),
        (b'{"message": "x", "stream": "yes"}', 400),
        (b'{"message": "' + b"x" * 1_100_000 + b'"}', 413),
        (b'{"message": "' + b"x" * 5_000_000 + b'"}', 413),
    ],
)
def test_a_wrong_message_is_refused_in_their_shape(shared: Served, raw: bytes, status: int) -> None:
    before = shared.get("/sessions")["sessions"]
    heard = termo(shared).ask("POST", "/api/send", raw=raw)
    assert (heard.status, set(heard.json)) == (status, {"error", "code"}), heard
    assert shared.get("/sessions")["sessions"] == before


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE", "PUT"])
@pytest.mark.parametrize(
    "path",
    [
        "",
        "/api",
        "/api/none",
        "/api/sessions/",
        "/api/sessions/x",
        "/api/sessions//history",
        "/api/sessions/%00/history",
        "/api/sessions/%ff%fe/history",
        "/api/memory/search",
        "/api/config",
        "/api/heartbeat",
        "/api/update",
        "/api/restart",
    ],
)
def test_no_path_fails_as_a_defect(shared: Served, method: str, path: str) -> None:
    for raw in (None, b"[1]", b'{"content": [1], "query": 5, "limit": 0}', b'{"content": {"operation": "drop"}}'):
        heard = termo(shared).ask(method, path, raw=raw)
        assert heard.status in (200, 400, 404, 405, 501), heard
        if heard.status != 200:
            assert set(heard.json) == {"error", "code"}


def test_an_unknown_agent_is_not_found(shared: Served) -> None:
    for path in ("/api/sessions", "/api/config", "/api/tools", "/api/memory", "/api/heartbeat"):
        assert termo(shared, "nobody").ask("GET", path).status == 404
    assert termo(shared, "nobody").ask("POST", "/api/send", {"message": "x"}).status == 404


def test_what_the_agent_is(shared: Served) -> None:
    client = termo(shared)
    assert client.get("/api/config")["name"] == "clerk"
    tools = {one["name"]: one["description"] for one in client.get("/api/tools")}
    assert tools["look"] == "Look at something."
    heard = client.ask("POST", "/api/update")
    assert (heard.status, heard.json["status"]) == (200, "ok")
    for method, path in (("POST", "/api/restart"), ("PATCH", "/api/config")):
        heard = client.ask(method, path, {"model": "x"})
        assert (heard.status, heard.json["code"]) == (501, "not_supported")


def test_the_memory(stored: Any) -> None:
    client = termo(stored())
    assert client.get("/api/memory") == {"content": None, "memories": []}

    def change(content: Any) -> None:
        assert client.ask("PATCH", "/api/memory", {"content": content}) == (200, {"status": "ok"})

    change("Notes of today")
    change("notes of today!")
    assert client.get("/api/memory")["content"] == "notes of today!"
    change(json.dumps({"operation": "remember", "content": "Ann likes tea", "category": "preference"}))
    change({"operation": "remember", "content": "The office is in Ghent"})
    found = client.ask("POST", "/api/memory/search", {"query": "what does Ann like?"}).json["memories"]
    assert found[0]["content"] == "Ann likes tea"
    assert set(found[0]) == {
        "id",
        "content",
        "category",
        "similarity",
        "created_at",
        "updated_at",
        "relationships",
    }
    only = client.ask("POST", "/api/memory/search", {"query": "Ann Ghent", "category": "fact", "limit": 1}).json
    assert [one["content"] for one in only["memories"]] == ["The office is in Ghent"]
    change({"operation": "update", "query": "Ann tea", "content": "Ann likes coffee"})
    change({"operation": "forget", "query": "office Ghent"})
    texts = {one["content"] for one in client.get("/api/memory")["memories"]}
    assert texts == {"notes of today!", "Ann likes coffee"}
    for content in (None, 5, "", {"operation": "drop"}, {"operation": "forget"}, {"content": 5}, "x" * 5000):
        heard = client.ask("PATCH", "/api/memory", {"content": content})
        assert heard.status in (400, 413), heard
        assert set(heard.json) == {"error", "code"}


def test_the_heartbeat(stored: Any, wait: Any) -> None:
    served = stored()
    client = termo(served)
    silent = {"content": "", "enabled": False, "interval_s": 1800}
    assert client.get("/api/heartbeat") == silent
    assert client.ask("PATCH", "/api/heartbeat", {"content": "Look after the plants"}).status == 200
    wait(lambda: client.get("/api/heartbeat")["enabled"])
    assert client.get("/api/heartbeat") == {"content": "Look after the plants", "enabled": True, "interval_s": 1800}
    (schedule,) = served.get("/schedules")["schedules"]
    assert (schedule["agent"], schedule["spec"]["every"]) == ("clerk", 1800)
    for _ in range(2):
        assert client.ask("PATCH", "/api/heartbeat", {"content": " "}).status == 200
    wait(lambda: client.get("/api/heartbeat") == silent)


def test_a_message_that_is_sent_again_while_it_is_answered_is_one_turn(serve: Any) -> None:
    client = termo(serve(ScriptedModel(by_step([Answer(text="once " * 20, pace=0.01, piece=5)]))))
    told: list[str] = []
    threads = [threading.Thread(target=lambda: told.append(client.send("go", "k"))) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert set(told) == {"once " * 20}
    assert [one["role"] for one in client.history("k")] == ["user", "assistant"]
    assert client.send("go", "k") == "once " * 20, "after its answer the same words are a new message"
    assert len(client.history("k")) == 4


def test_an_idempotency_key_is_one_message_for_ever(serve: Any) -> None:
    client = termo(serve(ScriptedModel(echo)))
    for _ in range(3):
        heard = client.ask("POST", "/api/send", {"message": "once"}, Idempotency_Key="k1")
        assert heard.json["response"] == "You said: once"
    assert len(client.history("api:direct")) == 2


def test_a_client_that_leaves_stops_nothing(serve: Any, wait: Any) -> None:
    served = serve(ScriptedModel(by_step([Answer(text="slow " * 40, pace=0.01, piece=5)])))
    client = termo(served)
    for event in client.stream("go", "k"):
        if event["type"] == "token":
            break
    wait(lambda: client.history("k")[-1] == {"role": "assistant", "content": "slow " * 40})
    assert list(client.stream("go", "k"))[-1]["content"] == "slow " * 40
    assert len(client.history("k")) == 2, "the client had not got the answer, so it asked for the same one"


def test_a_deleted_conversation_begins_again_and_a_halted_one_says_so(serve: Any) -> None:
    served = serve(ScriptedModel(echo))
    client = termo(served)
    client.send("one", "k")
    (info,) = served.get("/sessions")["sessions"]
    assert served.request("DELETE", f"/sessions/{info['id']}").status == 204
    assert (client.get("/api/sessions"), client.history("k")) == ([], [])
    assert client.send("one", "k") == "You said: one"
    assert len(client.history("k")) == 2
    for action, code in (("pause", "session_paused"), ("stop", "session_stopped")):
        assert served.post(f"/sessions/{info['id']}/{action}").status in (200, 202)
        heard = client.ask("POST", "/api/send", {"message": "two", "session_key": "k"})
        assert (heard.status, heard.json["code"]) == (409, code)


def test_a_session_key_that_is_no_text(shared: Served) -> None:
    heard = termo(shared).ask("POST", "/api/send", raw=b'{"message": "x", "session_key": "\\ud800"}')
    assert (heard.status, heard.json["code"]) == (400, "invalid_json")


def test_how_a_turn_fails(serve: Any) -> None:
    model = ScriptedModel(by_step([Answer(error=ErrorData("auth", "no key"))]))
    client = termo(serve(agents=[Agent("clerk", model=model, tools=[look])]))
    *_, last = client.stream("go", "a")
    assert (last["type"], last["code"], "no key" in last["content"]) == ("error", "auth", True)
    heard = client.ask("POST", "/api/send", {"message": "go", "session_key": "b"})
    assert (heard.status, heard.json["code"]) == (502, "auth")


def test_a_call_that_waits_for_a_person_is_told(serve: Any) -> None:
    model = ScriptedModel(by_step([Answer(calls=(Call("strike", {"what": "it"}),)), "Done."]))
    served = serve(agents=[Agent("clerk", model=model, tools=[strike], permissions="ask")])
    kinds: list[str] = []
    for event in termo(served).stream("go", "k"):
        kinds.append(event["type"])
        if event["type"] == "progress":
            assert "strike" in event["content"]
            (info,) = served.get("/sessions")["sessions"]
            (asked,) = served.get(f"/sessions/{info['id']}")["approvals"]
            answer = served.post(f"/sessions/{info['id']}/approvals/{asked['call']}", {"decision": "approve"})
            assert answer.status in (200, 202), answer
    assert kinds[-1] == "done"


def test_an_account_sees_its_own_alone(serve: Any) -> None:
    served = serve(ScriptedModel(echo))
    alice, bob = (termo(served, token=tenant(served, name).token) for name in ("alice", "bob"))
    assert alice.send("the code is 1234", "k") == "You said: the code is 1234"
    assert alice.ask("PATCH", "/api/memory", {"content": "the code is 1234"}).status == 200
    assert alice.ask("PATCH", "/api/heartbeat", {"content": "1234"}).status == 200
    assert bob.get("/api/sessions") == []
    assert bob.history("k") == []
    assert bob.get("/api/memory")["memories"] == []
    assert bob.get("/api/heartbeat")["enabled"] is False
    assert bob.ask("POST", "/api/memory/search", {"query": "code 1234"}).json == {"memories": []}
    assert bob.send("mine", "k") == "You said: mine"
    assert len(alice.history("k")) == 2
    assert alice.get("/api/memory")["content"] == "the code is 1234"
    for path in ("/api/update", "/api/restart"):
        assert bob.ask("POST", path).status == 403
    viewer = termo(served, token=tenant(served, "eve", role="viewer").token)
    assert viewer.ask("POST", "/api/send", {"message": "x"}).status == 403
