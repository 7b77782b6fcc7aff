"""Agent cards of A2A: their address behind a proxy, their signature as the official library checks it, the extended
card."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.doors.test_a2a import BINDINGS, connected, echo, rpc
from tests.server.conftest import look

from roost.agent.definition import Agent
from roost.testing.scripted import ScriptedModel

signing = pytest.importorskip("a2a.utils.signing")
a2a_pb2 = pytest.importorskip("a2a.types.a2a_pb2")
json_format = pytest.importorskip("google.protobuf.json_format")
jwk = pytest.importorskip("jwt.api_jwk")
PUBLIC = "https://agents.example.com/roost"


def card_of(served: Any, agent: str = "clerk", **headers: str) -> Any:
    return served.get(f"/a2a/{agent}/.well-known/agent-card.json", **headers)


def check(served: Any, card: Any) -> None:
    """As a client does that follows `jku`."""
    found = json_format.ParseDict(card, a2a_pb2.AgentCard())

    def key(kid: str | None, jku: str | None) -> Any:
        assert jku == f"{PUBLIC}/a2a/jwks.json"
        (known,) = served.get("/a2a/jwks.json")["keys"]
        assert known["kid"] == kid
        return jwk.PyJWK(known)

    signing.create_signature_verifier(key, ["ES256"])(found)


def test_a_card_is_signed_for_the_public_address(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_PUBLIC_URL", PUBLIC + "/")
    agent = Agent("clerk", description='Räumt auf – "schnell" \\ 漢字 🦉\n', model=ScriptedModel(echo), tools=[look])
    served = serve(agents=[agent])
    card = card_of(served, Host=f"localhost:{served.port}")
    assert {one["url"] for one in card["supportedInterfaces"]} == {f"{PUBLIC}/a2a/clerk"}
    check(served, card)
    assert card == card_of(served), "signed once"
    for name, value in (("description", "another"), ("skills", []), ("name", "boss")):
        with pytest.raises(signing.InvalidSignaturesError):
            check(served, {**card, name: value})
    (listed,) = served.get("/a2a")["agents"]
    check(served, listed)
    assert "d" not in served.get("/a2a/jwks.json")["keys"][0], "the private part"


def test_the_key_stays_over_a_restart(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_PUBLIC_URL", PUBLIC)
    served = serve(ScriptedModel(echo))
    card, keys = card_of(served), served.get("/a2a/jwks.json")
    served.stop()
    again = serve(ScriptedModel(echo), home=served.home)
    assert again.get("/a2a/jwks.json") == keys
    check(again, card)


def test_without_a_public_address_nothing_is_signed(serve: Any) -> None:
    """A client names the host of the address: nobody gets a signature for any."""
    served = serve(ScriptedModel(echo))
    card = card_of(served, Host=f"localhost:{served.port}")
    assert "signatures" not in card
    assert served.get("/a2a/jwks.json") == {"keys": []}


@pytest.mark.parametrize("url", ["agents.example.com", "ftp://x", "https://", "https://u:p@x", "https://x/?a=b"])
def test_a_bad_public_address_is_an_error(serve: Any, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("ROOST_PUBLIC_URL", url)
    served = serve(ScriptedModel(echo))
    refused = served.request("GET", "/a2a/clerk/.well-known/agent-card.json")
    assert refused.status == 400
    assert "ROOST_PUBLIC_URL" in json.loads(refused.body)["error"]["message"]


@pytest.mark.parametrize("binding", BINDINGS)
async def test_the_extended_card_has_the_tools(serve: Any, binding: str) -> None:
    served = serve(agents=[Agent("clerk", model=ScriptedModel(echo), tools=[look, "read_file"])])
    assert card_of(served)["capabilities"]["extendedAgentCard"] is True
    async with connected(served, "clerk", binding, streaming=False) as client:
        card = await client.get_extended_agent_card(a2a_pb2.GetExtendedAgentCardRequest())
        assert [one.id for one in card.skills] == ["clerk", "tool:look", "tool:read_file"]
    assert rpc(served, "GetExtendedAgentCard", {}, A2A_Version="0.3")["error"]["code"] == -32009
