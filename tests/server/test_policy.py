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
