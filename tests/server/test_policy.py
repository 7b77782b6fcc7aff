"""Approvals that change a call, over HTTP; what a policy says is seen in the stream; the operator's log is masked."""

from __future__ import annotations

import subprocess
import sys

from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

_LOGS = """
import logging
from roost.policy.vault import Vault
from roost.server.logs import log_to_stderr, mask

log_to_stderr()
mask(Vault({"DATABASE": "hunter2-hunter2"}).scrub)
try:
    raise RuntimeError("postgres://app:hunter2-hunter2@db")
except RuntimeError:
    logging.getLogger("roost.x").exception("cannot reach %s", "hunter2-hunter2")
"""


def test_a_call_is_approved_with_other_arguments(serve, wait):
    served = serve(ScriptedModel(by_step([Answer(calls=(Call("strike", {"what": "it"}, id="a/b"),)), "done"])))
    served.session(id="one")
    served.post("/sessions/one/messages", {"text": "strike"})
    wait(lambda: served.get("/sessions/one")["approvals"])
    path, head = "/sessions/one/approvals/a/b", served.get("/sessions/one")["info"]["head"]
    for body, code in (
        ({"decision": "modify"}, "invalid"),
        ({"decision": "approve", "arguments": {"what": "x"}}, "invalid"),
        ({"decision": "modify", "arguments": ["x"]}, "invalid"),
        ({"decision": "modify", "arguments": {}}, "bad_arguments"),
        ({"decision": "modify", "arguments": {"what": [1]}}, "bad_arguments"),
    ):
        answer = served.post(path, body)
        assert (answer.status, answer.code) == (422, code), body
    assert served.post(path, {"decision": "modify", "arguments": {"what": "that"}}).status == 202
    assert served.post(path, {"decision": "modify", "arguments": {"what": "else"}}).code == "not_waiting"
    with served.events("one", head) as stream:
        events = stream.until("turn.completed")
    done = next(event.data for event in events if event.kind == "tool.completed")
    assert [part["text"] for part in done["parts"]] == [
        '[a person changed the arguments to {"what":"that"}]',
        "struck that",
    ]
    started = next(event.data for event in events if event.kind == "tool.started")
    assert started["why"] == "person: approved"


def test_the_operators_log_holds_no_secret():
    done = subprocess.run([sys.executable, "-c", _LOGS], capture_output=True, text=True, timeout=60)
    assert done.stderr.count("[secret:DATABASE]") >= 2
    assert "hunter2" not in done.stderr


VALUE = "tok-4f9a8b7c6d5e4f3a2b1c"


def test_names_of_sessions_hold_no_secret(serve, monkeypatch, tmp_path):
    monkeypatch.setenv("DEPLOY_TOKEN", VALUE)
    served = serve(ScriptedModel(by_step(["done"])))
    masked = "[secret:DEPLOY_TOKEN]"
    made = served.post("/sessions", {"id": "one", "agent": "clerk", "title": f"use {VALUE}", "labels": {"by": VALUE}})
    assert made.status == 201
    assert made.json["title"] == f"use {masked}"
    assert served.get("/sessions/one")["info"]["labels"] == {"by": masked}
    assert served.post("/sessions/one/fork", {"id": "two", "title": VALUE, "labels": {"x": VALUE}}).status == 201
    forked = served.get("/sessions/two")["info"]
    assert (forked["title"], forked["labels"]) == (masked, {"by": masked, "x": masked})
    served.post("/sessions/one/checkpoints", {"label": f"before {VALUE}"})
    assert f"before {masked}" in served.request("GET", "/sessions/one/checkpoints").body.decode()
    refused = served.post("/sessions", {"agent": "clerk", "labels": {f"{VALUE}:": "x"}})
    assert (refused.status, VALUE in refused.body.decode()) == (422, False)
    for path in ("/sessions", "/sessions/one", "/sessions/two", "/sessions/one/events?limit=1000"):
        assert VALUE not in served.request("GET", path).body.decode()


def test_roosts_own_folders_are_no_workspace(serve, tmp_path):
    served = serve(ScriptedModel(by_step(["done"])))
    home = served.home
    (tmp_path / "link").symlink_to(home / "workspaces")
    (home / "workspaces").mkdir(parents=True, exist_ok=True)
    inside = home / "workspaces" / "x"  # which exists or not: nobody can find out
    for folder in (
        "/",
        "/usr/..",
        home,
        home / "workspaces",
        inside,
        tmp_path / "link" / "x",
        home / "workspaces" / "..",
    ):
        answer = served.post("/sessions", {"agent": "clerk", "workspace": str(folder)})
        assert (answer.status, answer.code) == (422, "workspace_refused"), folder
    for folder in (tmp_path / "task", "task", f"{tmp_path}\0"):
        answer = served.post("/sessions", {"agent": "clerk", "workspace": str(folder)})
        assert (answer.status, answer.code) == (422, "invalid"), folder
    (tmp_path / "task").mkdir()
    assert served.post("/sessions", {"agent": "clerk", "workspace": str(tmp_path / "task")}).status == 201
    assert served.post("/sessions", {"agent": "clerk", "workspace": str(home.parent)}).status == 201
