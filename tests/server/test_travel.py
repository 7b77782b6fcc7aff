"""Checkpoints, rollbacks and forks over HTTP."""

from __future__ import annotations


def test_over_http(shared):
    session = shared.request("POST", "/sessions", {"agent": "clerk"}).json["id"]
    shared.request("POST", f"/sessions/{session}/messages", {"text": "one"}, Accept="text/event-stream")
    place = f"/sessions/{session}"
    made = shared.request("POST", f"{place}/checkpoints", {"label": "good"}, **{"Idempotency-Key": "k"})
    again = shared.request("POST", f"{place}/checkpoints", {"label": "good"}, **{"Idempotency-Key": "k"})
    assert (made.status, made.json) == (201, again.json)
    listed = shared.get(f"{place}/checkpoints")["checkpoints"]
    assert [(one["seq"], one["label"]) for one in listed] == [(made.json["seq"], "good")]
    shared.request("POST", f"{place}/emit", {"name": "later"})
    back = shared.request("POST", f"{place}/rollback", {"to": "good"})
    assert (back.status, back.json["to"]) == (200, made.json["seq"])
    assert shared.request("POST", f"{place}/rollback", {"undo": True}).status == 200
    shared.request("POST", f"{place}/stop")
    resumed = shared.request("POST", f"{place}/rollback", {"to": "good", "resume": True}, **{"Idempotency-Key": "g"})
    assert (resumed.status, shared.get(place)["info"]["state"]) == (200, "running")
    fork = shared.request("POST", f"{place}/fork", {"at": made.json["seq"], "title": "t"})
    assert fork.status == 201
    assert fork.headers["location"] == f"/sessions/{fork.json['id']}"
    assert shared.request("DELETE", f"{place}/checkpoints/good").status == 200
    for method, path, body, status, code in (
        ("GET", "diff?since=nowhere", None, 404, "no_checkpoint"),
        ("GET", f"diff?since={10**9}", None, 422, "no_position"),
        ("POST", "rollback", {"to": 0}, 422, "no_position"),
        ("POST", "rollback", {"to": 10**9}, 422, "no_position"),
        ("POST", "rollback", {"to": "nowhere"}, 404, "no_checkpoint"),
        ("POST", "fork", {"at": 10**9}, 422, "no_position"),
        ("DELETE", "checkpoints/good", None, 404, "no_checkpoint"),
        ("POST", "checkpoints", {"label": "7"}, 422, "bad_label"),
        ("POST", "checkpoints", {"label": ""}, 422, "bad_label"),
    ):
        answer = shared.request(method, f"{place}/{path}", body)
        assert (answer.status, answer.code) == (status, code), path
    assert shared.request("GET", "/sessions/none/checkpoints").status == 404
