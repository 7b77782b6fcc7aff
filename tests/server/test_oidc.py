"""Tokens of an OpenID provider on loopback: one that rotates its keys, lies, hangs, or is down."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.server.accounts import Tenant
from tests.server.conftest import Serve, Served

from roost.features.accounts import oidc


class Issuer:
    """A provider with a key."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.asked: list[str] = []
        self.broken: bytes | None = None
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                body = issuer.document(self.path)
                self.send_response(200 if body is not None else 404)
                self.send_header("content-length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.rotate("one")

    def rotate(self, id: str, *, keep: bool = False) -> None:
        self.keys = {**(self.keys if keep else {}), id: rsa.generate_private_key(public_exponent=65537, key_size=2048)}
        self.id = id

    def document(self, path: str) -> bytes | None:
        if self.broken is not None:
            return self.broken
        if path == "/.well-known/openid-configuration":
            return json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}).encode()
        if path == "/keys":
            found = [
                json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())) | {"kid": id, "use": "sig"}
                for id, key in self.keys.items()
            ]
            return json.dumps({"keys": found}).encode()
        return None

    def token(self, *, key: Any = None, id: str | None = None, alg: str = "RS256", **claims: Any) -> str:
        now = time.time()
        said = {"iss": self.url, "sub": "1234", "aud": "roost", "exp": now + 3600, "iat": now} | claims
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, key or self.keys[self.id], algorithm=alg, headers={"kid": id or self.id})


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.server.shutdown()
    made.server.server_close()


Trusting = Callable[..., Served]


@pytest.fixture
def served(serve: Serve, issuer: Issuer) -> Served:
    served = serve()
    trusted = served.request("PUT", "/issuers/work", {"issuer": issuer.url, "audience": "roost"})
    assert trusted.status == 200, trusted
    made = served.request("PUT", "/accounts/ann", {"subject": f"{issuer.url} 1234"})
    assert made.status == 200, made
    return served


def status(served: Served, token: str) -> int:
    return Tenant(served, token).request("GET", "/me").status


def test_a_token_of_the_provider_is_its_account(served: Served, issuer: Issuer) -> None:
    ann = Tenant(served, issuer.token())
    assert ann.get("/me")["account"] == "ann"
    assert ann.session().startswith("ann.")
    asked = len(issuer.asked)
    assert [status(served, issuer.token()) for _ in range(5)] == [200] * 5
    assert len(issuer.asked) == asked, "the keys are kept"


def test_tokens_that_do_not_count(served: Served, issuer: Issuer) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = issuer.keys["one"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    now = time.time()
    wrong = {
        "another key": issuer.token(key=other),
        "another user": issuer.token(sub="4321"),
        "no user": issuer.token(sub=None),
        "another audience": issuer.token(aud="elsewhere"),
        "no audience": issuer.token(aud=None),
        "another issuer": issuer.token(iss="https://login.example.com"),
        "no issuer": issuer.token(iss=None),
        "expired": issuer.token(exp=now - 3600),
        "no end": issuer.token(exp=None),
        "not yet": issuer.token(nbf=now + 3600),
        "an algorithm that is not named": issuer.token(alg="PS256"),
        "a key that is not published": issuer.token(id="two"),
        "an elliptic key": issuer.token(key=ec.generate_private_key(ec.SECP256R1()), alg="ES256"),
    }
    head, _, signature = issuer.token().split(".")
    wrong["other claims"] = f"{head}.{issuer.token(sub='4321').split('.')[1]}.{signature}"
    wrong["no signature"] = f"{head}.{issuer.token().split('.')[1]}."
    wrong["the algorithm none"] = jwt.encode({"iss": issuer.url, "sub": "1234", "aud": "roost"}, None, algorithm="none")
    # the published key as a shared secret
    import base64
    import hashlib
    import hmac

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    claims = {"iss": issuer.url, "sub": "1234", "aud": "roost", "exp": now + 3600}
    signed = f"{part(json.dumps({'alg': 'HS256', 'kid': 'one'}).encode())}.{part(json.dumps(claims).encode())}"
    wrong["the public key as a secret"] = f"{signed}.{part(hmac.new(public, signed.encode(), hashlib.sha256).digest())}"
    for what, token in wrong.items():
        assert status(served, token) == 401, what
    assert status(served, issuer.token()) == 200


def test_keys_rotate(served: Served, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "RETRY_SECONDS", 0.0)
    old = issuer.token()
    assert status(served, old) == 200
    issuer.rotate("two", keep=True)
    assert status(served, issuer.token()) == 200
    assert status(served, old) == 200
    issuer.rotate("three")
    assert status(served, issuer.token()) == 200
    assert status(served, old) == 401, "its key is withdrawn"


def test_unknown_keys_are_asked_for_now_and_then(served: Served, issuer: Issuer) -> None:
    assert status(served, issuer.token()) == 200
    asked = len(issuer.asked)
    assert [status(served, issuer.token(id=f"k{number}")) for number in range(20)] == [401] * 20
    assert len(issuer.asked) <= asked + 2


def test_a_provider_that_is_down(served: Served, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "RETRY_SECONDS", 0.0)
    issuer.broken = b"<html>"
    refused = Tenant(served, issuer.token()).request("GET", "/me")
    assert (refused.status, refused.code) == (503, "issuer_unreachable")
    issuer.broken = None
    assert status(served, issuer.token()) == 200
    issuer.broken = b"x" * 1_000_000
    monkeypatch.setattr(oidc, "FRESH_SECONDS", 0.0)
    assert status(served, issuer.token()) == 200, "the keys that are known are used meanwhile"
    assert served.get("/me")["account"] is None, "the home's token needs no provider"


def test_a_configuration_of_another_provider(served: Served, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer.broken = json.dumps({"issuer": "https://evil.example.com", "jwks_uri": f"{issuer.url}/keys"}).encode()
    assert status(served, issuer.token()) == 503


def test_a_provider_that_is_trusted_no_more_ends_its_streams(served: Served, issuer: Issuer) -> None:
    ann = Tenant(served, issuer.token())
    session = ann.session()
    with ann.stream("GET", f"/sessions/{session}/events?after=0") as stream:
        events = iter(stream)
        assert next(events).kind == "session.created"
        assert served.request("DELETE", "/issuers/work").status == 204
        assert [event.kind for event in events][-1] == "problem"
    assert status(served, issuer.token()) == 401


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("issuer", "http://login.example.com"),
        ("issuer", "ftp://x"),
        ("issuer", "https://user:word@login.example.com"),
        ("keys", "http://169.254.169.254/keys"),
        ("algorithms", ["HS256"]),
        ("algorithms", ["none"]),
        ("algorithms", []),
        ("audience", ""),
    ],
)
def test_providers_that_are_refused(serve: Serve, field: str, value: object) -> None:
    served = serve()
    body = {"issuer": "https://login.example.com", "audience": "roost", field: value}
    assert served.request("PUT", "/issuers/work", body).status == 422


def test_one_user_has_one_account(served: Served, issuer: Issuer) -> None:
    taken = served.request("PUT", "/accounts/bob", {"subject": f"{issuer.url} 1234"})
    assert (taken.status, taken.code) == (409, "subject_taken")
