"""Identify a client by a signed assertion (RFC 7523, `private_key_jwt`) instead of a secret."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec

from roost.features.mcp.messages import ServerFailed

KIND = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_SECONDS = 120.0


def is_key(secret: str) -> bool:
    """Whether a secret is a private key, which signs and is never sent."""
    return secret.lstrip().startswith("-----BEGIN ") and "PRIVATE KEY-----" in secret[:80]


def assertion(client: str, audience: str, pem: str) -> str:
    """Return an assertion of a client for an authorization server. pem: a key of RSA, or of EC on P-256. Raises
    `ServerFailed` for any other key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.strip().encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ServerFailed("oauth.client_secret: a PEM of a private key without a password is expected") from None
    now = int(time.time())
    claims = {"iss": client, "sub": client, "aud": audience, "iat": now, "exp": now + int(_SECONDS)}
    name, sign = _signer(key)
    head = {"alg": name, "typ": "JWT"}
    said = f"{_part(head)}.{_part({**claims, 'jti': secrets.token_urlsafe(16)})}"
    return f"{said}.{_text(sign(said.encode()))}"


def _signer(key: Any) -> tuple[str, Callable[[bytes], bytes]]:
    """Return the name of the algorithm of a key, and what signs by it."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    if isinstance(key, rsa.RSAPrivateKey):

        def sign_rsa(said: bytes) -> bytes:
            return key.sign(said, padding.PKCS1v15(), hashes.SHA256())

        return "RS256", sign_rsa
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1":

        def sign(said: bytes) -> bytes:
            r, s = decode_dss_signature(key.sign(said, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")

        return "ES256", sign
    raise ServerFailed("oauth.client_secret: the key of a client is of RSA, or of EC on P-256")


def _part(value: dict[str, Any]) -> str:
    return _text(msgspec.json.encode(value))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
