"""Sessions as files over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

from tests.exchange.claude_log import ClaudeLog


def test_out_and_in_again(shared):
    session = shared.session(title="talk")
    shared.say(session, "hello")
    answer = shared.request("GET", f"/sessions/{session}/export")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson; charset=utf-8")
    events = shared.history(session)
    assert [json.loads(line) for line in answer.body.splitlines()[1:]] == events
    assert json.loads(answer.headers["roost-report"])["events"] == len(events)

    first = _import(shared, answer.body, key="k1")
    assert first.status == 201
    made = first.json["session"]
    assert first.headers["location"] == f"/sessions/{made['id']}"
    assert (made["title"], made["state"], made["phase"]) == ("talk", "running", "idle")
    again = _import(shared, answer.body, key="k1")
    assert (again.status, again.json["session"]["id"], again.json["duplicate"]) == (200, made["id"], True)
    assert _import(shared, answer.body + b"\n", key="k1").code == "idempotency_mismatch"
    assert _import(shared, answer.body, query=f"?id={made['id']}").code == "session_exists"
    shared.say(made["id"], "and now?")


def test_a_foreign_log_and_all_formats_out(shared, tmp_path: Path):
    body = ClaudeLog().session(12).write(tmp_path / "x.jsonl").read_bytes()
    made = _import(shared, body, query="?agent=clerk&title=old+days")
    assert made.status == 201
    assert made.json["report"]["kept"]["progress"] > 5
    session = made.json["session"]
    assert (session["agent"], session["title"]) == ("clerk", "Tidy the parser" if not session["title"] else "old days")
    for format in ("roost", "claude-code", "codex", "transcript"):
        answer = shared.request("GET", f"/sessions/{session['id']}/export?format={format}")
        assert answer.status == 200
        assert json.loads(answer.headers["roost-report"])["format"] == format
        assert "部分 11" in answer.body.decode()


def test_what_is_refused(shared):
    assert shared.request("GET", "/sessions/none/export").code == "not_found"
    assert shared.request("GET", "/sessions/none/export?format=pdf").status == 422
    for body, code in ((b"", "unknown_format"), (b"{}\n", "unknown_format"), (b'{"roost":"session"}\n', "bad_line")):
        answer = _import(shared, body)
        assert (answer.status, answer.code) == (422, code)
    assert _import(shared, b"x", query="?agent=nobody&format=codex").code == "unknown_agent"
    assert _import(shared, b"x", query="?id=%20").status == 422


def _import(shared, body: bytes, *, key: str | None = None, query: str = ""):
    headers = {"Content_Type": "application/x-ndjson"} | ({"Idempotency_Key": key} if key else {})
    return shared.request("POST", f"/import{query}", raw=body, **headers)
