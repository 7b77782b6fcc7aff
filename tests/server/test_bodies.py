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
            while time.monotonic() - started < 15:
                sock.sendall(chunk)
                sent += 65536
        except OSError:
            pass
        assert time.monotonic() - started < 15, "nobody stopped it"
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
