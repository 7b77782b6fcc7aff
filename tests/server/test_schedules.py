"""Schedules over HTTP."""

from __future__ import annotations

import time


def test_set_show_pause_resume_run_delete(shared):
    session = shared.session()
    path = f"/sessions/{session}/schedules/news"
    made = shared.request("PUT", path, {"text": "tell me", "cron": "0 9 * * *", "zone": "Europe/Berlin"})
    assert (made.status, made.json["state"], len(made.json["coming"])) == (200, "active", 5)
    assert shared.get(path) == made.json
    assert shared.get(f"/sessions/{session}/schedules")["schedules"] == [made.json]
    assert made.json in shared.get("/schedules?limit=500")["schedules"]
    paused = shared.request("POST", f"{path}/pause")
    assert (paused.status, paused.json["state"], paused.json["coming"]) == (200, "paused", [])
    assert shared.request("POST", f"{path}/resume").json["state"] == "active"
    ran = shared.request("POST", f"{path}/run")
    assert ran.status == 202
    deadline = time.monotonic() + 10
    while not (outbox := shared.get(f"/sessions/{session}/outbox"))["messages"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (message,) = outbox["messages"]
    assert message["source"] == "schedule:news"
    assert shared.get(f"/sessions/{session}/outbox?after={outbox['next']}")["messages"] == []
    gone = shared.request("DELETE", path)
    assert (gone.status, gone.json) == (200, {"status": "done"})
    assert shared.request("GET", path).status == 404


def test_what_cannot_be(shared):
    session = shared.session()
    path = f"/sessions/{session}/schedules/x"
    for method, where, body, status, code in (
        ("PUT", path, {"text": "x", "cron": "nonsense"}, 422, "bad_cron"),
        ("PUT", path, {"text": "x", "cron": "0 9 * * *", "zone": "Mars/Base"}, 422, "bad_zone"),
        ("PUT", path, {"text": "x", "at": 5}, 422, "past"),
        ("PUT", path, {"text": "x", "every": 60, "colour": "blue"}, 422, "invalid"),
        ("PUT", "/sessions/nobody/schedules/x", {"text": "x", "every": 60}, 404, "not_found"),
        ("POST", f"{path}/pause", None, 404, "not_found"),
        ("POST", f"{path}/run", None, 404, "not_found"),
        ("DELETE", path, None, 404, "not_found"),
        ("GET", "/sessions/nobody/outbox", None, 404, "not_found"),
    ):
        answer = shared.request(method, where, body)
        assert (answer.status, answer.code) == (status, code), (method, where)
