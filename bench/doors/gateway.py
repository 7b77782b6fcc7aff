"""Clients of doors that call a model and keep no session, and the model's provider."""

from __future__ import annotations

from collections.abc import Mapping

from tests.harness.doors.clients import Client, good
from tests.harness.doors.transport import Cut, Heard, Http, events

from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script

MODEL = "openai/stub"


class Gemini(Client):
    """Sends the request again."""

    async def turn(self, http: Http, text: str) -> str:
        body = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
        heard = good(await http.ask("POST", f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse", body))
        lines = heard.body.replace(b"\r\n", b"\n")
        found = [one for _, one in events(Heard(body=lines))]
        if not found or not found[-1]["candidates"][0].get("finishReason"):
            raise Cut(heard, f"the stream ended with {heard.body[-300:]!r}")
        parts = (part for one in found for part in one["candidates"][0].get("content", {}).get("parts", ()))
        return "".join(part.get("text", "") for part in parts)


GATEWAYS: Mapping[str, type[Client]] = {"gemini": Gemini}


def provider(text: str, pace: float) -> ProviderServer:
    """Return a provider whose answers take as long as those of the agent."""
    return ProviderServer(Script(rules=(Rule(answers=(Reply(text=text, piece=40, pace=pace),)),)))
