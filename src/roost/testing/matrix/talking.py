"""Behaviours of text: streamed and whole, any characters, usage and cost."""

from __future__ import annotations

import asyncio
import json

from roost.log.content import AssistantMessage, Text, Thinking, ToolCall, ToolMessage, Usage
from roost.models.profile import Price
from roost.models.request import Completed, TextDelta
from roost.stub.script import Reply, Rule, Script
from roost.testing.matrix.base import behaviour
from roost.testing.matrix.ground import Ground, NotHere
from roost.testing.models import ask, user

LETTERS = "Grüße, 世界! 😀👩‍👩‍👧 שלום 𝔘𝔫𝔦 \u001f\u2028\u2029 \\u00e9 \"quoted\" 'so' <b>&amp;</b> \ufeff\r\n\tend"
HALF = "\ud83d"


@behaviour(live=True)
async def text(ground: Ground) -> None:
    """The deltas add up to the whole answer, and there is one end."""
    said = "One thing after the other, and then nothing more. " * 4
    async with ground.place(Reply(text=said, piece=7)) as place:
        events, end = await place.run(ask(user("Say a sentence.")))
        assert isinstance(end, Completed), end
        whole = "".join(part.text for part in end.parts if isinstance(part, Text))
        pieces = [event.text for event in events if isinstance(event, TextDelta)]
        assert "".join(pieces) == whole
        assert whole
        if place.scripted:
            assert (whole, end.stop) == (said, "end")
            assert len(pieces) == -(-len(said) // 7)


@behaviour(live=True)
async def batch(ground: Ground) -> None:
    """Without streaming the same answer comes in one document."""
    async with ground.place(Reply(text="all at once", thinking="hm", usage=Usage(30, 20, 10, thinking=5))) as place:
        end = await place.completed(ask(user("Say a sentence."), stream=False))
        assert any(isinstance(part, Text) and part.text for part in end.parts)
        if place.scripted:
            assert "true" not in json.dumps(place.sent.get("stream", False))
            streamed = await place.completed(ask(user("Say a sentence.")))
            assert _shown(streamed) == _shown(end)
            assert (streamed.stop, streamed.usage) == (end.stop, end.usage)


def _shown(end: Completed) -> list[str]:
    return [part.text for part in end.parts if isinstance(part, Text | Thinking) and part.text]


@behaviour(live=True)
async def unicode(ground: Ground) -> None:
    """Any characters survive in both directions, wherever the answer is cut: here after every third byte."""
    thought = LETTERS if ground.has("thinking") else ""
    answers = (Reply(text=LETTERS, thinking=thought, piece=1),)
    async with ground.place(Script(rules=(Rule(answers=answers),), chunk=3)) as place:
        history = (user(LETTERS), AssistantMessage((Text(LETTERS),)), user(LETTERS + " Go on."))
        end = await place.completed(ask(*history, context=(LETTERS,)))
        if place.scripted:
            assert _shown(end) == [LETTERS] * (2 if thought else 1)
            assert json.dumps(place.sent).count(json.dumps(LETTERS)[1:-1]) >= 4


@behaviour(live=True)
async def surrogates(ground: Ground) -> None:
    """Lone surrogates, which UTF-8 cannot carry, are replaced everywhere."""
    call = ToolCall("c1", "look", json.dumps({"path": f"a{HALF}", HALF: 1}))
    raw = ToolCall("c2", "look", '{"path": "b' + HALF + '"}')
    results = (ToolMessage("c1", "look", (Text(f"seen {HALF}"),)), ToolMessage("c2", "look", (Text(HALF),), error=True))
    history = (user(f"What? {HALF}"), AssistantMessage((Text(HALF), call, raw)), *results, user(f"and {HALF}?"))
    async with ground.place(Reply(text="fine")) as place:
        end = await place.completed(ask(*history, context=(HALF,), constraints=(HALF,)))
        assert end.parts
        if place.scripted:
            sent = json.dumps(place.sent)
            assert "\\ufffd" in sent
            assert "seen \\ufffd" in sent


@behaviour(live=True)
async def stop(ground: Ground) -> None:
    """An answer ends before a stop word, streamed or not."""
    async with ground.place(Reply(text="one two three four", piece=3)) as place:
        for stream in (True, False):
            events, end = await place.run(ask(user("Count to ten in English words."), stop=("three",), stream=stream))
            assert isinstance(end, Completed), end
            said = "".join(part.text for part in end.parts if isinstance(part, Text))
            shown = "".join(event.text for event in events if isinstance(event, TextDelta))
            assert shown == said
            assert "three" not in said
            if place.scripted:
                assert said.rstrip() == "one two"
    if place.scripted:
        await _nearly_stopped(ground)


async def _nearly_stopped(ground: Ground) -> None:
    """Text that ends like the beginning of a stop word is shown in the end, wherever the answer is cut."""
    text = "one thr thre"
    sizes = iter(range(1, len(text) + 1))
    async with ground.place(lambda body: Reply(text=text, piece=next(sizes))) as place:
        for number in range(len(text)):
            events, end = await place.run(ask(stop=("three",), stream=number > 0))
            assert isinstance(end, Completed), end
            assert _shown(end) == [text]
            assert "".join(event.text for event in events if isinstance(event, TextDelta)) == text


@behaviour(live=True)
async def usage(ground: Ground) -> None:
    """Tokens as the provider counts them, cached and thinking ones too, and their cost."""
    cached = 400 if ground.has("cached") else 0
    spent = Usage(1000, 50, cached, thinking=9)
    price = Price(input=3000, output=15000, cached=300)
    async with ground.place(Reply(text="hi", thinking="hm", usage=spent)) as place:
        for stream in (True, False):
            end = await place.completed(ask(stream=stream), price=price)
            found = end.usage
            if not place.scripted and not found.input:
                raise NotHere("the server does not count")
            assert found.input > 0
            assert found.output > 0
            if place.scripted:
                assert (found.input, found.output, found.cached) == (1000, 50, cached)
                assert found.thinking in (0, 9)
                assert found.cost == price.cost(found) == (1000 - cached) * 3000 + cached * 300 + 50 * 15000
                unknown = await place.completed(ask(stream=stream))
                assert unknown.usage.cost is None


@behaviour(live=True)
async def many_at_once(ground: Ground) -> None:
    """Concurrent calls of one model do not mix."""
    async with ground.place(Script(delay=(0.0, 0.05), chunk=11)) as place:
        count = 16 if place.scripted else 3

        async def one(number: int) -> None:
            _, end = await place.run(ask(user(f"number {number}.")))
            assert isinstance(end, Completed), end
            if place.scripted:
                assert end.parts == (Text(f"You said: number {number}."),)

        await asyncio.gather(*map(one, range(count)))
