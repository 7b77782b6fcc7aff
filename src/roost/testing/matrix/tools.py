"""Behaviours of calls and results, and of pictures."""

from __future__ import annotations

import json
from typing import Any

from roost.log.content import AssistantMessage, Image, Message, Text, ToolCall, ToolMessage, UserMessage
from roost.models.request import CallDelta, Completed, ToolSpec
from roost.stub.script import Reply
from roost.testing.matrix.base import behaviour
from roost.testing.matrix.ground import Ground, NotHere
from roost.testing.models import ask, user
from roost.testing.scripted import Call

PATH = {"type": "object", "properties": {"path": {"type": "string"}}}
TOOLS = (ToolSpec("look", "Looks at a file.", PATH), ToolSpec("go", "Goes somewhere.", PATH))
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A PNG of one pixel."""
DEEP = 60
"""Levels of nested arguments; known servers refuse from about 100 on."""


def calls_of(end: Completed) -> list[ToolCall]:
    return [part for part in end.parts if isinstance(part, ToolCall)]


def answered(end: Completed, text: str = "ok") -> list[Message]:
    """Return the answer, and a result for each of its calls."""
    results = (ToolMessage(call.id, call.name, (Text(text),)) for call in calls_of(end))
    return [AssistantMessage(end.parts), *results]


@behaviour()
async def calls(ground: Ground) -> None:
    """A call's name, its arguments in pieces, the stop reason; and its result is sent back."""
    arguments = {"path": "ä/b c", "n": [1, None, 2.5, True]}
    async with ground.place(Reply(text="let me see", calls=(Call("look", arguments),), piece=5)) as place:
        for stream in (True, False):
            events, end = await place.run(ask(tools=TOOLS, stream=stream))
            assert isinstance(end, Completed), end
            (call,) = calls_of(end)
            assert (call.name, json.loads(call.arguments), end.stop) == ("look", arguments, "tool_calls")
            deltas = [event for event in events if isinstance(event, CallDelta)]
            assert {delta.index for delta in deltas} == {0}
            assert json.loads("".join(delta.arguments for delta in deltas)) == arguments
            assert [delta.name for delta in deltas if delta.name] == ["look"]
            await place.completed(ask(user("go"), *answered(end, "the result"), tools=TOOLS))
            assert "the result" in json.dumps(place.sent)


@behaviour()
async def parallel_calls(ground: Ground) -> None:
    """Several calls at once, two of them equal: own ids, own arguments; results in another order than the calls."""
    made = (Call("look", {"path": "a"}), Call("look", {"path": "a"}), Call("go", {"path": "b"}))
    async with ground.place(Reply(calls=made, piece=3)) as place:
        for stream in (True, False):
            end = await place.completed(ask(tools=TOOLS, stream=stream))
            found = calls_of(end)
            assert [(call.name, json.loads(call.arguments)["path"]) for call in found] == [
                ("look", "a"), ("look", "a"), ("go", "b"),
            ]  # fmt: skip
            assert len({call.id for call in found}) == 3
            said, *results = answered(end)
            again = await place.completed(ask(user("go"), said, *reversed(results), tools=TOOLS))
            assert not {call.id for call in calls_of(again)} & {call.id for call in found}


@behaviour()
async def call_without_arguments(ground: Ground) -> None:
    async with ground.place(Reply(calls=(Call("look", ""),))) as place:
        for stream in (True, False):
            end = await place.completed(ask(tools=TOOLS, stream=stream))
            (call,) = calls_of(end)
            assert json.loads(call.arguments) == {}
            await place.completed(ask(user("go"), *answered(end), tools=TOOLS))


@behaviour()
async def huge_arguments(ground: Ground) -> None:
    """A megabyte of arguments, and many levels, survive in both directions."""
    nested: Any = "end"
    for _ in range(DEEP):
        nested = {"in": nested}
    big: dict[str, Any] = {"data": 'ä\n"' * 250_000, "nested": nested}
    async with ground.place(Reply(calls=(Call("look", big),), piece=40_000)) as place:
        for stream in (True, False):
            end = await place.completed(ask(tools=TOOLS, stream=stream))
            (call,) = calls_of(end)
            assert json.loads(call.arguments) == big
            await place.completed(ask(user("go"), *answered(end, "x" * 1_000_000), tools=TOOLS))
            assert len(json.dumps(place.sent)) > 2_000_000


@behaviour(live=True)
async def call_without_result(ground: Ground) -> None:
    """A call without output, a failed and an interrupted one have a result that every server accepts."""
    made = tuple(ToolCall(f"c{number}", "look", "{}") for number in range(4))
    results = (
        ToolMessage("c0", "look", ()),
        ToolMessage("c1", "look", (Text(""),)),
        ToolMessage("c2", "look", (), error=True),
        ToolMessage("c3", "look", (Text("[interrupted: it is not known whether this call took effect]"),), error=True),
    )
    async with ground.place(Reply(text="I see.")) as place:
        for tail in ((), (user("What did you find?"),)):
            messages = (user("Look."), AssistantMessage(made), *results, *tail)
            assert (await place.completed(ask(*messages, tools=TOOLS))).parts


@behaviour(live=True)
async def odd_calls_in_the_past(ground: Ground) -> None:
    """Ids, names and arguments that another provider allowed are accepted in a history."""
    made = (
        ToolCall("functions.f:0", "rm -rf /", "{bad"),
        ToolCall("x" * 300, "1g", "[1]"),
        ToolCall("ü", "n" * 200, ""),
    )
    results = [ToolMessage(call.id, call.name, (Text("no"),), error=True) for call in made]
    async with ground.place(Reply(text="I see.")) as place:
        messages = (user("Look."), AssistantMessage(made), *results, AssistantMessage((Text("so"),)), user("and?"))
        assert (await place.completed(ask(*messages, tools=TOOLS))).parts


@behaviour(live=True)
async def images(ground: Ground) -> None:
    """Pictures of the user and of a tool are sent to a model that sees; another model gets their names."""
    picture = Image("image/png", PICTURE, name="dot.png")
    seen = UserMessage((Text("What is this?"), picture))
    call = AssistantMessage((ToolCall("c1", "look", "{}"),))
    turn = (seen, call, ToolMessage("c1", "look", (Text("this:"), picture)))
    if ground.real is not None and not ground.real.profile.images:
        raise NotHere("the model does not see")
    async with ground.place(Reply(text="A dot.")) as place:
        assert (await place.completed(ask(*turn, tools=TOOLS), images=True)).parts
        if place.scripted:
            assert PICTURE in json.dumps(place.sent)
            await place.completed(ask(*turn, tools=TOOLS), images=False)
            sent = json.dumps(place.sent)
            assert PICTURE not in sent
            assert sent.count("dot.png") == 2
