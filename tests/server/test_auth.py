"""Who may speak to the daemon."""

from __future__ import annotations

import http.client
import json
import stat
import time
from pathlib import Path

import pytest

from roost.errors import ConfigError
from roost.server.auth import host_name, is_loopback
from roost.server.daemon import Options

OPEN = ["/health", "/openapi.json"]
CLOSED = [("GET", "/agents"), ("GET", "/sessions"), ("POST", "/shutdown"), ("GET", "/sessions/x"), ("GET", "/nothing")]


def status(served, method="GET", path="/agents", **headers):
    connection = served.connect()
    try:
        connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_token_is_wanted_everywhere_but_for_health_and_the_document(serve):
    served = serve()
    for path in OPEN:
        assert status(served, path=path)[0] == 200
    for method, path in CLOSED:
        code, headers, body = status(served, method, path)
        assert code == 401
        assert headers["www-authenticate"].startswith("Bearer")
        assert b'"code":"unauthorized"' in body
    assert served.get("/health")["status"] == "ok"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic {token}",
        "{token}",
        "Bearer {token}x",
        "Bearer x{token}",
        "Bearer \xff\xfe",
    ],
)
def test_anything_but_the_token_is_refused(shared, given):
    served = shared
    assert status(served, Authorization=given.format(token=served.token))[0] == 401


def test_the_token_is_made_once_and_only_its_owner_can_read_it(serve):
    served = serve()
    path = served.home / "token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(served.token) >= 32
    assert status(served, Authorization=f"bearer  {served.token} ")[0] == 200
    served.stop()
    assert serve().token == served.token


def test_a_chosen_token_counts_instead_of_the_homes(serve):
    served = serve(token="chosen")
    assert status(served, Authorization="Bearer chosen")[0] == 200
    assert not (served.home / "token").exists()


@pytest.mark.parametrize("start", [b"GET /agents HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ", b"GET /"])
def test_a_head_without_end_is_cut_before_it_costs_anything(serve, start):
    served = serve()
    sent = 0
    with served.socket() as sock:
        try:
            sock.sendall(start)
            while sent < 64 * 1024 * 1024:
                sent += sock.send(b"x" * 65536)
        except OSError:
            pass
    assert sent < 8 * 1024 * 1024
    assert served.get("/health")["status"] == "ok"


def test_a_head_that_is_too_large_hears_so(serve):
    served = serve()
    with served.socket() as sock:
        sock.sendall(b"GET /agents HTTP/1.1\r\nHost: localhost\r\nA: " + b"x" * 65536)
        time.sleep(0.1)
        sock.sendall(b"x")
        assert problem_on(sock) == (431, "head_too_large")


def problem_on(sock):
    """The status and the code of the problem document that comes; the connection ends with it."""
    response = http.client.HTTPResponse(sock)
    response.begin()
    assert response.headers["content-type"] == "application/problem+json"
    code = json.loads(response.read())["code"]
    assert sock.recv(1) == b""
    return response.status, code


@pytest.mark.parametrize(
    "sent",
    [
        b"no http at all\r\n\r\n",
        b"get /agents HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /agents HTTP/1.1\r\nHost: localhost\r\nA: \0\r\n\r\n",
        b"POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_not_http_gets_a_problem_document(shared, sent):
    with shared.socket() as sock:
        sock.sendall(sent)
        assert problem_on(sock) == (400, "invalid_http")


def test_a_client_that_goes_on_writing_reads_the_refusal(shared):
    with shared.socket() as sock:
        sock.sendall(b"GET /agents HTTP/1.1\r\nHost: localhost\r\nA: " + b"x" * 100_000)
        time.sleep(0.05)
        sock.sendall(b"x" * 100_000)
        assert problem_on(sock) == (431, "head_too_large")


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST", "localhost:1", "127.0.0.1:99", "[::1]:5"]
)
def test_loopback_names_are_accepted(shared, host):
    served = shared
    assert status(served, Host=host, Authorization=f"Bearer {served.token}")[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:80",
        "evil@127.0.0.1",
        "10.0.0.1",
        "[::1",
        "",
        "localhost:x",
    ],
)
def test_other_names_are_refused_even_with_the_token(shared, host):
    served = shared
    for path in ("/agents", "/health"):
        code, _, body = status(served, path=path, Host=host, Authorization=f"Bearer {served.token}")
        assert code == 403
        assert b'"code":"forbidden_host"' in body


@pytest.mark.parametrize(
    ("origin", "fits"),
    [
        ("http://localhost:PORT", True),
        ("http://127.0.0.1:PORT", True),
        ("http://[::1]:PORT", True),
        ("http://localhost:3000", False),
        ("http://127.0.0.1:1", False),
        ("http://127.0.0.1", False),
        ("https://evil.example", False),
        ("https://evil.example:PORT", False),
        ("null", False),
        ("http://[", False),
    ],
)
def test_pages_of_other_sites_are_refused(shared, origin, fits):
    served = shared
    origin = origin.replace("PORT", str(served.port))
    code, _, body = status(served, Origin=origin, Authorization=f"Bearer {served.token}")
    assert code == (200 if fits else 403)
    assert fits or b"forbidden_origin" in body


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
@pytest.mark.parametrize(("token", "allow"), [(None, False), (None, True), ("chosen", False)])
def test_a_public_address_must_be_meant(serve, host, token, allow):
    with pytest.raises(ConfigError, match=r"--allow-public|--token") as caught:
        serve(host=host, token=token, allow_public=allow)
    assert caught.value.code == "public_bind"


def test_a_token_for_a_public_address_is_not_guessed(serve):
    with pytest.raises(ConfigError, match="openssl rand -hex 32") as caught:
        serve(host="0.0.0.0", token="f" * 15, allow_public=True)
    assert caught.value.code == "weak_token"


def test_a_shared_folder_is_there(serve, tmp_path):
    with pytest.raises(ConfigError, match="--shared-folder"):
        serve(shared_folders=(tmp_path, tmp_path / "typo"))


def test_who_is_asked_is_said_once(shared):
    with shared.socket() as raw:
        raw.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        answer = raw.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"two_hosts" in answer


def test_a_public_address_that_is_meant_answers_to_any_name_but_wants_the_token(serve):
    served = serve(host="0.0.0.0", token="chosen-by-nobody", allow_public=True)
    assert served.url.startswith("http://127.0.0.1:")
    assert status(served, Host="roost.example", Authorization="Bearer chosen-by-nobody")[0] == 200
    assert status(served, Host="roost.example")[0] == 401
    here = {"Host": "roost.example", "Authorization": "Bearer chosen-by-nobody"}
    assert status(served, **here, Origin="https://roost.example")[0] == 200
    assert status(served, **here, Origin="https://evil.example")[0] == 403


@pytest.mark.parametrize("token", ["", " ", "two words ", "ümlaut", "line\nbreak"])
def test_a_token_that_no_header_can_carry_is_refused(serve, token):
    with pytest.raises(ConfigError, match="token"):
        serve(token=token)


def test_options_from_the_environment(monkeypatch):
    for name, value in {"ROOST_HOME": "/h", "ROOST_PORT": "0", "ROOST_TOKEN": "t"}.items():
        monkeypatch.setenv(name, value)
    assert Options.from_environment(token="given") == Options(home=Path("/h"), port=0, token="given")
    monkeypatch.setenv("ROOST_PORT", "many")
    with pytest.raises(ConfigError, match="port"):
        Options.from_environment()


def test_names_of_hosts():
    assert [host_name(h) for h in ("A:1", "[::1]:2", "a.", "a:b", "[::1]x2")] == ["a", "::1", "a", "", ""]
    assert is_loopback("127.8.9.1")
    assert is_loopback("::1")
    assert not is_loopback("localhost.example")


def test_a_page_cannot_ask_for_permission_first(shared):
    connection: http.client.HTTPConnection = shared.connect()
    connection.request("OPTIONS", "/agents", headers={"Origin": "https://evil.example"})
    response = connection.getresponse()
    assert response.status == 403
    assert "access-control-allow-origin" not in response.headers
    connection.close()
