"""The parts of compaction that are functions: what leaves, what a summary by rule says, what the estimate learns."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from roost.agent.definition import AgentSpec, decode_spec, encode_spec
from roost.agent.fold import apply
from roost.agent.options import Compaction
from roost.agent.state import Entry, OpenStep, State
from roost.features.compaction.events import ContextElided
from roost.features.compaction.extractive_summary import TITLE, extract, shortened
from roost.features.compaction.plan import plan_elision, plan_shortening
from roost.features.compaction.state import head, learn
from roost.log import events as ev
from roost.log.content import AssistantMessage, Image, Text, ToolCall, ToolMessage, Usage, UserMessage
from roost.models.tokens import estimate, estimate_text


def entry(message: UserMessage | AssistantMessage | ToolMessage, *, turn: int = 0, seq: int = 0) -> Entry:
    return Entry(message, estimate(message), turn, seq)


def talk(*sizes: int) -> list[Entry]:
    """A turn each: a question, a call, an output of so many characters, an answer; the last one is not answered."""
    entries: list[Entry] = []
    for turn, size in enumerate(sizes, 1):
        call = f"c{turn}"
        entries += [
            entry(UserMessage((Text(f"question {turn}"),)), turn=turn),
            entry(AssistantMessage((ToolCall(call, "look", "{}"),))),
            entry(ToolMessage(call, "look", (Text("x" * size),)), seq=10 * turn),
        ]
        if turn < len(sizes):
            entries.append(entry(AssistantMessage((Text(f"answer {turn}"),))))
    return entries


def total(entries: Sequence[Entry]) -> int:
    return sum(one.tokens for one in entries)


def test_the_oldest_outputs_leave_until_it_is_enough() -> None:
    entries = talk(4_000, 200, 4_000, 4_000, 4_000)
    found = plan_elision(entries, total(entries), total(entries) - 1_500, keep=0, readable=True)
    assert found.outputs == (10, 30), "the second one is not worth it"
    state = State(entries=entries, tokens=total(entries))
    apply(state, ContextElided(at=1.0, outputs=found.outputs, before=state.tokens, after=found.left))
    assert state.tokens == found.left == total(state.entries)
    again = plan_elision(state.entries, state.tokens, 0, keep=0, readable=True)
    assert again.outputs == (40,), "what was left out is not left out again, and what was not read yet stays"


def test_the_newest_outputs_stay() -> None:
    entries = talk(4_000, 4_000, 4_000, 4_000)
    assert plan_elision(entries, total(entries), 0, keep=2_500, readable=True).outputs == (10,)
    assert plan_elision(entries, total(entries), 0, keep=10**9, readable=True).outputs == ()
    assert plan_elision([], 0, 0, keep=0, readable=True).outputs == ()


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9_000), st.sampled_from("x字é")), min_size=1, max_size=9), st.integers(0, 9_000)
)
def test_new_outputs_share_the_room_that_there_is(sizes: list[tuple[int, str]], target: int) -> None:
    calls = tuple(ToolCall(f"c{place}", "look", "{}") for place in range(len(sizes)))
    entries = [entry(UserMessage((Text("look"),)), turn=1), entry(AssistantMessage(calls))]
    for place, (size, letter) in enumerate(sizes, 1):
        entries.append(entry(ToolMessage(f"c{place - 1}", "look", (Text(letter * size),)), seq=place))
    state = State(entries=entries, tokens=total(entries))
    before = state.tokens
    found = plan_shortening(entries, before, target, readable=True)
    short = {one.seq for one in entries if one.tokens < 100}
    apply(state, ContextElided(at=1.0, outputs=found.outputs, before=1, after=1, shown=found.shown))
    assert not short & set(found.outputs)
    assert state.tokens == found.left == total(state.entries) <= before
    least = sum(min(one.tokens, 100) for one in entries)
    assert found.left <= max(target, least)


words = st.text(alphabet=st.sampled_from("ab \n字é…"), max_size=400)


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.tuples(words, words), max_size=30),
    st.one_of(words, words.map(lambda text: f"{TITLE}\nTurn 1: {text}")),
    st.integers(40, 400),
)
def test_a_summary_by_rule_has_its_size(said: list[tuple[str, str]], before: str, cap: int) -> None:
    entries: list[Entry] = []
    for turn, (question, answer) in enumerate(said, 1):
        entries.append(entry(UserMessage((Text(question), Image("image/png", "aGk="))), turn=turn))
        entries.append(entry(AssistantMessage((Text(answer), ToolCall(f"c{turn}", "t", answer)))))
    text = extract(entries, before, cap=cap)
    assert estimate_text(text) <= cap
    assert text.startswith(TITLE)
    again = extract(entries, text, cap=cap)
    assert estimate_text(again) <= cap
    assert again.count(TITLE) == 1


def test_a_summary_by_rule_says_who_said_what() -> None:
    text = extract(talk(10, 10), "What a model wrote.", cap=400)
    assert text.splitlines() == [
        TITLE,
        "What a model wrote.",
        "Turn 1: question 1",
        "You called look({})",
        "You: answer 1",
        "Turn 2: question 2",
        "You called look({})",
    ]
    assert extract([], text, cap=400) == text, "it is carried on as it is"


@given(words, st.integers(2, 100))
def test_what_is_too_long_is_cut_from_its_end(text: str, cap: int) -> None:
    short = shortened(text, cap)
    assert estimate_text(short) <= cap
    if short != text:
        assert short.endswith(" ...")
        assert text.startswith(short.removesuffix(" ..."))


def test_nothing_stands_in_place_of_nothing() -> None:
    assert head({}, "") is None
    assert "- a: b\nc" in head({"a": "b\nc"}, "").parts[0].text  # type: ignore[union-attr]


def learned(*counts: int, context: int = 10_000, single: bool = True) -> dict[str, float]:
    scale: dict[str, float] = {}
    for count in counts:
        learn(scale, OpenStep(1, 1, "m", context, single), Usage(count, 5))
    return scale


def test_the_estimate_follows_what_the_provider_counts() -> None:
    assert learned(13_000) == {"m": 1.3}
    assert learned(13_000, 15_000)["m"] == pytest.approx(1.36)
    assert learned(*[15_000] * 30, *[7_000] * 30)["m"] == pytest.approx(0.7, abs=0.01)
    assert learned(25_000) == {"m": 2.0}, "never more than twice as much"
    assert learned(4_000) == {"m": 0.5}


def test_what_says_nothing_teaches_nothing() -> None:
    assert learned(100) == {}, "in no proportion"
    assert learned(500_000) == {}
    assert learned(0) == {}
    assert learned(700, context=500) == {}, "too small to tell"
    assert learned(13_000, single=False) == {}, "the sum of several tries"
    scale: dict[str, float] = {}
    for number in range(100):
        learn(scale, OpenStep(1, 1, f"m{number}", 10_000), Usage(12_000, 5))
    assert len(scale) == 16
    assert "m99" in scale


def test_retries_make_a_count_doubtful() -> None:
    state = State()
    for event in (
        ev.ModelStarted(at=1.0, step=1, model="m", context=10_000),
        ev.ModelNotice(at=1.0, step=1, kind="retry"),
        ev.ModelCompleted(at=1.0, step=1, parts=(Text("x"),), usage=Usage(13_000, 5)),
    ):
        apply(state, event)
    assert state.scale == {}
    for event in (
        ev.ModelStarted(at=1.0, step=2, model="m", context=10_000),
        ev.ModelNotice(at=1.0, step=2, kind="route"),
        ev.ModelCompleted(at=1.0, step=2, parts=(Text("x"),), usage=Usage(13_000, 5)),
    ):
        apply(state, event)
    assert state.scale == {"m": 1.3}


@pytest.mark.parametrize("given", [{"at": 0.5, "to": 0.5}, {"at": 0.99}, {"to": 0.0}, {"keep_turns": -1}, {"by": "me"}])
def test_settings_that_make_no_sense(given: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(given, Compaction)


def test_a_definition_without_it_is_as_before() -> None:
    assert b"compaction" not in encode_spec(AgentSpec(name="a"))
    spec = AgentSpec(name="a", compaction=Compaction(at=0.9, model="m"))
    assert decode_spec(encode_spec(spec)) == spec
    assert b'"compaction":{"model":"m","at":0.9}' in encode_spec(spec)
