"""The configuration over HTTP."""

from __future__ import annotations

from roost.agent.definition import Agent
from roost.api.session_contents import event_of
from roost.client.sync_client import SyncClient
from roost.testing.scripted import ScriptedModel

from .accounts import tenant
from .conftest import Serve


def told(text: str) -> Agent:
    return Agent("a", instructions=text, model=ScriptedModel(lambda request: request.instruction))


def test_get_patch_and_history(serve: Serve) -> None:
    served = serve(agents=[told("one")])
    found = served.get("/config")
    assert (found["number"], found["faults"]) == (0, {})
    assert {one["key"] for one in found["settings"]} >= {"linger", "session_timeout", "retention", "budget.month"}
    made = served.request("PATCH", "/config", {"values": {"linger": 3, "session_timeout": 60}, "by": "ann"})
    assert (made.status, made.json["number"], made.json["by"]) == (200, 1, "ann")
    for values in ({"linger": "x"}, {"no": 1}, {"linger": -1}, {"linger": True}, {"linger": [1]}, {}):
        refused = served.request("PATCH", "/config", {"values": values})
        assert refused.status == 422, (values, refused)
    assert served.request("PATCH", "/config", {"values": {"model": "nobody/x"}}).code == "config"
    assert served.request("PATCH", "/config", {"values": {"linger": None}}).json["values"] == {"session_timeout": 60}
    history = served.get("/config/history")["changes"]
    assert [one["number"] for one in history] == [2, 1]
    assert served.get("/config/history?before=2&limit=5")["changes"] == history[1:]
    assert served.request("POST", "/reload").json == {"agents": [], "files": [], "faults": {}}


def test_the_history_names_the_account_that_changed_a_setting(serve: Serve) -> None:
    served = serve(agents=[told("one")])
    alice = tenant(served, "alice", role="operator")
    made = alice.request("PATCH", "/config", {"values": {"linger": 3}, "by": "bob"})
    assert (made.status, made.json["by"]) == (200, "alice/bob")
    assert served.get("/config/history")["changes"][0]["by"] == "alice/bob"


def test_a_session_moves_once_for_each_key(serve: Serve) -> None:
    served = serve(agents=[told("one")])
    client = SyncClient.at(served.url, token=served.token)
    made = client.sessions.create("a")
    body = {"by": "ann", "model": "openai/other"}
    first = served.request("POST", f"/sessions/{made.id}/move", body, Idempotency_Key="k")
    again = served.request("POST", f"/sessions/{made.id}/move", body, Idempotency_Key="k")
    assert (first.status, again.status) == (202, 202)
    with served.stream("GET", f"/sessions/{made.id}/events") as stream:
        seen = stream.until("session.moved")
    assert seen[-1].data["source"] == "ann"
    version = client.sessions.inspect(made.id).info.version
    assert version == seen[-1].data["version"] != made.version
    served.request("POST", f"/sessions/{made.id}/move", {})
    with served.stream("GET", f"/sessions/{made.id}/events", Last_Event_ID=str(seen[-1].id)) as stream:
        assert stream.until("session.moved")[-1].data["version"] == made.version
    kinds = [event_of(entry) for entry in client.sessions.events(made.id).events]
    assert sum(type(event).__name__ == "SessionMoved" for event in kinds) == 2
    assert served.request("POST", "/sessions/none/move", {}).status == 404
    client.close()
