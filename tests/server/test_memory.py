"""The five operations of memory over HTTP, and who may be told what."""

from __future__ import annotations


def test_add_get_update_remove_retrieve(shared):
    space = "user:http"
    status, made = _ask(shared, "POST", "/memory/facts", {"space": space, "text": "She drinks mate", "key": "drink"})
    assert (status, made["op"]) == (201, "add")
    id = made["fact"]["id"]
    assert shared.get(f"/memory/facts/{id}")["text"] == "She drinks mate"
    status, other = _ask(shared, "PUT", f"/memory/facts/{id}", {"text": "She drinks oolong"})
    assert (status, other["supersedes"], other["key"]) == (200, [id], "drink")
    former, now = shared.get(f"/memory/facts/{id}"), shared.get(f"/memory/facts/{other['id']}")
    assert (former["superseded_by"], now["superseded"][0]["text"]) == (other, "She drinks mate")
    found = shared.get(f"/memory/search?query=oolong&space={space}")
    assert [one["fact"]["id"] for one in found["facts"]] == [other["id"]]
    assert shared.get(f"/memory/facts?space={space}")["facts"][0]["id"] == other["id"]
    assert [fact["id"] for fact in shared.get(f"/memory/facts?space={space}&at=1")["facts"]] == [id]
    keyed = [shared.get(f"/memory/facts?space={space}&key={key}")["facts"] for key in ("drink", "food")]
    assert [[fact["id"] for fact in facts] for facts in keyed] == [[other["id"]], []]
    for _ in range(2):
        status, gone = _ask(shared, "DELETE", f"/memory/facts/{other['id']}")
        assert status == 200
        assert gone["ended"] is not None
    assert shared.get(f"/memory/facts?space={space}")["facts"] == []
    (entry,) = [one for one in shared.get("/memory/spaces")["spaces"] if one["name"] == space]
    assert entry == {"name": space, "version": 4, "facts": 0}


def test_a_key_makes_it_safe_to_repeat(shared):
    body = {"space": "user:twice", "text": "said once"}
    first = shared.request("POST", "/memory/facts", body, **{"Idempotency-Key": "k1"})
    again = shared.request("POST", "/memory/facts", body, **{"Idempotency-Key": "k1"})
    assert (first.status, again.status) == (201, 200)
    for other in ({"text": "trains leave at noon"}, {"key": "k"}, {"category": "preference"}):
        refused = shared.request("POST", "/memory/facts", body | other, **{"Idempotency-Key": "k1"})
        assert (refused.status, refused.code) == (409, "idempotency_mismatch")
    assert len(shared.get("/memory/facts?space=user:twice")["facts"]) == 1


def test_purge(shared):
    made = [_ask(shared, "POST", "/memory/facts", {"space": "user:purge", "text": text})[1] for text in ("one", "two")]
    status, done = _ask(shared, "POST", "/memory/purge", {"facts": [made[0]["fact"]["id"]]})
    assert (status, done["facts"], done["logs"]) == (200, 1, [])
    assert any("backups" in one for one in done["left"])
    _ask(shared, "DELETE", f"/memory/facts/{made[1]['fact']['id']}")
    assert _ask(shared, "POST", "/memory/purge", {"space": "user:purge"})[1]["facts"] == 1
    gone = shared.get("/memory/facts?space=user:purge&ended=true")["facts"]
    assert [fact["text"] for fact in gone] == ["", ""]
    assert _ask(shared, "POST", "/memory/purge", {"facts": ["fct_none"]})[0] == 404


def test_a_proposal_is_accepted_without_a_body(shared):
    assert shared.request("POST", "/memory/facts/fct_none/accept").status == 404


def test_what_cannot_be(shared):
    for method, path, body, status, code in (
        ("GET", "/memory/facts/fct_none", None, 404, "not_found"),
        ("POST", "/memory/facts", {"space": "elsewhere:x", "text": "x"}, 422, "bad_space"),
        ("POST", "/memory/facts", {"space": "session:zzz", "text": "x"}, 422, "no_session"),
        ("POST", "/memory/facts", {"space": "user:x", "text": "   "}, 422, "empty_fact"),
        ("POST", "/memory/facts/fct_none/accept", {}, 404, "not_found"),
        ("POST", "/memory/undo", {"session": "s", "since": 5, "until": 2}, 422, "invalid"),
        ("POST", "/memory/undo", {"session": "ses_none", "since": 0}, 404, "not_found"),
    ):
        answer = shared.request(method, path, body)
        assert (answer.status, answer.code) == (status, code), path


def _ask(shared, method, path, body=None):
    answer = shared.request(method, path, body)
    return answer.status, answer.json
