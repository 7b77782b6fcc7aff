"""Bodies are bounded, whatever their headers say; what is not understood says why."""

from __future__ import annotations

import http.client
import json
import re
import time

import pytest

MIB = 1024 * 1024


def head(served, *lines: str, path="/sessions") -> bytes:
    start = [f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {served.token}"]
    return "\r\n".join([*start, "Content-Type: application/json", *lines, "", ""]).encode()


def answer_of(sock) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(sock)
    response.begin()
    return response.status, response.read()


@pytest.fixture(scope="module")
def session(shared):
    return shared.session()


def test_the_largest_body_is_taken(shared, session):
    text = "x" * (MIB - len('{"text":""}'))
    raw = json.dumps({"text": text}, separators=(",", ":")).encode()
    assert len(raw) == MIB
    assert shared.request("POST", f"/sessions/{session}/messages", raw=raw).status == 202


def test_a_larger_one_is_refused_after_it_was_sent(shared, session):
    for path, size in (("approvals/c", MIB + 1), ("approvals/c", 8 * MIB), ("messages", 32 * MIB + 1)):
        answer = shared.request("POST", f"/sessions/{session}/{path}", raw=b" " * size)
        assert (answer.status, answer.code) == (413, "too_large")


def test_a_picture_may_be_larger_and_a_text_may_not(shared, session):
    picture = {"kind": "image", "media_type": "image/png", "data": "A" * (20 * MIB)}
    said = {"parts": [{"kind": "text", "text": "Look"}, picture]}
    assert shared.post(f"/sessions/{session}/messages", said).status == 202
    answer = shared.post(f"/sessions/{session}/messages", {"text": "x" * (MIB + 1)})
    assert (answer.status, answer.code) == (413, "too_large")


def test_a_larger_one_is_refused_before_it_comes(shared):
    with shared.socket() as sock:
        sock.sendall(head(shared, f"Content-Length: {10 * MIB}", "Expect: 100-continue"))
        assert answer_of(sock)[0] == 413


def test_an_endless_chunked_body_is_cut(shared):
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with shared.socket() as sock:
        sock.sendall(head(shared, "Transfer-Encoding: chunked"))
        sent, started = 0, time.monotonic()
        try:
            while time.monotonic() - started < 60:
                sock.sendall(chunk)
                sent += 65536
        except OSError:
            pass
        assert time.monotonic() - started < 60, "nobody stopped it"
    assert sent < 64 * MIB
    assert shared.get("/health")["status"] == "ok"


def test_a_body_shorter_than_it_says_never_counts(shared):
    body = b'{"agent":"clerk","id":"short"}'
    with shared.socket() as sock:
        sock.sendall(head(shared, f"Content-Length: {len(body) + 5}") + body)
    time.sleep(0.1)
    assert shared.request("GET", "/sessions/short").status == 404


def test_what_comes_after_the_end_of_a_body_is_not_part_of_it(shared):
    body = b'{"agent":"clerk","title":"exact"}'
    follow = f"GET /nothing HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {shared.token}\r\n\r\n".encode()
    with shared.socket() as sock:
        sock.sendall(head(shared, f"Content-Length: {len(body)}") + body + follow)
        got = b""
        while got.count(b"HTTP/1.1 ") < 2 and (piece := sock.recv(65536)):
            got += piece
    assert next(line.split()[1] for line in got.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")) == b"201"
    assert b"HTTP/1.1 404" in got


def test_two_lengths_or_a_bad_one_are_refused(shared):
    for lines in (["Content-Length: 5", "Content-Length: 6"], ["Content-Length: -1"], ["Content-Length: x"]):
        with shared.socket() as sock:
            sock.sendall(head(shared, *lines) + b"{}    ")
            assert answer_of(sock)[0] == 400


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b'{"agent":"\xff"}', 400, "invalid_json"),
        (b"[]", 422, "invalid"),
        (b"null", 422, "invalid"),
        (b"{}", 422, "invalid"),
        (b'{"agent":7}', 422, "invalid"),
        (b'{"agent":"clerk","colour":"red"}', 422, "invalid"),
        (b'{"agent":"nobody"}', 422, "unknown_agent"),
        (b'{"agent":"clerk","id":"../x"}', 422, "invalid"),
        (b'{"agent":"clerk","workspace":"relative"}', 422, "invalid"),
        (b'{"agent":"clerk","labels":{"a:b":"c"}}', 422, "invalid"),
    ],
)
def test_what_is_not_understood_says_why(shared, raw, status, code):
    answer = shared.request("POST", "/sessions", raw=raw)
    assert (answer.status, answer.code) == (status, code)
    assert answer.json["detail"]


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (b"", "the body is not JSON: it is empty"),
        (b'{"agent":"\xff"}', "the body is not JSON: it has bytes that are not UTF-8"),
        (b"[]", "the body must be an object, not a list"),
        (b"{}", "`agent` is missing in the body"),
        (b'{"agent":7}', "`agent` must be text, not a whole number"),
        (b'{"agent":"a","title":7}', "`title` must be text or null, not a whole number"),
        (b'{"agent":"clerk","colour":"red"}', "the body has a field `colour`, which is not known"),
        (b'{"agent":"a","id":""}', "`id` is empty"),
        (b'{"agent":"a","id":"../x"}', "`id` must begin with a letter or digit and have only those and ._:-"),
        (b'{"agent":"a","title":"%s"}' % (b"x" * 1025), "`title` must have at most 1024 characters"),
        (b'{"agent":"a","labels":{"":"c"}}', "a key of `labels` is empty"),
        (b'{"agent":"a","labels":{"a:b":"c"}}', "a key of `labels` must have no colon and no control characters"),
        (b'{"agent":"a","labels":{"a":null}}', "a value of `labels` must be text, not null"),
        (b'{"agent":"a","labels":{%s}}' % b",".join(b'"%d":""' % n for n in range(65)),
         "`labels` must have at most 64 entries"),
        (b'{"agent":"a","definition":{"name":"a","limits":{"step":1}}}',
         "`definition.limits` has a field `step`, which is not known"),
        (b'{"agent":"a","definition":{"name":"a","effort":"x"}}',
         "`definition.effort` cannot be 'x'; GET /openapi.json has what it can be"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_of_the_field_and_in_words(shared, raw, detail):
    assert shared.request("POST", "/sessions", raw=raw).json["detail"] == detail


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/sessions?limit=0", "query: `limit` must be at least 1"),
        ("/sessions?limit=x", "query: `limit` must be a whole number, not text"),
        ("/sessions?label=x", "query: `label` must be a key and a value with a colon between them"),
        ("/costs?month=2026", "query: `month` must be a month, as in 2026-11"),
        ("/sessions?colour=red", "query: the query has a field `colour`, which is not known"),
    ],
)
def test_so_it_is_of_a_query(shared, path, detail):
    assert shared.request("GET", path).json["detail"] == detail


def test_a_body_nested_without_end_is_refused(shared, session):
    raw = b'{"name":"n","data":' + b"[" * 500_000 + b"]" * 500_000 + b"}"
    answer = shared.request("POST", f"/sessions/{session}/emit", raw=raw)
    assert answer.status in (400, 422)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"])
def test_only_json_is_taken(shared, kind):
    answer = shared.request("POST", "/sessions", raw=b'{"agent":"clerk"}', Content_Type=kind)
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    taken = shared.request(
        "POST", "/sessions", raw=b'{"agent":"clerk"}', Content_Type="application/JSON; charset=utf-8"
    )
    assert taken.status == 201


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid"),
        ({"text": "a", "parts": [{"kind": "text", "text": "b"}]}, "invalid"),
        ({"text": ""}, "empty_message"),
        ({"text": " \n"}, "empty_message"),
        ({"parts": []}, "invalid"),
        ({"parts": [{"kind": "smell"}]}, "invalid"),
        ({"text": "a", "mode": "shout"}, "invalid"),
    ],
)
def test_messages_that_say_nothing(shared, session, body, code):
    answer = shared.post(f"/sessions/{session}/messages", body)
    assert (answer.status, answer.code) == (422, code)


def test_requests_in_a_pipeline_are_answered_in_order(shared):
    one = f"GET /health HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {shared.token}\r\n\r\n"
    bodies = [json.dumps({"agent": "clerk", "id": f"pipe{i}"}).encode() for i in range(5)]
    posts = b"".join(head(shared, f"Content-Length: {len(body)}") + body for body in bodies)
    last = one.replace("/health", "/nothing").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
    with shared.socket() as sock:
        sock.sendall(one.encode() + posts + last.encode())
        got = b""
        while piece := sock.recv(65536):
            got += piece
    statuses = re.findall(rb"HTTP/1.1 (\d+)", got)
    assert statuses == [b"200", *[b"201"] * 5, b"404"]


def test_the_same_connection_serves_after_a_refusal(shared):
    connection = shared.connect()
    for path, raw, status in (("/sessions", b"{", 400), ("/nothing", b"{}", 404), ("/agents", None, 200)):
        connection.request("POST" if raw else "GET", path, raw, shared.headers(Content_Type="application/json"))
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()


@pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
def test_an_operation_without_a_body_refuses_one_that_says_something(shared, action):
    path = f"/sessions/{shared.session()}/{action}"
    assert shared.request("POST", path).status == 200
    assert shared.request("POST", path, raw=b"{}").status == 200
    for raw, code in (
        (b"{", "invalid_json"),
        (b"\xff", "invalid_json"),
        (b'{"grace": 5}', "invalid"),
        (b"[]", "invalid"),
        (b" " * (MIB + 1), "too_large"),
    ):
        assert shared.request("POST", path, raw=raw).code == code


@pytest.mark.parametrize("sent", [b"", b'{"agent":'])
def test_a_body_that_does_not_come_ends_the_request(shared, monkeypatch, sent):
    monkeypatch.setattr("roost.server.request_body.BODY_SECONDS", 0.2)
    for path in ("/sessions", "/v1/chat/completions", "/mcp", "/termo/clerk/api/send"):
        with shared.socket() as sock:
            sock.sendall(head(shared, "Content-Length: 1000", path=path) + sent)
            assert answer_of(sock)[0] == 408


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/messages",
        "/mcp",
        "/ag-ui/clerk",
        "/a2a/clerk",
        "/termo/clerk/api/send",
    ],
)
def test_a_body_of_very_many_objects_is_refused_unread(shared, path):
    raw = b'{"model":"clerk","messages":[' + b'{"a":[]},' * 150_000 + b"{}]}"
    answer = shared.request("POST", path, raw=raw)
    assert answer.status == 200 if path == "/a2a/clerk" else answer.status in (400, 422)  # an error of JSON-RPC
    assert b"objects and arrays" in answer.body, answer
