"""Agent cards: what an agent is and where it is reached, signed where the operator has named a public address."""

from __future__ import annotations

import base64
import json
import os
from functools import lru_cache
from typing import Any, cast
from urllib.parse import urlsplit

from starlette.types import Scope

from roost.agent.definition import Agent
from roost.errors import ConfigError
from roost.log.coordination import Coordination
from roost.server.request_body import header
from roost.version import version

PUBLIC_URL = "ROOST_PUBLIC_URL"
_SETTING = "a2a_card_key"
_BINDINGS = ("JSONRPC", "HTTP+JSON")
_KEY_ID = "roost"


def public_url() -> str | None:
    """Return the address under which clients reach the daemon, if the operator named one. Raises `ConfigError`."""
    given = os.environ.get(PUBLIC_URL, "").rstrip("/")
    if not given:
        return None
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or "@" in given:
        raise ConfigError(f"{PUBLIC_URL}={given!r} is no address such as https://agents.example.com")
    return given


def base_url(scope: Scope) -> str:
    """Return the address of this daemon: the public one, or that by which the client came."""
    return public_url() or f"{scope['scheme']}://{header(scope, b'host') or 'localhost'}"


class Cards:
    """Makes cards, and signs them by the store's key: the first node that signs makes it."""

    def __init__(self, shared: Coordination) -> None:
        self._shared = shared
        self._key: str | None = None

    async def card(self, agent: Agent, scope: Scope, *, extended: bool = False) -> dict[str, Any]:
        """Return the card of an agent. extended: with its tools. Signed if there is a public address: otherwise the
        client names the host, and nobody should get a signature for any."""
        card = _card(agent, base_url(scope), extended=extended)
        if public_url() is None:
            return card
        return {**card, "signatures": [_signature(await self._private(), base_url(scope), _canonical(card))]}

    async def keys(self) -> dict[str, Any]:
        """Return the public key, as a JWK Set; it is empty when nothing is signed."""
        if public_url() is None:
            return {"keys": []}
        return {"keys": [_public(await self._private())]}

    async def _private(self) -> str:
        if self._key is None:
            self._key = await self._shared.setting(_SETTING) or await self._shared.setting(_SETTING, _new_key())
        assert self._key is not None
        return self._key


def _card(agent: Agent, base: str, *, extended: bool) -> dict[str, Any]:
    what = agent.description or f"The agent {agent.name}."
    skills = [{"id": agent.name, "name": agent.name, "description": what, "tags": ["roost"]}]
    if extended:
        skills += [
            {"id": f"tool:{name}", "name": name, "description": f"{agent.name} may use {name}.", "tags": ["tool"]}
            for name in agent.tools
        ]
    return {
        "name": agent.name,
        "description": what,
        "version": version(),
        "supportedInterfaces": [
            {"url": f"{base}/a2a/{agent.name}", "protocolBinding": one, "protocolVersion": "1.0"} for one in _BINDINGS
        ],
        "capabilities": {"streaming": True, "pushNotifications": True, "extendedAgentCard": True},
        "securitySchemes": {"token": {"httpAuthSecurityScheme": {"scheme": "Bearer"}}},
        "securityRequirements": [{"schemes": {"token": {"list": []}}}],
        "defaultInputModes": ["text/plain", "application/json", "image/*", "audio/*", "application/pdf"],
        "defaultOutputModes": ["text/plain"],
        "skills": skills,
    }


def _canonical(card: dict[str, Any]) -> bytes:
    """Return the bytes that are signed: without empty values, in the order and form of RFC 8785. A card has no numbers
    that are not whole, and its keys are ASCII."""
    return json.dumps(_filled(card), ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _filled(value: Any) -> Any:
    """Return a value without the empty texts, lists and objects in it; None if nothing is left."""
    if isinstance(value, dict):
        named = [(name, _filled(one)) for name, one in cast("dict[str, Any]", value).items()]
        return {name: one for name, one in named if one is not None} or None
    if isinstance(value, list):
        return [one for one in map(_filled, cast("list[Any]", value)) if one is not None] or None
    return None if value == "" else value


def _new_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


@lru_cache(4)
def _loaded(pem: str) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return load_pem_private_key(pem.encode(), None)


@lru_cache(256)
def _signature(pem: str, base: str, card: bytes) -> dict[str, str]:
    """Return a JWS without its payload, by ES256."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    head = {"alg": "ES256", "jku": f"{base}/a2a/jwks.json", "kid": _KEY_ID, "typ": "JOSE"}
    protected = _base64(json.dumps(head, separators=(",", ":")).encode())
    signed = _loaded(pem).sign(f"{protected}.{_base64(card)}".encode(), ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(signed)
    return {"protected": protected, "signature": _base64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))}


def _public(pem: str) -> dict[str, str]:
    numbers = _loaded(pem).public_key().public_numbers()
    x, y = (_base64(one.to_bytes(32, "big")) for one in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig", "alg": "ES256", "kid": _KEY_ID}


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
