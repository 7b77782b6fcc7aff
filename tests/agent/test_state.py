"""The fold: any prefix of any log is a transcript that a strict provider accepts, and a snapshot changes nothing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from roost.agent.fold import apply
from roost.agent.known_files import CHARACTERS, FILES
from roost.agent.state import Entry, State, decode_state, encode_state, transcript
from roost.features.compaction.events import (
    CompactionStarted,
    ContextCompacted,
    ContextElided,
    ContextPinned,
    ContextTrimmed,
)
from roost.features.compaction.plan import plan_cut
from roost.features.delegation.events import ChildEnded, ChildHeld, ChildStarted
from roost.features.intents.events import IntentChosen
from roost.features.schedules.events import ContextCleared, ScheduleCleared, ScheduleFired, ScheduleSet
from roost.features.snapshots.events import WorkspaceRestored, WorkspaceSaved
from roost.features.stalls.events import LoopStalled
from roost.log import events as ev
from roost.log.content import AssistantMessage, ErrorData, Text, ToolCall, ToolMessage, Usage, UserMessage
from roost.log.schedule_events import ScheduleSpec
from roost.testing.transcript import check_transcript

calls = st.sampled_from(["c1", "c2", "c3"])


def _answer(count: int, say: bool) -> tuple[Text | ToolCall, ...]:
    parts: list[Text | ToolCall] = [Text("said")] if say or not count else []
    return (*parts, *(ToolCall(f"c{place + 1}", "t", "{}") for place in range(count)))


BEAT = ScheduleSpec(text="x", every=60.0, heartbeat=True)

any_event: st.SearchStrategy[ev.Event] = st.one_of(
    st.builds(ev.InputReceived, at=st.just(1.0), input=st.integers(1, 9), parts=st.just((Text("hi"),))),
    st.builds(ev.TurnStarted, at=st.just(1.0), turn=st.integers(1, 9), input=st.integers(1, 9)),
    st.builds(ev.ModelStarted, at=st.just(1.0), step=st.integers(1, 9), model=st.just("m")),
    st.builds(
        ev.ModelCompleted,
        at=st.just(1.0),
        step=st.integers(1, 9),
        parts=st.builds(_answer, st.integers(0, 3), st.booleans()),
    ),
    st.builds(ev.ModelNotice, at=st.just(1.0), step=st.integers(1, 9), kind=st.sampled_from(["retry", "restart"])),
    st.builds(ev.ModelLost, at=st.just(1.0), step=st.integers(1, 9), attempt=st.just(1)),
    st.builds(ev.ModelFailed, at=st.just(1.0), step=st.integers(1, 9), error=st.just(ErrorData("x", "y", True))),
    st.builds(
        ev.ToolStarted,
        at=st.just(1.0),
        call=calls,
        name=st.just("t"),
        replay=st.just("never"),
        key=st.just("k"),
        undo=st.sampled_from([None, "", "p"]),
    ),
    st.builds(
        WorkspaceSaved,
        at=st.just(1.0),
        snapshot=st.sampled_from("pq"),
        point=st.sampled_from([None, "home", "store"]),
    ),
    st.builds(WorkspaceRestored, at=st.just(1.0), snapshot=st.sampled_from([None, "p"]), call=calls),
    st.builds(
        ev.ToolCompleted,
        at=st.just(1.0),
        call=calls,
        outcome=st.sampled_from(["ok", "error", "interrupted"]),
        parts=st.sampled_from([(), (Text("out"),)]),
    ),
    st.builds(
        ev.ApprovalRequested,
        at=st.just(1.0),
        call=calls,
        name=st.just("t"),
        arguments=st.just("{}"),
        reason=st.just(""),
    ),
    st.builds(ev.ApprovalResolved, at=st.just(1.0), call=calls, decision=st.sampled_from(["approve", "reject"])),
    st.builds(
        IntentChosen,
        at=st.just(1.0),
        turn=st.integers(1, 9),
        intent=st.just("chat"),
        tools=st.sampled_from([None, (), ("t",)]),
        confirm=st.booleans(),
    ),
    st.builds(
        LoopStalled,
        at=st.just(1.0),
        turn=st.just(1),
        step=st.just(5),
        kind=st.just("repeat"),
        count=st.just(5),
        action=st.sampled_from(["hint", "effort"]),
        hint=st.sampled_from(["", "[stop]"]),
    ),
    st.builds(ev.TurnCompleted, at=st.just(1.0), turn=st.integers(1, 9), outcome=st.just("answered")),
    st.builds(ContextTrimmed, at=st.just(1.0), dropped=st.just(0), before=st.just(1), after=st.just(1)),
    st.builds(
        ContextElided,
        at=st.just(1.0),
        outputs=st.lists(st.integers(0, 41), max_size=9).map(tuple),
        before=st.just(1),
        after=st.just(1),
        readable=st.booleans(),
    ),
    st.builds(CompactionStarted, at=st.just(1.0), model=st.just("m"), messages=st.just(3), before=st.just(1)),
    st.builds(
        ContextCompacted,
        at=st.just(1.0),
        before=st.just(1),
        after=st.just(1),
        upto=st.integers(-1, 40),
        keep=st.lists(st.integers(-1, 40), max_size=5).map(tuple),
        summary=st.sampled_from(["", "in short"]),
    ),
    st.builds(
        ChildStarted,
        at=st.just(1.0),
        child=st.sampled_from("xy"),
        call=calls,
        agent=st.just("a"),
        background=st.booleans(),
    ),
    st.builds(ChildHeld, at=st.just(1.0), call=calls),
    st.builds(ChildEnded, at=st.just(1.0), child=st.sampled_from("xyz"), outcome=st.just("answered")),
    st.builds(ContextPinned, at=st.just(1.0), key=st.sampled_from("ab"), text=st.sampled_from([None, "keep this"])),
    st.builds(ContextCleared, at=st.just(1.0)),
    st.builds(ScheduleSet, at=st.just(1.0), name=st.just("s"), spec=st.just(BEAT), next=st.sampled_from([None, 9.0])),
    st.builds(
        ScheduleFired, at=st.just(1.0), name=st.just("s"), due=st.just(9.0), next=st.just(19.0), input=st.just(1)
    ),
    st.builds(ScheduleCleared, at=st.just(1.0), name=st.just("s"), why=st.just("over")),
)


def numbered(events: list[ev.Event]) -> list[ev.Event]:
    """The same events with the ids of calls unique in the log, as the loop makes them."""
    answers, result = 0, list[ev.Event]()
    for event in events:
        if isinstance(event, ev.ModelCompleted):
            answers += 1
            parts = tuple(
                ToolCall(f"{answers}.{part.id}", "t", "{}") if isinstance(part, ToolCall) else part
                for part in event.parts
            )
            result.append(msgspec.structs.replace(event, parts=parts))
        elif isinstance(
            event,
            ev.ToolStarted | ev.ToolCompleted | ev.ApprovalRequested | ev.ApprovalResolved | ChildStarted | ChildHeld,
        ):
            result.append(msgspec.structs.replace(event, call=f"{answers}.{event.call}"))
        else:
            result.append(event)
    return result


logs = st.lists(any_event, max_size=40).map(numbered)


@settings(max_examples=examples(300), deadline=None)
@given(logs)
def test_any_prefix_of_any_log_is_a_valid_transcript(events: list[ev.Event]) -> None:
    """Even of logs that the loop would never write: only the first input is put first, as it is in every log."""
    state = State()
    apply(state, ev.InputReceived(at=0.0, input=1, parts=(Text("first"),)))
    for event in events:
        apply(state, event)
        check_transcript(transcript(state))


@settings(max_examples=examples(100), deadline=None)
@given(logs, st.integers(0, 40))
def test_a_snapshot_anywhere_changes_nothing(events: list[ev.Event], place: int) -> None:
    whole, resumed = State(), State()
    for number, event in enumerate(events):
        apply(whole, event)
        apply(resumed, event)
        if number == place:
            resumed = decode_state(encode_state(resumed))
    assert resumed == whole


@st.composite
def conversations(draw: st.DrawFn) -> list[Entry]:
    entries: list[Entry] = []
    turns = draw(st.integers(1, 6))
    for turn in range(1, turns + 1):
        entries.append(Entry(UserMessage((Text("q"),)), draw(st.integers(1, 500)), turn))
        for step in range(draw(st.integers(0, 5))):
            name = f"c{turn}.{step}"
            entries.append(Entry(AssistantMessage((ToolCall(name, "t", "{}"),)), draw(st.integers(1, 500)), 0))
            entries.append(Entry(ToolMessage(name, "t", (Text("r"),)), draw(st.integers(1, 500)), 0))
        if turn < turns or draw(st.booleans()):
            entries.append(Entry(AssistantMessage((Text("a"),)), draw(st.integers(1, 500)), 0))
    return entries


@settings(max_examples=examples(300), deadline=None)
@given(conversations(), st.integers(0, 3000), st.booleans(), st.integers(0, 600), st.integers(0, 3))
def test_compacting_keeps_the_transcript_valid_and_the_turn_s_question(
    entries: list[Entry], target: int, running: bool, task: int, turns: int
) -> None:
    number = max(entry.turn for entry in entries)
    state = State(entries=list(entries), tokens=sum(entry.tokens for entry in entries), turns=number)
    if running:
        apply(state, ev.TurnStarted(at=1.0, turn=number, input=1))
        state.entries[-1].turn = 0 if not isinstance(state.entries[-1].message, UserMessage) else number
    question = next(entry for entry in entries if entry.turn == number)
    newest, first = state.entries[-1], state.entries[0]
    before = state.tokens
    cut = plan_cut(entries, before, target, turn=number if running else 0, turns=turns, most=before - 1, task=task)
    apply(
        state,
        ContextCompacted(at=2.0, before=before, after=cut.left, upto=cut.upto, keep=cut.keep, summary="in short"),
    )
    stayed = [entry for entry in state.entries if not entry.head]
    assert sum(entry.tokens for entry in stayed) == cut.left <= before
    assert len(stayed) == len(entries) - cut.messages
    assert state.tokens == sum(entry.tokens for entry in state.entries)
    assert state.entries[-1] is newest
    check_transcript([entry.message for entry in state.entries])
    if running:
        assert question in state.entries
    if first.tokens <= task:
        assert first in state.entries


def test_compacting_reaches_its_target_when_it_can() -> None:
    entries: list[Entry] = []
    for turn in range(1, 101):
        entries.append(Entry(UserMessage((Text("q"),)), 10, turn))
        entries.append(Entry(AssistantMessage((Text("a"),)), 10, 0))
    assert plan_cut(entries, 2000, 500, turn=0) == (150, (), 150, 500)
    assert plan_cut(entries, 2000, 500, turn=0, task=10) == (152, (0,), 151, 490)
    assert plan_cut(entries, 2000, 500, turn=0, turns=40, most=900) == (120, (), 120, 800)
    assert plan_cut(entries, 2000, 500, turn=0, turns=40, most=700) == (150, (), 150, 500)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_results_stand_in_the_order_of_the_calls(count: int) -> None:
    state = State()
    apply(state, ev.InputReceived(at=0.0, input=1, parts=(Text("first"),)))
    parts = tuple(ToolCall(f"c{place}", "t", "{}") for place in range(count)) or (Text("none"),)
    apply(state, ev.ModelCompleted(at=1.0, step=1, parts=parts))
    for place in reversed(range(count)):
        apply(state, ev.ToolCompleted(at=2.0, call=f"c{place}", outcome="ok", parts=(Text(str(place)),)))
    results = [entry.message for entry in state.entries if isinstance(entry.message, ToolMessage)]
    assert [result.call for result in results] == [f"c{place}" for place in range(count)]
    assert state.calls == []


def test_of_the_files_that_were_read_the_newest_are_known() -> None:
    state = State()

    def read(seen: dict[str, str | None]) -> None:
        apply(state, ev.ModelCompleted(at=1.0, step=1, parts=(ToolCall("c", "t", "{}"),)))
        apply(state, ev.ToolCompleted(at=2.0, call="c", outcome="ok", seen=seen))

    for number in range(FILES + 10):
        read({f"f{number}": "old"})
    assert len(state.seen) == FILES
    assert "f9" not in state.seen
    read({"f10": "new", "f11": None})
    assert (state.seen["f10"], "f11" in state.seen) == ("new", False)
    assert list(state.seen)[-1] == "f10"
    for number in range(20):
        read({f"{number}/" + "x" * 4000: "d"})
    assert len(state.seen) == CHARACTERS // 4002
    assert decode_state(encode_state(state)) == state


def test_what_a_crash_cut_off_is_spent_and_a_notice_changes_nothing() -> None:
    state = State()
    for event in (
        ev.InputReceived(at=1.0, input=1, parts=(Text("hi"),)),
        ev.TurnStarted(at=1.0, turn=1, input=1),
        ev.ModelStarted(at=1.0, step=1, model="m"),
    ):
        apply(state, event)
    before = msgspec.structs.asdict(decode_state(encode_state(state)))
    for kind in ("route", "limit", "of a later version"):
        apply(state, ev.ModelNotice(at=1.0, step=1, kind=kind, data={"usage": {"input": 5}}))
    assert msgspec.structs.asdict(state) == before | {"seq": 6}
    apply(state, ev.ModelLost(at=1.0, step=1, attempt=1, usage=Usage(10, 5, 0, 700)))
    assert state.turn is not None
    assert state.usage == state.turn.usage == Usage(10, 5, 0, 700)
    assert state.open_step is not None
