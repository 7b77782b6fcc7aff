"""The table of a node's slots: each row, what no row allows, and any order of events."""

from __future__ import annotations

import asyncio
from typing import Any, cast, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.kernel.ownership import TRANSITIONS, SlotEvent, Slots, SlotState
from tests.examples import examples

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

ROWS: list[tuple[SlotState, SlotEvent, SlotState]] = [
    # A claim: by scan, before the session's delay has passed, by name, or one whose answer was lost.
    ("released", "claim", "claimed"),
    ("released", "defer", "backing_off"),
    ("released", "found", "parked"),
    ("released", "delete", "deleting"),
    # Until its log is folded.
    ("claimed", "claim", "claimed"),
    ("claimed", "start", "running"),
    ("claimed", "gone", "released"),
    ("claimed", "fail", "parked"),
    ("claimed", "lease_lost", "released"),
    ("claimed", "delete", "deleting"),
    # A driver has it. A defect or a failed store must not leave it owned and forgotten.
    ("running", "end", "released"),
    ("running", "fail", "parked"),
    ("running", "fence", "fenced"),
    ("running", "lease_lost", "fenced"),
    ("running", "claim", "reacquired"),
    ("running", "found", "reacquired"),
    ("running", "delete", "deleting"),
    # Its driver is ending.
    ("fenced", "end", "released"),
    ("fenced", "fail", "released"),
    ("fenced", "fence", "fenced"),
    ("fenced", "lease_lost", "fenced"),
    ("fenced", "claim", "reacquired"),
    ("fenced", "found", "reacquired"),
    ("fenced", "delete", "deleting"),
    # It is ours again: no second driver beside the first.
    ("reacquired", "end", "parked"),
    ("reacquired", "fail", "parked"),
    ("reacquired", "fence", "reacquired"),
    ("reacquired", "lease_lost", "fenced"),
    ("reacquired", "claim", "reacquired"),
    ("reacquired", "found", "reacquired"),
    ("reacquired", "delete", "deleting"),
    # Nobody drives it.
    ("parked", "retry", "claimed"),
    ("parked", "claim", "claimed"),
    ("parked", "lease_lost", "released"),
    ("parked", "delete", "deleting"),
    ("backing_off", "due", "parked"),
    ("backing_off", "claim", "claimed"),
    ("backing_off", "defer", "backing_off"),
    ("backing_off", "gone", "released"),
    ("backing_off", "lease_lost", "released"),
    ("backing_off", "delete", "deleting"),
    # A deletion has it, and whatever the store says meanwhile starts no driver.
    ("deleting", "claim", "deleting"),
    ("deleting", "end", "deleting"),
    ("deleting", "fail", "deleting"),
    ("deleting", "fence", "deleting"),
    ("deleting", "lease_lost", "deleting"),
    ("deleting", "deleted", "released"),
    ("deleting", "kept", "parked"),
    ("deleting", "kept_ending", "reacquired"),
]
WAYS: dict[SlotState, list[list[SlotEvent]]] = {
    "released": [[]],
    "claimed": [["claim"], ["found", "retry"]],
    "running": [["claim", "start"]],
    "fenced": [["claim", "start", "fence"]],
    "reacquired": [["claim", "start", "claim"]],
    "parked": [["found"]],
    "backing_off": [["defer"]],
    "deleting": [["delete"], ["claim", "start", "delete"]],
}
"""Ways into each state."""
DRIVEN = ("running", "fenced", "reacquired")
WITH_A_TASK: tuple[SlotEvent, ...] = ("end", "fail", "kept_ending")
"""What happens to a deletion's session only while its former driver is ending."""
EVENTS: tuple[SlotEvent, ...] = get_args(SlotEvent)


class Driver:
    """Stands in for a session in memory."""

    def __init__(self) -> None:
        self.fenced = False
        self.interrupts = self

    def fence(self) -> None:
        self.fenced = True


class Ground:
    """Slots, moved as the parts of a node move them, and checked after each move."""

    def __init__(self) -> None:
        self.slots = Slots()

    def move(self, session: str, event: SlotEvent) -> None:
        """Apply an event. Raises `RuntimeError` when it cannot happen."""
        slot = self.slots.get(session)
        ending = slot is not None and slot.task is not None
        match event:
            case "start":
                self.slots.start(session, cast("asyncio.Task[None]", object()), cast(Any, Driver()))
            case "deleted" | "kept" | "kept_ending" if slot is not None and slot.state == "deleting":
                if (event == "kept_ending") != ending:
                    raise RuntimeError("a deletion ends in another way")
                self.slots.end_deletion(session, gone=event == "deleted")
            case "claim" | "defer":
                self.slots.move(session, event, cast(Any, object()))
            case _:
                self.slots.move(session, event)
        self.check()

    def check(self) -> None:
        named = [session for state in get_args(SlotState) for session in self.slots.of(state)]
        slots = {session: self.slots.get(session) for session in named}
        assert len(named) == len(slots), "a session has one slot"
        for session, slot in slots.items():
            assert slot is not None
            assert slot.state != "released"
            assert self.slots.state(session) == slot.state
            assert slot.state == "deleting" or (slot.task is not None) == (slot.state in DRIVEN), "one task, or none"
            assert slot.live is None or slot.task is not None
            assert slot.claim is None or slot.state in ("claimed", "backing_off")
            assert slot.state != "backing_off" or slot.claim is not None, "it can be released"
            assert (slot.over is not None) == (slot.state == "deleting"), "a second deletion can wait"
            if slot.state in ("fenced", "reacquired"):
                assert cast(Any, slot.live).fenced, "only a running session is written"
        live = {session: slot.live for session, slot in slots.items() if slot is not None and slot.live is not None}
        assert self.slots.live == live
        assert (
            self.slots.driven
            == len(self.slots.tasks())
            == sum(slot.task is not None for slot in slots.values() if slot)
        )


def reach(way: list[SlotEvent]) -> Ground:
    ground = Ground()
    for event in way:
        ground.move("s", event)
    return ground


def test_every_row_is_here() -> None:
    assert sorted(ROWS) == sorted((a, event, b) for a, row in TRANSITIONS.items() for event, b in row.items())
    assert set(TRANSITIONS) == set(get_args(SlotState)) == set(WAYS)


@pytest.mark.parametrize(("before", "event", "after"), ROWS)
def test_a_row(before: SlotState, event: SlotEvent, after: SlotState) -> None:
    walked = 0
    for way in WAYS[before]:
        ground = reach(way)
        assert ground.slots.state("s") == before
        slot = ground.slots.get("s")
        ending = slot is not None and slot.task is not None
        if before == "deleting" and ending != (event in WITH_A_TASK) and event in (*WITH_A_TASK, "deleted", "kept"):
            continue
        ground.move("s", event)
        assert ground.slots.state("s") == after
        walked += 1
    assert walked


@pytest.mark.parametrize("before", list(WAYS))
def test_what_no_row_allows_changes_nothing(before: SlotState) -> None:
    for event in set(EVENTS) - TRANSITIONS[before].keys():
        ground = reach(WAYS[before][0])
        with pytest.raises(RuntimeError, match="cannot happen"):
            ground.slots.move("s", event)
        assert ground.slots.state("s") == before
        ground.check()


@pytest.mark.parametrize("event", ["claim", "found", "fence", "lease_lost"])
def test_a_driver_with_an_old_epoch_writes_nothing(event: SlotEvent) -> None:
    ground = reach(["claim", "start"])
    driver = cast(Any, ground.slots.live["s"])
    assert not driver.fenced
    ground.move("s", event)
    assert driver.fenced


def test_a_deletion_leaves_its_session_to_nobody_else() -> None:
    ground = reach(["claim", "start", "delete"])
    driver = cast(Any, ground.slots.live["s"])
    assert not driver.fenced, "it may release the session"
    ground.move("s", "claim")
    assert driver.fenced
    assert ground.slots.get("s").claim is None  # type: ignore[union-attr]
    with pytest.raises(RuntimeError):
        ground.move("s", "start")


async def test_a_second_deletion_waits_for_the_first() -> None:
    ground = reach(["claim", "delete"])
    second = asyncio.create_task(ground.slots.deletion_over("s"))
    await asyncio.sleep(0)
    assert not second.done()
    ground.move("s", "deleted")
    await asyncio.wait_for(second, 30)


def test_a_lost_lease_leaves_only_what_is_ending() -> None:
    ground = Ground()
    for number, way in enumerate(way for ways in WAYS.values() for way in ways):
        for event in way:
            ground.move(f"s{number}", event)
    ground.slots.lose_lease()
    ground.check()
    left = {state for state in get_args(SlotState) if ground.slots.of(state)}
    assert left == {"fenced", "deleting"}


LEAVING: dict[SlotState, SlotEvent] = {
    "claimed": "gone",
    "running": "end",
    "fenced": "end",
    "reacquired": "end",
    "parked": "retry",
    "backing_off": "gone",
}


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(EVENTS)), max_size=60))
def test_any_order_of_events(events: list[tuple[str, SlotEvent]]) -> None:
    ground = Ground()
    for session, event in events:
        before = ground.slots.state(session)
        try:
            ground.move(session, event)
        except RuntimeError:
            assert ground.slots.state(session) == before
            ground.check()
    for session in "abc":  # each state has an exit that needs no other node
        while (state := ground.slots.state(session)) != "released":
            slot = ground.slots.get(session)
            assert slot is not None
            if state == "deleting":
                ground.move(session, "end" if slot.task is not None else "kept")
            else:
                ground.move(session, LEAVING[state])
