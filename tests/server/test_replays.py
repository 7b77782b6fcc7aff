"""Replays over HTTP: who may replay what, and requests that are wrong."""

from __future__ import annotations

import json

from tests.server.accounts import Tenant, tenant
from tests.server.conftest import Serve

from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

SCRIPT = by_step([Answer(calls=(Call("look", {"what": "tree"}),)), "a tree"])


def test_only_the_reader_of_a_session_replays_it(serve: Serve) -> None:
    served = serve(ScriptedModel(SCRIPT))
    alice, bob = tenant(served, "alice", role="user"), tenant(served, "bob", role="user")
    viewer = Tenant(served, served.post("/accounts/alice/tokens", {"role": "viewer"}).json["token"])
    session = alice.session()
    alice.say(session, "Look.")
    log = alice.request("GET", f"/sessions/{session}/export").body.decode()
    events = len(alice.get(f"/sessions/{session}/events?limit=1000")["events"])
    path = f"/sessions/{session}/replay"
    for who in (served, alice, viewer):
        answer = who.post(path, {})
        assert (answer.status, answer.json["tools"], answer.json.get("divergence")) == (200, ["look"], None), answer
    assert bob.post(path, {}).status == 404
    assert served.request("POST", path, {}, Authorization="Bearer wrong").status == 401
    for given in ({"tools": "live"}, {"prompt": "x"}, {"agent": "clerk"}, {"model": "openai/gpt-5-mini"}):
        assert viewer.post(path, given).status == 403, given
    assert alice.post(path, {"agent": "clerk"}).json["model"] == "scripted"
    assert alice.post(path, {"model": "http://10.0.0.1/x"}).status == 403
    assert alice.post(path, {"tools": "live", "folder": "/etc"}).status == 403
    assert alice.post("/replays", {"log": log}).json["tools"] == ["look"]
    assert alice.post("/replays", {"log": log, "agent": "recorded"}).status == 403
    assert alice.post("/replays", {"log": log.replace('"clerk"', '"other"')}).status == 422
    assert served.post("/replays", {"log": log, "agent": "recorded"}).json["tools"] == ["look"]
    assert len(alice.get(f"/sessions/{session}/events?limit=1000")["events"]) == events
    assert [one["id"] for one in served.get("/sessions")["sessions"]] == [session]


def test_a_wrong_request_is_told(serve: Serve) -> None:
    served = serve(ScriptedModel(SCRIPT))
    session = served.session()
    answer = served.post(f"/sessions/{session}/replay", {})
    assert (answer.status, answer.json["code"]) == (409, "not_replayable")
    served.say(session, "Look.")
    path = f"/sessions/{session}/replay"
    assert served.post("/sessions/none/replay", {}).status == 404
    for given in (
        {"tools": "x"},
        {"files": ["a"]},
        {"agent": "nobody"},
        {"agent": "clerk@0"},
        {"tools": "live", "files": ["../x"]},
    ):
        assert served.post(path, given).status == 422, given
    log = served.request("GET", f"/sessions/{session}/export").body.decode()
    for wrong in ("", "x", log[: len(log) // 2], "\n".join(log.splitlines()[:3])):
        assert served.post("/replays", {"log": wrong}).status == 422, wrong[:80]
    head, *lines = log.splitlines()
    strange = json.dumps({**json.loads(head), "id": "../../../../tmp/x"})
    assert served.post("/replays", {"log": "\n".join([strange, *lines])}).json["tools"] == ["look"]
