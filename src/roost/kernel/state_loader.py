"""Load what a session's state is folded from."""

from __future__ import annotations

from collections.abc import Sequence

from roost.agent.rewind import Folding
from roost.agent.session import wake
from roost.agent.state import STATE_VERSION, State, decode_state, encode_state
from roost.errors import UnknownEvent
from roost.log import events as ev
from roost.log.protocols import Claim, Record, Snapshot
from roost.log.store import Store

_ROLLED_BACK = b'{"type":"session.rolled_back"'
_PAGE = 1000


async def load(store: Store, session: str, snapshot: Snapshot | None) -> tuple[Snapshot | None, list[Record]]:
    """Return what `wake` folds: the state snapshot, if its version is current, and all later events. After a rollback
    among them, the snapshot is that of the last rollback. Raises `NotFound`."""
    return await _load(store, session, snapshot, None)


def to_load(claim: Claim) -> bool:
    """Return whether `wake` cannot fold the claim's own snapshot and tail."""
    foreign = claim.snapshot is not None and claim.snapshot.version != STATE_VERSION
    return foreign or any(record.body.startswith(_ROLLED_BACK) for record in claim.tail)


async def state_at(store: Store, session: str, seq: int) -> State:
    """Return the session's state after event `seq`. Raises `NotFound`, `UnknownEvent`."""
    return wake(*await _load(store, session, await store.logs.snapshot(session, at=seq), seq))


async def load_state(store: Store, session: str, *, head: int | None = None) -> State:
    """Return the session's state at its committed head, or at `head` or later, which saves a read. Raises `NotFound`,
    `UnknownEvent`."""
    return wake(*await _load(store, session, await store.logs.snapshot(session), None, head))


async def gone_back(store: Store, session: str, record: Record) -> State | None:
    """Return the state that a rollback event goes back to; None for any other event. For callers that fold a log event
    by event."""
    if not record.body.startswith(_ROLLED_BACK):
        return None
    event = record.event
    assert isinstance(event, ev.SessionRolledBack)
    return await state_at(store, session, event.to)


async def _load(
    store: Store, session: str, snapshot: Snapshot | None, upto: int | None, enough: int | None = None
) -> tuple[Snapshot | None, list[Record]]:
    """upto: the last event to read. enough: the position after which no further page is read."""
    if snapshot is not None and snapshot.version != STATE_VERSION:
        snapshot = None
    after = 0 if snapshot is None else snapshot.seq
    tail: list[Record] = []
    last = enough if upto is None else upto
    while (last is None or after < last) and (page := await store.logs.read(session, after=after, limit=_PAGE)):
        tail.extend(page)
        after = tail[-1].seq
    if upto is not None:
        tail = [record for record in tail if record.seq <= upto]
    return await _past_rollbacks(store, session, snapshot, tail)


async def _past_rollbacks(
    store: Store, session: str, snapshot: Snapshot | None, tail: Sequence[Record]
) -> tuple[Snapshot | None, list[Record]]:
    """Fold a tail that has rollbacks. Each rollback writes a state snapshot, so the tail has a rollback only if that
    snapshot has another version, or if an older position is wanted, whose snapshot a newer one has replaced."""
    places = [place for place, record in enumerate(tail) if record.body.startswith(_ROLLED_BACK)]
    if not places:
        return snapshot, list(tail)
    try:
        events = [tail[place].event for place in places]
        wanted = {event.to for event in events if isinstance(event, ev.SessionRolledBack)}
        folding = Folding(State() if snapshot is None else decode_state(snapshot.body), wanted)
        for record in tail[: places[-1] + 1]:
            event = record.event
            then = None
            if isinstance(event, ev.SessionRolledBack) and not folding.knows(event.to):
                then = await state_at(store, session, event.to)
            folding.add(event, then)
    except UnknownEvent:  # `wake` raises it too, and its caller handles it
        return snapshot, list(tail)
    last = tail[places[-1]].seq
    return Snapshot(last, STATE_VERSION, encode_state(folding.state)), list(tail[places[-1] + 1 :])
