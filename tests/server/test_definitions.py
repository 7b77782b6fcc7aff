"""Definitions of agents over HTTP, and the policy tried on a call."""

from __future__ import annotations

from typing import Any

from tests.server.accounts import tenant


def test_definitions_are_checked_kept_and_used(serve: Any) -> None:
    served = serve()
    check = served.post("/definitions/check", {"definition": {"name": "helper", "tools": ["nothing"]}}).json
    assert "unknown tool 'nothing'" in check["faults"][0]
    check = served.post("/definitions/check", {"definition": {"name": "helper", "limits": {"stps": 1}}}).json
    assert "stps" in check["faults"][0]
    good = {"instructions": "Help.", "tools": ["read_file"]}
    assert served.post("/definitions/check", {"definition": {"name": "helper", **good}}).json["faults"] == []
    made = served.request("PUT", "/definitions/helper", {"definition": good, "kept": 0})
    assert (made.status, made.json["kept"]) == (200, 1)
    assert served.request("PUT", "/definitions/helper", {"definition": good, "kept": 0}).status == 409
    better = {**good, "instructions": "Help well."}
    changed = served.request("PUT", "/definitions/helper", {"definition": better, "kept": 1}).json
    assert (changed["kept"], changed["definition"]["instructions"]) == (2, "Help well.")
    late = served.request("PUT", "/definitions/helper", {"definition": good, "kept": 1})
    assert (late.status, late.code) == (409, "version_conflict")
    assert served.get("/definitions/helper") == changed
    assert [(one["name"], one["kept"]) for one in served.get("/definitions")["definitions"]] == [("helper", 2)]
    assert served.session("helper")


def test_agents_of_files_are_changed_in_their_files(serve: Any) -> None:
    served = serve()
    shown = served.get("/definitions/clerk")
    assert (shown["definition"]["tools"], "kept" in shown and shown["kept"]) == (["look", "strike"], None)
    refused = served.request("PUT", "/definitions/clerk", {"definition": shown["definition"]})
    assert (refused.status, refused.code) == (409, "agent_of_file")
    assert served.request("GET", "/definitions/nobody").status == 404


def test_an_account_sees_its_own_definitions_and_keeps_none(serve: Any) -> None:
    served = serve()
    served.request("PUT", "/definitions/helper", {"definition": {}})
    alice = tenant(served, "alice", agents=["clerk"])
    assert alice.get("/definitions")["definitions"] == []
    assert alice.request("GET", "/definitions/helper").status == 404
    assert alice.request("GET", "/definitions/clerk").status == 200
    assert alice.request("PUT", "/definitions/mine", {"definition": {}}).status == 403
    assert alice.post("/policy/check", {"command": "ls"}).status == 403
    operator = tenant(served, "ops", role="operator")
    assert operator.post("/policy/check", {"agent": "clerk", "command": "ls"}).status == 200
    project = served.home.parent / "project"  # of the owner: what its rules say is not for an account
    asked = operator.post("/policy/check", {"agent": "clerk", "command": "ls", "workspace": str(project)})
    assert (asked.status, asked.code) == (403, "forbidden")


def test_the_policy_is_tried_on_a_call(serve: Any) -> None:
    served = serve()
    said = served.post("/policy/check", {"agent": "clerk", "command": "ls -la"}).json
    assert said["decision"] == "allow"
    said = served.post("/policy/check", {"agent": "clerk", "command": "git push --force"}).json
    assert said["decision"] == "ask"
    assert any("git push" in one for one in said["dangers"])
    assert [one["layer"] for one in said["layers"]] == ["agents", "user", "config", "project", "system", "level"]
    hidden = served.post("/policy/check", {"agent": "clerk", "path": str(served.home / "token"), "tool": "read_file"})
    assert hidden.json["decision"] == "deny"
    for wrong in (
        {},
        {"command": "ls", "path": "x"},
        {"command": "ls", "workspace": "relative"},
        {"command": "ls", "workspace": "/a\0"},
    ):
        assert served.post("/policy/check", {"agent": "clerk", **wrong}).status == 422
    assert served.post("/policy/check", {"agent": "nobody", "command": "ls"}).status == 422
