"""Making, finding, looking at, controlling and deleting sessions."""

from __future__ import annotations

import pytest

from roost.client.sync_client import SyncClient
from roost.features.compaction.api import Compaction
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step


def test_a_session_from_its_making_to_its_end(serve, wait):
    served = serve()
    made = served.post("/sessions", {"agent": "clerk", "id": "one", "title": "First", "labels": {"team": "a"}})
    assert made.status == 201
    assert made.headers["location"] == "/sessions/one"
    assert made.json["state"] == "created"
    assert made.json["labels"] == {"team": "a"}
    served.say("one", "hello")
    view = served.get("/sessions/one")
    assert (view["info"]["state"], view["info"]["phase"], view["turns"], view["steps"]) == ("running", "idle", 1, 1)
    kinds = [message["kind"] for message in served.get("/sessions/one/messages")["messages"]]
    assert kinds == ["user", "assistant"]
    gone = served.request("DELETE", "/sessions/one")
    assert (gone.status, gone.body) == (204, b"")
    for method, path in (
        ("GET", "/sessions/one"),
        ("DELETE", "/sessions/one"),
        ("GET", "/sessions/one/messages"),
        ("GET", "/sessions/one/events"),
        ("POST", "/sessions/one/stop"),
        ("DELETE", "/sessions/one/timers/t"),
    ):
        answer = served.request(method, path)
        assert (answer.status, answer.code) == (404, "not_found"), path
    assert served.post("/sessions/one/messages", {"text": "hello?"}).code == "not_found"


def test_what_the_model_sees_is_made_smaller_on_demand(serve, wait):
    served = serve(ScriptedModel(lambda _: "They said hello, and hello again."))
    served.session(id="one")
    for number in range(4):
        served.say("one", f"hello {number} " + "and so on " * 200)
    before = served.get("/sessions/one")["context_tokens"]
    done = served.post("/sessions/one/compact")
    after = served.get("/sessions/one")["context_tokens"]
    assert (done.status, done.json["id"], done.json["state"]) == (200, "one", "running")
    came = done.json["compaction"]
    assert (came["outcome"], came["before"], came["after"], came["by"]) == ("smaller", before, after, "model")
    assert after < before
    client = SyncClient.at(served.url, token=served.token)
    served.session(id="empty")
    assert client.compaction.compact("empty").compaction == Compaction(outcome="nothing", before=0, after=0)
    client.close()
    events = [one["event"] for one in served.get("/sessions/one/events")["events"]]
    (compacted,) = [event for event in events if event["type"] == "context.compacted"]
    assert compacted["after"] < compacted["before"]


def test_a_pin_is_seen_until_it_is_taken_away(shared, wait):
    shared.session(id="pinned")
    assert shared.request("PUT", "/sessions/pinned/pins/rule", {"text": "no force"}).status == 202
    wait(lambda: shared.get("/sessions/pinned")["pins"] == {"rule": "no force"})
    assert shared.request("PUT", "/sessions/pinned/pins/a~b", {"text": "no force"}).status == 422
    assert shared.request("DELETE", "/sessions/pinned/pins/rule").status == 202
    wait(lambda: shared.get("/sessions/pinned")["pins"] == {})


def test_agents_are_listed(shared):
    (agent,) = shared.get("/agents")["agents"]
    assert agent["name"] == "clerk"
    assert agent["tools"] == ["look", "strike"]
    assert agent["version"]


def test_an_id_is_taken_once(shared):
    shared.session(id="taken")
    again = shared.post("/sessions", {"agent": "clerk", "id": "taken"})
    assert (again.status, again.code) == (409, "session_exists")


@pytest.mark.parametrize("fields", [{"labels": {"k\n": "v"}}, {"labels": {"a\nb": "v"}}, {"id": "one\n"}])
def test_no_name_has_a_line_break(shared, fields):
    answer = shared.post("/sessions", {"agent": "clerk", **fields})
    assert (answer.status, answer.code) == (422, "invalid")


def test_a_key_makes_one_session(shared):
    first = shared.post("/sessions", {"agent": "clerk", "title": "t"}, Idempotency_Key="k")
    again = shared.post("/sessions", {"agent": "clerk", "title": "t"}, Idempotency_Key="k")
    assert (first.status, again.status) == (201, 201)
    assert first.json["id"] == again.json["id"]
    other = shared.post("/sessions", {"agent": "clerk", "title": "u"}, Idempotency_Key="k")
    assert (other.status, other.code) == (409, "idempotency_mismatch")
    assert shared.post("/sessions", {"agent": "clerk"}, Idempotency_Key="").code == "invalid"
    assert shared.post("/sessions", {"agent": "clerk"}, Idempotency_Key="k" * 256).code == "invalid"


def test_pages_and_filters(serve):
    served = serve()
    made = [served.session(labels={"n": str(i % 2), "url": "a:b"}) for i in range(5)]
    served.post(f"/sessions/{made[0]}/stop")
    page = served.get("/sessions?limit=2")
    seen = [info["id"] for info in page["sessions"]]
    while page["next"]:
        page = served.get(f"/sessions?limit=2&before={page['next']}")
        seen += [info["id"] for info in page["sessions"]]
    assert seen == made[::-1]
    assert len(served.get("/sessions?limit=5")["sessions"]) == 5
    assert served.get("/sessions?limit=5")["next"] is None
    assert [info["id"] for info in served.get("/sessions?state=stopped")["sessions"]] == [made[0]]
    assert len(served.get("/sessions?label=n:1")["sessions"]) == 2
    assert len(served.get("/sessions?label=url:a:b")["sessions"]) == 5
    assert served.get("/sessions?agent=nobody")["sessions"] == []
    for query in ("limit=0", "limit=201", "limit=x", "state=gone", "label=nocolon", "colour=red", "limit=%ff"):
        answer = served.request("GET", f"/sessions?{query}")
        assert (answer.status, answer.code) == (422, "invalid"), query


def test_control(serve):
    served = serve()
    served.session(id="one")
    for action, state in (
        ("start", "running"),
        ("pause", "paused"),
        ("resume", "running"),
        ("cancel", "running"),
        ("stop", "stopped"),
        ("start", "running"),
    ):
        answer = served.post(f"/sessions/one/{action}")
        assert (answer.status, answer.json["state"]) == (200, state), action


def test_a_control_with_a_key_is_given_once(serve):
    served = serve()
    served.session(id="one")
    for _ in range(2):
        assert served.post("/sessions/one/pause", Idempotency_Key="p").status == 200
    kinds = [entry["event"]["type"] for entry in served.history("one")]
    assert kinds.count("control.applied") == 1
    assert served.post("/sessions/one/stop", Idempotency_Key="p").code == "idempotency_mismatch"


def test_a_stopped_session_takes_no_messages(serve):
    served = serve()
    served.session(id="one")
    served.post("/sessions/one/stop")
    answer = served.post("/sessions/one/messages", {"text": "hello"})
    assert (answer.status, answer.code) == (409, "session_stopped")
    served.post("/sessions/one/start")
    assert served.say("one", "hello")[-1].kind == "turn.completed"


def test_an_approval_from_asking_to_answer(serve, wait):
    model = ScriptedModel(by_step([Answer(calls=(Call("strike", {"what": "it"}, id="a/b"),)), "done"]))
    served = serve(model)
    served.session(id="one")
    served.post("/sessions/one/messages", {"text": "strike"})
    wait(lambda: served.get("/sessions/one")["approvals"])
    (asked,) = served.get("/sessions/one")["approvals"]
    assert (asked["call"], asked["tool"]) == ("a/b", "strike")
    head = served.get("/sessions/one")["info"]["head"]
    assert served.post("/sessions/one/approvals/nothing", {"decision": "approve"}).code == "not_waiting"
    assert served.post("/sessions/one/approvals/a/b", {"decision": "perhaps"}).code == "invalid"
    answer = served.post("/sessions/one/approvals/a/b", {"decision": "approve", "note": "go"})
    assert (answer.status, answer.json["head"]) == (202, head)
    with served.events("one", head) as stream:
        events = stream.until("turn.completed")
    done = next(event.data for event in events if event.kind == "tool.completed")
    assert done["parts"] == [{"kind": "text", "text": "struck it"}]
    assert served.post("/sessions/one/approvals/a/b", {"decision": "approve"}).code == "not_waiting"


def test_timers_speak_when_they_are_due(serve):
    served = serve()
    served.session(id="one")
    assert served.request("PUT", "/sessions/one/timers/soon", {"text": "wake up", "in": 0.1}).status == 202
    with served.events("one") as stream:
        events = stream.until("turn.completed")
    said = next(event.data for event in events if event.kind == "input.received")
    assert (said["parts"][0]["text"], said["source"]) == ("wake up", "timer:soon")
    assert served.request("PUT", "/sessions/one/timers/late", {"text": "later", "due": 4e9}).status == 202
    assert served.request("DELETE", "/sessions/one/timers/late").status == 202
    with served.events("one") as stream:
        stream.until("timer.cleared")
    assert served.get("/sessions/one")["timers"] == {}
    for body in ({"text": "x"}, {"text": "x", "in": 1, "due": 1}, {"text": "", "in": 1}, {"text": "x", "in": -1}):
        answer = served.request("PUT", "/sessions/one/timers/t", body)
        assert (answer.status, answer.code) == (422, "invalid")
    assert served.request("PUT", "/sessions/one/timers/%20", {"text": "x", "in": 1}).code == "invalid"


def test_a_programs_own_events(serve):
    served = serve()
    served.session(id="one")
    served.post("/sessions/one/start")
    body = {"name": "build.done", "data": {"ok": True}}
    first = served.post("/sessions/one/emit", body, Idempotency_Key="e")
    again = served.post("/sessions/one/emit", body, Idempotency_Key="e")
    assert (first.json["duplicate"], again.json["duplicate"]) == (False, True)
    with served.events("one") as stream:
        event = stream.until("emitted")[-1]
    assert (event.data["name"], event.data["data"]) == ("build.done", {"ok": True})


def test_methods_and_paths_that_are_not_there(shared):
    answer = shared.request("PATCH", "/sessions")
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert sorted(answer.headers["allow"].split(", ")) == ["GET", "POST"]
    for path in ("/", "/sessions/", "/sessions/a/b/c", "/sessions/a%2Fb", "//sessions", "/%00"):
        answer = shared.request("GET", path)
        assert (answer.status, answer.code) == (404, "not_found"), path


def test_pages_of_the_log(shared):
    shared.session(id="paged")
    shared.say("paged", "hello")
    seen, after = [], 0
    while page := shared.get(f"/sessions/paged/events?after={after}&limit=2")["events"]:
        assert len(page) <= 2
        seen += [entry["seq"] for entry in page]
        after = seen[-1]
    assert seen == list(range(1, shared.get("/sessions/paged/events")["head"] + 1))
    beyond = shared.request("GET", f"/sessions/paged/events?after={after + 1}")
    assert (beyond.status, beyond.code) == (409, "ahead_of_log")
    for after in ("-1", "x", "1.5", str(2**63), "9" * 400):
        assert shared.request("GET", f"/sessions/paged/events?after={after}").code == "invalid"


@pytest.mark.long
def test_thousands_of_sleeping_sessions_do_not_slow_health(serve):
    import time

    served = serve(durability="relaxed")

    def median() -> float:
        connection, took = served.connect(), []
        for _ in range(60):
            started = time.perf_counter()
            connection.request("GET", "/health")
            connection.getresponse().read()
            took.append(time.perf_counter() - started)
        connection.close()
        return sorted(took)[30]

    before = median()
    connection = served.connect()
    for _ in range(1500):
        connection.request("POST", "/sessions", b'{"agent":"clerk"}', served.headers(Content_Type="application/json"))
        connection.getresponse().read()
    connection.close()
    assert median() < before * 3 + 0.002


def test_a_session_of_another_model_or_of_a_definition_that_the_node_does_not_know(shared):
    served = shared

    def made(**fields) -> dict[str, object]:
        answer = served.post("/sessions", {"agent": "clerk", **fields})
        assert answer.status == 201, answer
        return served.history(answer.json["id"])[0]["event"]["spec"]

    assert made(model="openai/other") == {**made(), "model": "openai/other"}
    spec = {"name": "fresh", "instructions": "Be brief.", "tools": ["read_file"], "permissions": "read_only"}
    assert made(agent="fresh", definition=spec) == spec
    assert made(agent="fresh", definition=spec, model="m") == {**spec, "model": "m"}
    assert made(definition={"name": "clerk", "tools": ["look"]})["tools"] == ["look"]
    for wrong in (
        {"agent": "clerk", "definition": spec},
        {"agent": "fresh", "definition": {**spec, "tools": ["look"]}},
        {"agent": "fresh", "definition": {**spec, "tools": 1}},
        {"agent": "a b", "definition": {"name": "a b"}},
        {"agent": "clerk", "model": ""},
        {"agent": "fresh", "model": "m"},
    ):
        assert served.post("/sessions", wrong).status == 422, wrong
    first = {"agent": "clerk", "model": "m"}
    assert served.post("/sessions", first, Idempotency_Key="v").status == 201
    assert served.post("/sessions", first, Idempotency_Key="v").status == 201
    assert served.post("/sessions", {**first, "model": "n"}, Idempotency_Key="v").code == "idempotency_mismatch"
