"""Children over HTTP, and as the client has them."""

from __future__ import annotations

from roost.agent.definition import Agent, Children
from roost.client.sync_client import SyncClient
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

from .conftest import strike


def test_a_tree_and_what_waits_in_it(serve, wait):
    task = Answer(calls=(Call("task", {"agent": "helper", "prompt": "hit it"}),))
    boss = Agent(
        "boss", model=ScriptedModel(by_step([task, "done"])), tools=["task"], children=Children(agents=("helper",))
    )
    hit = Answer(calls=(Call("strike", {"what": "iron"}),))
    helper = Agent("helper", model=ScriptedModel(by_step([hit, "hit"])), tools=[strike], callable_by=("boss",))
    served = serve(agents=[boss, helper])
    served.session("boss", id="one")
    assert served.get("/sessions/one/tree")["sessions"][0]["id"] == "one"
    assert served.get("/sessions/one/approvals") == {"approvals": []}
    assert served.post("/sessions/one/messages", {"text": "go"}).status == 202
    wait(lambda: served.get("/sessions/one/approvals")["approvals"])
    [child] = served.get("/sessions?parent=one")["sessions"]
    [waiting] = served.get("/sessions/one/approvals")["approvals"]
    assert (waiting["session"], waiting["agent"], waiting["tool"]) == (child["id"], "helper", "strike")
    assert served.get("/sessions/one")["info"]["phase"] == "waiting"
    client = SyncClient.at(served.url, token=served.token)
    try:
        assert [info.id for info in client.delegation.tree("one").sessions] == ["one", child["id"]]
        assert [info.id for info in client.sessions.find(parent="one").sessions] == [child["id"]]
        [same] = client.approvals.waiting("one").approvals
        client.approvals.answer(same.session, same.call, "approve")
    finally:
        client.close()
    wait(lambda: served.get("/sessions/one")["info"]["phase"] == "idle")
    kinds = [one["event"]["type"] for one in served.history("one")]
    assert kinds.count("child.waits") == kinds.count("child.ended") == 1
    assert served.request("DELETE", "/sessions/one").status == 204
    assert served.get("/sessions")["sessions"] == []
    for path in ("/sessions/one/tree", "/sessions/one/approvals"):
        assert served.request("GET", path).code == "not_found"
