"""A client's signed assertion, as an authorization server reads it."""

from __future__ import annotations

import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from roost.features.mcp.client_assertion import assertion, is_key
from roost.features.mcp.messages import ServerFailed


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_a_server_verifies_who_the_client_is(algorithm: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else rsa.generate_private_key(65537, 2048)
    assert is_key(pem(key))
    one, two = (assertion("me", "https://as.example", pem(key)) for _ in range(2))
    found = jwt.decode(one, key.public_key(), algorithms=[algorithm], audience="https://as.example")
    assert (found["iss"], found["sub"]) == ("me", "me")
    assert time.time() < found["exp"] < time.time() + 300
    assert found["jti"] != jwt.decode(two, options={"verify_signature": False})["jti"]


def test_what_is_no_key_is_told_from_one() -> None:
    assert not is_key("a-secret")
    for wrong in (
        "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----",
        pem(ec.generate_private_key(ec.SECP384R1())),
    ):
        with pytest.raises(ServerFailed, match=r"oauth\.client_secret"):
            assertion("me", "https://as.example", wrong)
