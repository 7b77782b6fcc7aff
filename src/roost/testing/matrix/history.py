"""Behaviours of conversations: own reasoning that is sent back unchanged, and histories of another provider."""

from __future__ import annotations

import json
from collections.abc import Iterator

from roost.log.content import AssistantMessage, Image, Message, Text, Thinking
from roost.stub.script import Reply
from roost.testing.matrix.base import behaviour
from roost.testing.matrix.ground import Ground, Place, Subject
from roost.testing.matrix.tools import PICTURE, TOOLS, answered, calls_of
from roost.testing.models import ask, user
from roost.testing.scripted import Call

FULL = Reply(
    text="Grüße 😀",
    thinking="let me think",
    sealed="c2VhbGVk",
    calls=(Call("look", {"path": "ä"}), Call("look", {"path": "b"})),
)


def proofs(messages: list[Message]) -> Iterator[str]:
    for message in messages:
        if isinstance(message, AssistantMessage):
            yield from (part.signature for part in message.parts if isinstance(part, Thinking) and part.signature)


@behaviour()
async def thinking(ground: Ground) -> None:
    """Reasoning comes apart from the text, and in the running turn signed reasoning is sent back unchanged."""
    async with ground.place(FULL) as place:
        for stream in (True, False):
            end = await place.completed(ask(tools=TOOLS, stream=stream, effort="high"))
            assert "let me think" in [part.text for part in end.parts if isinstance(part, Thinking)]
            assert [part.text for part in end.parts if isinstance(part, Text)] == [FULL.text]
            turn: list[Message] = [user("go"), *answered(end)]
            await place.completed(ask(*turn, tools=TOOLS, effort="high"))
            sent = json.dumps(place.sent)
            assert all(proof in sent for proof in proofs(turn))


@behaviour()
async def handover(ground: Ground) -> None:
    """A conversation moves to every other provider in mid-turn, and back; no provider gets reasoning that another one
    signed."""
    for other in ground.others:
        if other.dialect is not ground.subject.dialect and other.dialect.path == ground.subject.dialect.path:
            continue  # the two share a path, so one server speaks only one of them
        async with ground.place(FULL) as place:
            await _hand(place, ground.subject, other)


async def _hand(place: Place, subject: Subject, other: Subject) -> None:
    talk: list[Message] = [user("Hello")]
    for number, now in enumerate((subject, other, subject, other, other, subject)):
        model = place.model(wire=now.wire(), images=True)
        end = await place.completed(ask(*talk, tools=TOOLS), wire=now.wire(), images=True)
        assert len(calls_of(end)) == 2, f"{model!r}"
        said, *results = answered(end)
        talk += [said, *(_with_picture(result) for result in results)]
        if number % 2:
            talk += [AssistantMessage((Text("so"),)), user("and \ud83d?")]
        for_others = [proof for proof in _foreign(talk, now) if proof != FULL.sealed]
        assert not any(proof in json.dumps(place.sent) for proof in for_others)


def _with_picture(result: Message) -> Message:
    import msgspec

    return msgspec.structs.replace(result, parts=(*result.parts, Image("image/png", PICTURE)))


def _foreign(talk: list[Message], subject: Subject) -> Iterator[str]:
    for message in talk:
        if isinstance(message, AssistantMessage):
            for part in message.parts:
                if isinstance(part, Thinking) and part.signature and not (part.origin or "").startswith(subject.name):
                    yield part.signature


@behaviour(live=True)
async def from_another_provider(ground: Ground) -> None:
    """A history with reasoning that other providers signed is accepted, and that reasoning is not sent."""
    said = (Thinking("deep", "other's", "elsewhere/other"), Thinking("", "sealed", "elsewhere/other", redacted=True))
    history = (
        user("1"),
        AssistantMessage((*said, Text("one"))),
        user("2"),
        AssistantMessage((Text("two"),)),
        user("3"),
    )
    async with ground.place(Reply(text="three")) as place:
        assert (await place.completed(ask(*history))).parts
        if place.scripted:
            sent = json.dumps(place.sent)
            assert "other's" not in sent
            assert "sealed" not in sent
