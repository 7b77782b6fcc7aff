"""Which sessions this node owns, and what it does with each: one slot per session, one table of transitions."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Mapping
from typing import Literal, TypeAlias

from roost.agent.session import Session
from roost.log.protocols import Claim

SlotState: TypeAlias = Literal[
    "released", "claimed", "running", "fenced", "reacquired", "parked", "backing_off", "deleting"
]
"""What this node does with a session.

released: nothing; the node does not own it, and keeps no slot for it.
claimed: a claim is under way, or committed and not folded yet.
running: a task drives it, or writes that it cannot be woken.
fenced: no longer ours; its driver is ending and can write nothing.
reacquired: ours again under a newer epoch, while the former driver is ending.
parked: ours without a driver; the next heartbeat resumes it.
backing_off: ours without a driver, because it failed here; kept until its delay has passed.
deleting: a deletion has it; claims are noted and start no driver, a former driver is ending.
"""
SlotEvent: TypeAlias = Literal[
    "claim", "defer", "found", "start", "end", "fail", "gone", "fence", "lease_lost", "retry", "due", "delete",
    "deleted", "kept", "kept_ending",
]  # fmt: skip
"""What happens to a slot.

claim: the store gave the session to this node. defer: it did, before the session's delay has passed.
found: the store says that the session is ours, and no claim is in flight: its answer was lost.
start: a task begins. end: the task has released the session, or lost it. fail: it could do neither.
gone: the claim got nothing, or the session was deleted or released.
fence: another owner or a newer epoch was seen. lease_lost: the node's lease ended.
retry: the session is claimed again by name. due: its delay has passed, or the node drains.
delete: a deletion begins. deleted: it is done. kept: it was refused or failed. kept_ending: the same, and a former
driver is still ending.
"""

TRANSITIONS: Mapping[SlotState, Mapping[SlotEvent, SlotState]] = {
    "released": {
        "claim": "claimed",
        "defer": "backing_off",
        "found": "parked",
        "delete": "deleting",
    },
    "claimed": {
        "claim": "claimed",  # a newer claim replaces the one whose log is being read
        "start": "running",
        "gone": "released",
        "fail": "parked",
        "lease_lost": "released",
        "delete": "deleting",
    },
    "running": {
        "end": "released",
        "fail": "parked",
        "fence": "fenced",
        "lease_lost": "fenced",
        "claim": "reacquired",
        "found": "reacquired",
        "delete": "deleting",
    },
    "fenced": {
        "end": "released",
        "fail": "released",  # what it could not write belongs to the next owner
        "fence": "fenced",
        "lease_lost": "fenced",
        "claim": "reacquired",
        "found": "reacquired",
        "delete": "deleting",
    },
    "reacquired": {
        "end": "parked",
        "fail": "parked",
        "fence": "reacquired",
        "lease_lost": "fenced",
        "claim": "reacquired",
        "found": "reacquired",
        "delete": "deleting",
    },
    "parked": {
        "retry": "claimed",
        "claim": "claimed",
        "lease_lost": "released",
        "delete": "deleting",
    },
    "backing_off": {
        "due": "parked",
        "claim": "claimed",
        "defer": "backing_off",
        "gone": "released",
        "lease_lost": "released",
        "delete": "deleting",
    },
    "deleting": {
        "claim": "deleting",  # the deletion claims by name and gets a newer epoch
        "end": "deleting",
        "fail": "deleting",
        "fence": "deleting",
        "lease_lost": "deleting",
        "deleted": "released",
        "kept": "parked",
        "kept_ending": "reacquired",
    },
}
_FENCING: frozenset[SlotEvent] = frozenset({"claim", "found", "fence", "lease_lost", "kept_ending"})
"""Events after which a driver must write nothing more: its epoch is, or may soon be, an old one."""
_ENDING: frozenset[SlotEvent] = frozenset({"end", "fail"})


class Slot:
    """One session of this node.

    claim: the newest claim, while the session is claimed or backing off.
    task, live: the driver's task, and the session in memory; a task that only writes an error has no session.
    over: set when the deletion ends.
    """

    __slots__ = ("claim", "live", "over", "state", "task")

    def __init__(self) -> None:
        self.state: SlotState = "released"
        self.claim: Claim | None = None
        self.task: asyncio.Task[None] | None = None
        self.live: Session | None = None
        self.over: asyncio.Event | None = None


class Slots:
    """The slots of a node. Every change is a transition of the table. Belongs to the node's event loop.

    live: the sessions in memory, by id. driven: how many slots have a task. Both are read-only for others.
    """

    def __init__(self) -> None:
        self._slots: dict[str, Slot] = {}
        self.live: dict[str, Session] = {}
        self.driven = 0

    def get(self, session: str) -> Slot | None:
        return self._slots.get(session)

    def state(self, session: str) -> SlotState:
        slot = self._slots.get(session)
        return "released" if slot is None else slot.state

    def of(self, state: SlotState) -> list[str]:
        """Return the sessions in a state."""
        return [session for session, slot in self._slots.items() if slot.state == state]

    def tasks(self, sessions: Container[str] | None = None) -> list[asyncio.Task[None]]:
        """Return the tasks of all sessions, or of these."""
        return [
            slot.task
            for session, slot in self._slots.items()
            if slot.task is not None and (sessions is None or session in sessions)
        ]

    def move(self, session: str, event: SlotEvent, claim: Claim | None = None) -> Slot:
        """Apply an event, and fence the driver if its epoch is no longer valid. Returns the slot. Raises `RuntimeError`
        for an event that cannot happen in the slot's state."""
        slot = self._slots.get(session) or Slot()
        after = TRANSITIONS[slot.state].get(event)
        if after is None or (event in _ENDING and slot.state == "deleting" and slot.task is None):
            raise RuntimeError(f"session {session!r} is {slot.state}: {event!r} cannot happen to it")
        if event in _FENCING and slot.live is not None:
            slot.live.interrupts.fence()
        if event in _ENDING and slot.task is not None:
            slot.task = slot.live = None
            self.live.pop(session, None)
            self.driven -= 1
        if (after == "deleting") != (slot.state == "deleting"):
            slot.over = self._begin_or_end(slot.over)
        slot.state, slot.claim = after, claim if after in ("claimed", "backing_off") else None
        if after == "released":
            self._slots.pop(session, None)
        else:
            self._slots[session] = slot
        return slot

    def start(self, session: str, task: asyncio.Task[None], live: Session | None) -> None:
        """Give a claimed session its task. live: the session in memory, if it could be woken."""
        slot = self.move(session, "start")
        slot.task, slot.live = task, live
        self.driven += 1
        if live is not None:
            self.live[session] = live

    def end_deletion(self, session: str, *, gone: bool) -> None:
        """End a deletion. gone: the session no longer exists; otherwise the deletion was refused or failed."""
        ending = self._slots[session].task is not None
        self.move(session, "kept_ending" if ending else "deleted" if gone else "kept")

    def lose_lease(self) -> None:
        """Fence all drivers and give up all sessions: the store may have assigned them to other nodes."""
        for session in list(self._slots):
            self.move(session, "lease_lost")

    async def cut(self, session: str) -> None:
        """Cut the step of a session's driver, and wait until the driver has ended."""
        slot = self._slots.get(session)
        if slot is not None and slot.task is not None:
            if slot.live is not None:
                slot.live.interrupts.shut_down(cut=True)
            await asyncio.wait([slot.task])

    async def deletion_over(self, session: str) -> None:
        """Wait until no deletion has the session."""
        while (slot := self._slots.get(session)) is not None and slot.over is not None:
            await slot.over.wait()

    @staticmethod
    def _begin_or_end(over: asyncio.Event | None) -> asyncio.Event | None:
        if over is None:
            return asyncio.Event()
        over.set()
        return None
