"""A conversation that one provider began goes on at any other, in the midst of a turn too, and back."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from roost.llm.http_model import HttpModel
from roost.llm.ir import Profile, ToolSpec
from roost.llm.wires import WIRES
from roost.log.content import AssistantMessage, Image, Message, Text, Thinking, ToolCall, ToolMessage
from roost.testing.models import ask, completed, user
from roost.testing.provider import ProviderServer
from roost.testing.script import Reply
from roost.testing.scripted import Call

Make = Callable[..., HttpModel]
TOOLS = (ToolSpec("look", "Looks.", {"type": "object", "properties": {"path": {"type": "string"}}}),)
FULL = Reply(
    text="Grüße 😀", thinking="let me think", sealed="c2VhbGVk", calls=(Call("look", {"path": "ä"}), Call("look"))
)


@pytest.mark.parametrize("first", WIRES)
@pytest.mark.parametrize("then", ["openai_responses", "gemini", "glm", "minimax"])
async def test_there_and_back(first: str, then: str, model: Make) -> None:
    profile = Profile(images=True)
    with ProviderServer(lambda _: FULL) as server:
        talk: list[Message] = [user("Hello")]
        for turn, kind in enumerate((first, then, first, then, then, first)):
            end = await completed(model(server.url, kind, profile=profile), ask(*talk, tools=TOOLS))
            talk.append(AssistantMessage(end.parts))
            calls = (part for part in end.parts if isinstance(part, ToolCall))
            talk += [ToolMessage(call.id, "look", (Text("ok"), Image("image/png", "aGk="))) for call in calls]
            if turn % 2:
                talk += [AssistantMessage((Text("so"),)), user("and \ud83d?")]
            assert server.stats.violations == 0, server.stats.reasons
        for kind, other in ((first, then), (then, first)):
            await completed(model(server.url, kind, profile=profile), ask(*talk, tools=TOOLS))
            body = json.dumps(server.provider.bodies[-1])
            assert kind == other or not any(proof in body for proof in proofs(talk, other))


def proofs(talk: list[Message], wire: str) -> list[str]:
    """What the wire's provider alone can read; the sealed reasoning of the stub is the same everywhere."""
    said = (part for message in talk if isinstance(message, AssistantMessage) for part in message.parts)
    signed = (part for part in said if isinstance(part, Thinking) and part.origin == f"{wire}/default")
    return [part.signature for part in signed if part.signature and part.signature != FULL.sealed]
