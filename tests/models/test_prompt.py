"""Compilers, knobs and prices: what a prompt is made of, and that a longer conversation keeps the caches warm."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.errors import ConfigError
from roost.log.content import (
    AssistantMessage,
    Image,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    Usage,
)
from roost.models.compile import FAMILIES, compiler
from roost.models.compile.default import COMPILER
from roost.models.knobs import turn
from roost.models.profile import Knob, Tier
from roost.models.request import Price, Profile, ToolSpec
from roost.models.wire import Endpoint
from roost.models.wires import WIRES, wire
from roost.testing.models import ask, user
from roost.testing.transcript import check_transcript

TEXTS = st.text(max_size=12)
CALLS = st.lists(st.tuples(st.sampled_from(["look", "go"]), st.sampled_from(["{}", '{"a":1}', "{bad"])), max_size=3)
SAYS = st.tuples(TEXTS, st.booleans(), CALLS)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Any valid one that a model may be asked to go on with."""
    messages: list[Message] = [user(draw(TEXTS))]
    for turn_at, (text, thinks, calls) in enumerate(draw(st.lists(SAYS, max_size=6))):
        made = tuple(ToolCall(f"c{turn_at}_{at}", name, arguments) for at, (name, arguments) in enumerate(calls))
        thinking = (Thinking("hm", "sig", "anthropic/default"),) if thinks else ()
        messages.append(AssistantMessage((*thinking, Text(text or "ok"), *made)))
        messages += [ToolMessage(call.id, call.name, (Text(text), Image("image/png", "aGk="))) for call in made]
        if not made or draw(st.booleans()):
            messages.append(user(draw(TEXTS)))
    return tuple(messages)


def cuts(messages: tuple[Message, ...]) -> list[int]:
    """How many messages each request on the way to these had: it ended with the user's or with all results."""
    found = []
    for at, message in enumerate(messages):
        after = messages[at + 1] if at + 1 < len(messages) else None
        if not isinstance(message, AssistantMessage) and not isinstance(after, ToolMessage):
            found.append(at + 1)
    return found


OPTIONS: dict[str, Any] = {
    "context": ("Known.",),
    "constraints": ("No lies.",),
    "tools": (ToolSpec("look", "Looks.", {"type": "object"}),),
    "output_hint": "short",
    "effort": "high",
}
PROFILE = Profile(images=True)


@pytest.mark.parametrize("family", FAMILIES)
@given(conversations())
def test_a_longer_conversation_keeps_the_prefix_of_a_shorter_one(family: str, messages: tuple[Message, ...]) -> None:
    check_transcript(messages)
    made = compiler(family)
    long = made.compile(ask(*messages, **OPTIONS), PROFILE)
    for cut in cuts(messages):
        short = made.compile(ask(*messages[:cut], **OPTIONS), PROFILE)
        assert short.stable <= len(short.messages)
        assert short.stable_system <= len(short.system)
        assert long.messages[: short.stable] == short.messages[: short.stable]
        assert long.system[: short.stable_system] == short.system[: short.stable_system]
        assert (long.tools, long.stable_system) == (short.tools, short.stable_system)
        assert long.stable >= short.stable
        check_transcript(short.messages)


@pytest.mark.parametrize("kind", WIRES)
@given(conversations())
def test_a_wire_keeps_it_too(kind: str, messages: tuple[Message, ...]) -> None:
    """What a provider caches are the parts in order: ends of messages and marks for the cache are no part of it."""
    long = parts(kind, messages)
    for cut in cuts(messages):
        short = parts(kind, messages[:cut])
        assert long[: len(short)] == short


def parts(kind: str, messages: tuple[Message, ...]) -> list[Any]:
    # GLM forgets what a turn thought at its end, unless it is told to keep it.
    profile = msgspec.structs.replace(PROFILE, thinking_back="all") if kind == "glm" else PROFILE
    prompt = COMPILER.compile(ask(*messages, **OPTIONS), profile)
    call = wire(kind).call(prompt, "m", profile, Endpoint(base_url="http://host/v1"), stream=True)
    body = json.loads(call.body or b"")
    found: list[Any] = [body.get("system"), body.get("tools")]
    for message in body.get("messages") or body.get("contents") or body.get("input") or ():
        content = message.get("content") or message.get("parts")
        rest = {key: value for key, value in message.items() if key not in ("content", "parts")}
        found += [(rest, _unmarked(part)) for part in (content if isinstance(content, list) else [content])]
    found[0] = _unmarked(found[0])
    return found


def _unmarked(part: Any) -> Any:
    if isinstance(part, list):
        return [_unmarked(item) for item in part]
    return {key: value for key, value in part.items() if key != "cache_control"} if isinstance(part, dict) else part


def test_what_the_default_makes_of_a_request() -> None:
    request = ask(**OPTIONS, temperature=0.5, knobs={"seed": 7}, max_output=9, stop=("END",))
    prompt = COMPILER.compile(request, Profile())
    assert prompt.system == ("Be brief.", "Known.", "Rules:\n- No lies.", "The answer: short")
    assert (prompt.stable_system, prompt.stable) == (1, 1)
    assert prompt.knobs == {"temperature": 0.5, "effort": "high", "seed": 7}
    assert (prompt.max_output, prompt.stop, prompt.tools) == (9, ("END",), request.tools)


@pytest.mark.parametrize("find", [compiler, wire])
def test_an_unknown_name_says_which_there_are(find: Any) -> None:
    with pytest.raises(ConfigError, match="use one of"):
        find("nobody")


def test_an_unknown_option_of_a_wire_is_named() -> None:
    with pytest.raises(ConfigError, match="loudness"):
        wire("openai_chat", {"loudness": 11})


def turned(knob: Knob, value: Any, name: str = "effort") -> dict[str, Any]:
    body: dict[str, Any] = {"config": {"a": 1}}
    turn(body, {name: knob}, {} if value is None else {name: value})
    return body


def test_knobs_are_sent_as_the_data_says() -> None:
    levels = Knob(values={"low": {"think": {"on": True}, "config": {"b": 2}}, "high": {"think": {"on": True, "n": 9}}})
    assert turned(levels, "low") == {"config": {"a": 1, "b": 2}, "think": {"on": True}}
    assert turned(levels, "max") == turned(levels, "high")
    assert turned(levels, "medium") == turned(levels, "low")
    assert turned(levels, "off") == turned(levels, None) == turned(levels, "loud") == {"config": {"a": 1}}
    assert turned(Knob(field="config.level", values={"high": "H"}), "low")["config"] == {"a": 1, "level": "H"}
    assert turned(Knob(field="t", low=0, high=1), 1.5, "temperature")["t"] == 1
    assert turned(Knob(field="t", default=0.3), None, "temperature")["t"] == 0.3
    assert levels.values is not None
    assert levels.values["low"] == {"think": {"on": True}, "config": {"b": 2}}


def test_prices() -> None:
    usage = Usage(1_000_000, 1000, 200_000, written=300_000)
    assert Price(100, 1000).cost(usage) == 100 * 1_000_000 + 1000 * 1000
    price = Price(100, 1000, cached=2.8, written=125)
    assert price.cost(usage) == 500_000 * 100 + 560_000 + 300_000 * 125 + 1000 * 1000
    tier = Tier(above=200_000, input=200, output=2000)
    tiered = Price(100, 1000, tiers=(tier, Tier(above=2_000_000, input=9000, output=9000)))
    assert tiered.cost(Usage(200_000, 1)) == 200_000 * 100 + 1000
    assert tiered.cost(Usage(200_001, 1)) == 200_001 * 200 + 2000
    assert Price(1000, 1000, currency="CNY").cost(usage) is None
    assert Price(1000, 1000, currency="CNY", rate=0.14).cost(Usage(100, 0)) == 14_000
