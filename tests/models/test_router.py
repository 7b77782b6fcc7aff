"""The router is a pure function, so its properties are tested over whatever profiles, models and requests there are."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from roost.models.catalog.card import Card, Kind
from roost.models.profile import MediaKind
from roost.models.request import Intent, Profile
from roost.routing.route import STEPS, Features, ProfileEntry, Route
from roost.routing.router import named, route, unfit

INTENTS: tuple[Intent, ...] = get_args(Intent)
KINDS: tuple[MediaKind, ...] = get_args(MediaKind)
NAMES = [f"acme/{letter}" for letter in "abcdefg"]
CHAINS = [name for name in ProfileEntry.__struct_fields__ if name != "effort"]


class Standing:
    """`cards` by name; who is not there has no key."""

    def __init__(self, trouble: dict[str, str] | None = None, constrained: str | None = None, **cards: Profile) -> None:
        self.cards = {f"acme/{name}": Card(account="acme", model=name, profile=p) for name, p in cards.items()}
        self.troubles = trouble or {}
        self.saving = constrained

    def card(self, model: str) -> Card | None:
        return self.cards.get(model)

    def trouble(self, model: str) -> str | None:
        return "no key" if model not in self.cards else self.troubles.get(model)

    def constrained(self) -> str | None:
        return self.saving


def _entry(**chains: str) -> ProfileEntry:
    named = {key: tuple(f"acme/{name}" for name in chain) for key, chain in chains.items()}
    return msgspec.convert(named, ProfileEntry)


def _chosen(found: Route) -> str:
    return "".join(name.removeprefix("acme/") for name in found.chain)


PLAIN = Profile(window=1_000, max_output=100)
profiles = st.builds(
    Profile,
    window=st.sampled_from([1_000, 8_000, 64_000]),
    max_output=st.sampled_from([100, 4_000]),
    images=st.booleans(),
    audio=st.booleans(),
    tools=st.booleans(),
    json_schema=st.booleans(),
)
entries = st.builds(
    ProfileEntry, **{name: st.lists(st.sampled_from(NAMES), max_size=3).map(tuple) for name in CHAINS}, effort=st.none()
)
features = st.builds(
    Features,
    media=st.frozensets(st.sampled_from(KINDS), max_size=2),
    tokens=st.sampled_from([0, 900, 5_000, 100_000]),
    room=st.sampled_from([0, 100, 9_999]),
    intent=st.sampled_from([None, *INTENTS]),
    long_horizon=st.booleans(),
    tools=st.booleans(),
    schema=st.booleans(),
)


@st.composite
def standings(draw: st.DrawFn) -> Standing:
    standing = Standing(constrained=draw(st.sampled_from([None, "85 % of the month is spent"])))
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        kind: Kind = draw(st.sampled_from(get_args(Kind)))
        model = name.removeprefix("acme/")
        standing.cards[name] = Card(account="acme", model=model, profile=draw(profiles), kind=kind)
    standing.troubles = dict.fromkeys(draw(st.lists(st.sampled_from(NAMES), unique=True)), "open")
    return standing


@given(features, entries, standings())
def test_who_is_chosen_can_take_the_request_and_everybody_who_can_is(
    asked: Features, entry: ProfileEntry, standing: Standing
) -> None:
    found = route(asked, entry, standing)
    able = {name for name in named(entry) if (card := standing.card(name)) and unfit(card, asked) is None}
    assert set(found.chain) == able
    assert len(found.chain) == len(able)


@given(features, entries, standings())
def test_the_trace_is_whole_and_nobody_who_was_dropped_comes_back(
    asked: Features, entry: ProfileEntry, standing: Standing
) -> None:
    found = route(asked, entry, standing)
    assert tuple(step.step for step in found.steps) == STEPS
    assert found.steps[-1].chain == found.chain
    left = set(named(entry))
    for step in found.steps:
        assert step.reason
        assert all(step.dropped.values())
        assert set(step.dropped) <= left
        left -= set(step.dropped)
        assert set(step.chain) == left
        assert len(step.chain) == len(left)


@given(features, entries, standings())
def test_the_same_question_has_the_same_answer(asked: Features, entry: ProfileEntry, standing: Standing) -> None:
    found = route(asked, entry, standing, profile="mine")
    assert found == route(asked, entry, standing, profile="mine")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Route) == found


@given(features, entries, standings())
def test_the_order_is_that_of_the_chains(asked: Features, entry: ProfileEntry, standing: Standing) -> None:
    found = route(msgspec.structs.replace(asked, schema=False), entry, standing)
    chains: list[tuple[str, ...]] = [entry.cheap] if standing.saving else []
    if asked.media:
        chains.append(entry.multimodal)
    if "too long for" in found.steps[1].reason:
        chains.append(entry.long_context)
    if asked.long_horizon:
        chains.append(entry.long_horizon)
    chains += [entry.of(asked.intent), named(entry)]
    order = list(dict.fromkeys(name for chain in chains for name in chain if name in found.chain))
    assert list(found.chain) == sorted(order, key=lambda name: name in standing.troubles)


def test_each_intent_has_its_chain_and_the_others_follow_it() -> None:
    entry, standing = _entry(plan="b", review="c", chat="a"), Standing(a=PLAIN, b=PLAIN, c=PLAIN)
    assert _chosen(route(Features(intent="plan"), entry, standing)) == "bca"
    assert _chosen(route(Features(intent="review"), entry, standing)) == "cba"
    assert _chosen(route(Features(intent="execute"), entry, standing)) == "abc", "what has no chain is asked as a chat"
    assert _chosen(route(Features(), entry, standing)) == "abc"


def test_media_go_to_who_takes_them() -> None:
    eyes = Profile(images=True, window=1_000, max_output=100)
    entry, standing = _entry(chat="ab", multimodal="c"), Standing(a=PLAIN, b=eyes, c=eyes)
    found = route(Features(media=frozenset({"image"})), entry, standing)
    assert _chosen(found) == "cb"
    assert found.steps[0].dropped == {"acme/a": "takes no image"}
    assert _chosen(route(Features(), entry, standing)) == "abc"
    nobody = route(Features(media=frozenset({"audio", "image"})), entry, standing)
    assert nobody.chain == ()
    assert nobody.steps[0].dropped["acme/a"] == "takes no audio and no image"


def test_what_is_too_long_for_the_first_goes_to_those_for_it() -> None:
    wide = Profile(window=64_000, max_output=100)
    entry, standing = _entry(chat="ab", long_context="c"), Standing(a=PLAIN, b=wide, c=wide)
    assert _chosen(route(Features(tokens=900, room=100), entry, standing)) == "abc"
    found = route(Features(tokens=901, room=100), entry, standing)
    assert _chosen(found) == "cb"
    assert found.steps[1].dropped == {"acme/a": "its window is 1000 tokens"}
    small_last = _entry(chat="ba", long_context="c")
    assert _chosen(route(Features(tokens=5_000), small_last, standing)) == "bc", "the first takes it, so it is asked"


def test_long_tasks_and_saving_have_their_chains() -> None:
    entry, standing = _entry(chat="a", long_horizon="b", cheap="c"), Standing(a=PLAIN, b=PLAIN, c=PLAIN)
    assert _chosen(route(Features(long_horizon=True), entry, standing)) == "bac"
    standing.saving = "85 % of the month is spent"
    found = route(Features(long_horizon=True), entry, standing)
    assert _chosen(found) == "cba"
    assert found.steps[4].reason.startswith("85 % of the month is spent")
    found = route(Features(long_horizon=True, tokens=9_000), entry, standing)
    assert found.chain == (), "nobody takes it, the cheap one neither"


def test_a_model_in_trouble_comes_last_and_one_without_a_key_not_at_all() -> None:
    entry, standing = _entry(chat="abc"), Standing({"acme/a": "left alone for 9 s"}, a=PLAIN, b=PLAIN)
    found = route(Features(), entry, standing)
    assert _chosen(found) == "ba"
    assert found.steps[-1].reason == "acme/a later: left alone for 9 s"
    assert found.steps[-1].dropped == {"acme/c": "no key"}
    standing.troubles["acme/b"] = "open too"
    assert _chosen(route(Features(), entry, standing)) == "ab", "all in trouble are still better than none"


def test_who_keeps_to_a_schema_is_preferred_and_who_calls_no_tools_is_left_out() -> None:
    loose: Any = Profile(window=1_000, max_output=100, json_schema=False)
    mute: Any = Profile(window=1_000, max_output=100, tools=False)
    entry, standing = _entry(chat="abc"), Standing(a=loose, b=PLAIN, c=mute)
    assert _chosen(route(Features(schema=True), entry, standing)) == "bca"
    found = route(Features(tools=True), entry, standing)
    assert _chosen(found) == "ab"
    assert found.steps[3].dropped == {"acme/c": "calls no tools"}


def test_the_effort_of_a_profile_is_told() -> None:
    assert route(Features(), ProfileEntry(effort="max"), Standing()).effort == "max"
    assert route(Features(), ProfileEntry(), Standing()).effort is None
