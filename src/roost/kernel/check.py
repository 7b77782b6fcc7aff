"""Check a whole store: read and fold every log. Daemons may run meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from roost.agent.fold import apply
from roost.agent.rewind import rewind
from roost.agent.state import STATE_VERSION, State, decode_state
from roost.errors import NotFound, RoostError, StoreCorrupt, StoreUnreachable, UnknownEvent
from roost.kernel.node_feature import LogCheck, StoreCheck, feature_classes
from roost.kernel.state_loader import gone_back
from roost.log.inputs import decode_input
from roost.log.portable import SessionDump
from roost.log.protocols import Record, Snapshot
from roost.log.store import Store
from roost.stores.admin import layout, row_faults
from roost.stores.findings import Fault
from roost.stores.open import open_store

_RESTORE = "restore it from a backup, or `roost rm` it"
_PAGE = 1000
_MIGRATE = "`roost store migrate` brings it up to date"


class Checked(msgspec.Struct):
    """Counts of the checked items, and the faults found."""

    sessions: int = 0
    events: int = 0
    faults: list[Fault] = []


async def check(where: str | Path, progress: Callable[[Checked], None] = lambda done: None) -> Checked:
    """Check a store. `progress` is called repeatedly, perhaps from another thread. Raises `StoreFailed` when the store
    cannot be reached."""
    done = Checked()
    try:
        await _all(where, done, progress)
    except StoreCorrupt as error:  # too damaged to check the rest
        done.faults.append(Fault("store", str(error)))
    return done


async def _all(where: str | Path, done: Checked, progress: Callable[[Checked], None]) -> None:
    found = await layout(where)
    if not found.found:  # nothing was stored yet
        return
    if found.found != found.known:
        detail = f"the layout is {found.found}, this Roost wants {found.known}: nothing else was checked"
        done.faults.append(Fault("layout", detail, fix=_MIGRATE))
        return
    done.faults += await row_faults(where, lambda: progress(done))
    store = await open_store(where)
    checks = [one.checks(store) for one in feature_classes() if one.checks is not None]
    try:
        for one in checks:
            async for fault in one.rows():
                done.faults.append(fault)
        async for session in store.portable.sessions():
            async for fault in _session(store, session, done, checks):
                done.faults.append(fault)
            done.sessions += 1
            progress(done)
    finally:
        await store.close()


async def _session(store: Store, session: str, done: Checked, checks: Sequence[StoreCheck]) -> AsyncIterator[Fault]:
    try:
        dump = await store.portable.dump(session)
        for fault in _inbox(dump):
            yield fault
        fold = _Fold(dump, [one.log(dump.info) for one in checks])
        while fold.seq < dump.info.head and (page := await store.logs.read(session, after=fold.seq, limit=fold.left)):
            done.events += len(page)
            for record in page:
                for fault in fold.add(record, await _gone_back(store, session, record)):
                    yield fault
        for fault in fold.end():
            yield fault
        async for fault in fold.of_features():
            yield fault
        if await _beyond(store, dump):
            yield Fault(
                "head", f"the log goes on after event {dump.info.head}, where its row ends it", session, _RESTORE
            )
    except NotFound:  # it was deleted meanwhile
        return
    except StoreUnreachable:
        raise
    except (RoostError, msgspec.MsgspecError) as error:
        yield Fault("damage", str(error), session)


def _inbox(dump: SessionDump) -> Iterator[Fault]:
    session, waiting = dump.info.id, [item for item in dump.inbox if not item.taken]
    if dump.info.pending != len(waiting):
        yield Fault("pending", f"its row counts {dump.info.pending} inputs, its inbox holds {len(waiting)}", session)
    for name, body in [(f"input {item.id}", item.body) for item in waiting] + [
        (f"timer {timer.id!r}", timer.body) for timer in dump.timers
    ]:
        try:
            decode_input(body)
        except msgspec.MsgspecError as error:
            yield Fault("input", f"{name} cannot be read: {error}", session, _RESTORE)


async def _beyond(store: Store, dump: SessionDump) -> bool:
    """Return whether the log has events beyond the index row's head, those committed meanwhile excluded."""
    head = dump.info.head
    return (
        bool(await store.logs.read(dump.info.id, after=head, limit=1))
        and (await store.sessions.get(dump.info.id)).head == head
    )


async def _gone_back(store: Store, session: str, record: Record) -> State | None:
    try:
        return await gone_back(store, session, record)
    except UnknownEvent:  # reported at its position
        return None


class _Fold:
    """Fold a log from its first event on, and compare it with the store's derived data."""

    def __init__(self, dump: SessionDump, checks: Sequence[LogCheck]) -> None:
        self.seq = 0
        self._checks = checks
        self._dump = dump
        self._state = State()
        self._readable = True
        self._snapshots = [row.snapshot for row in dump.checkpoints] + ([dump.snapshot] if dump.snapshot else [])

    @property
    def left(self) -> int:
        """Number of events to read next; events committed since the dump are not read."""
        return min(_PAGE, self._dump.info.head - self.seq)

    def add(self, record: Record, then: State | None) -> Iterator[Fault]:
        """Fold the next event. `then`: the state that a rollback goes back to."""
        session = self._dump.info.id
        if record.seq != self.seq + 1:
            yield Fault("gap", f"event {record.seq} follows event {self.seq}", session, _RESTORE)
            self._readable = False
        self.seq = record.seq
        if self._readable:
            try:
                apply(self._state, record.event)
                if then is not None:
                    rewind(self._state, then)
            except UnknownEvent as error:
                self._readable = False
                yield Fault("event", f"event {record.seq}: {error}", session, _RESTORE)
        if self._readable:
            for one in self._checks:
                yield from one.add(record)
        for snapshot in self._snapshots:
            if self._readable and snapshot.seq == self.seq:
                yield from self._compare(snapshot)

    def end(self) -> Iterator[Fault]:
        info, state = self._dump.info, self._state
        if self.seq != info.head:
            yield Fault("head", f"the log ends at event {self.seq}, its row says {info.head}", info.id, _RESTORE)
        for seq in {snapshot.seq for snapshot in self._snapshots if snapshot.seq > info.head}:
            yield Fault("snapshot", f"the snapshot is of event {seq}, the log ends before it", info.id, _RESTORE)
        if not self._readable or self.seq != info.head or not info.head:
            return
        if (state.state, state.phase) != (info.state, info.phase):
            says = f"its row says {info.state}, {info.phase}; its log {state.state}, {state.phase}"
            yield Fault(
                "state", says, info.id, "`roost resume` if it was set aside, then its next turn sets this right"
            )
        if lost := state.timers.keys() - self._timers():
            yield Fault("timer", f"{', '.join(sorted(lost))} will never fire", info.id, "set it again")

    async def of_features(self) -> AsyncIterator[Fault]:
        """Compare the rows of features with the log. Skipped for a log that cannot be read."""
        for one in self._checks if self._readable and self.seq == self._dump.info.head else ():
            async for fault in one.end():
                yield fault

    def _compare(self, snapshot: Snapshot) -> Iterator[Fault]:
        """Compare a state snapshot with the folded state. Snapshots of another version are ignored, as at a wake."""
        if snapshot.version != STATE_VERSION:
            return
        try:
            same = decode_state(snapshot.body) == self._state
        except msgspec.MsgspecError:
            same = False
        if not same:
            detail = f"the snapshot of event {snapshot.seq} is not what the log up to there says"
            yield Fault("snapshot", detail, self._dump.info.id, _RESTORE)

    def _timers(self) -> set[str]:
        """Return the timers that will fire, and those that fired and still wait in the inbox."""
        waiting = {timer.id for timer in self._dump.timers}
        for item in self._dump.inbox:
            if not item.taken:
                try:
                    given = decode_input(item.body)
                except msgspec.MsgspecError:
                    continue
                if given.fired is not None:
                    waiting.add(given.fired)
        return waiting
