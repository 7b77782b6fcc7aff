"""A state machine over a journal: random operations beside a model in memory, with reopenings in between.

class MyMachine(JournalMachine):
    async def open(self, folder): ...
TestMachine = MyMachine.TestCase
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from roost.errors import Conflict, Fenced, NotFound, SequenceConflict
from roost.log.dispatch import NodeCard
from roost.log.events import Emitted, encode_event
from roost.log.inputs import Input, MessageInput
from roost.log.protocols import Append, CheckpointRow, Delivery, NewSession, Snapshot
from roost.log.store import Store
from roost.testing.stores import bodies, new, said

T = TypeVar("T")
_SESSIONS = st.sampled_from(["a", "b", "c", "d"])
_NODES = st.sampled_from(["n1", "n2"])


class _Model:
    """`log`: without its first event. `base`: the source of a fork, and the event that it was forked at."""

    def __init__(self, log: list[bytes] | None = None, base: tuple[_Model, int] | None = None) -> None:
        self.log = log or []
        self.base = base
        self.deleted = False
        self.checkpoints: dict[int, Snapshot] = {}
        self.inbox: dict[int, Input] = {}
        self.keys: dict[str, int] = {}
        self.owner: str | None = None
        self.epoch = 0
        self.snapshot: Snapshot | None = None

    def state_at(self, at: int) -> Snapshot | None:
        own = [*self.checkpoints.values(), *([self.snapshot] if self.snapshot else [])]
        known = [one for one in own if one.seq <= at and not self.deleted]
        if known or self.base is None:
            return max(known, key=lambda one: one.seq, default=None)
        source, shared = self.base
        return source.state_at(min(at, shared))


def _state(log: list[bytes]) -> Snapshot:
    """Return a state that depends on the log alone."""
    return Snapshot(len(log) + 1, 1, b"".join(log[-2:]))


class JournalMachine(RuleBasedStateMachine):
    """A few sessions, two nodes. Every rule does the same to the journal and to the model, and compares."""

    async def open(self, folder: Path) -> Store:
        raise AssertionError("say in a subclass how to open a journal")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._loop = asyncio.new_event_loop()
        self._journal = self._do(self.open(Path(self._folder.name)))
        self._models: dict[str, _Model] = {}
        self._stale: dict[str, int] = {}
        for name in ("a", "b"):
            self._do(new(self._journal, name))
            self._models[name] = _Model()
        self._beat()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def _beat(self) -> None:
        for node in ("n1", "n2"):
            self._do(self._journal.dispatch.beat(NodeCard(id=node), ttl=600))

    @rule(session=_SESSIONS)
    def create(self, session: str) -> None:
        if session in self._models:
            return
        self._do(new(self._journal, session))
        self._models[session] = _Model()

    @rule(source=_SESSIONS, session=_SESSIONS, back=st.integers(0, 5))
    def fork(self, source: str, session: str, back: int) -> None:
        model = self._models.get(source)
        if model is None or session in self._models:
            return
        at = max(len(model.log) + 1 - back, 1)
        event, fresh = Emitted(at=2.0, name=f"fork {session}{at}"), NewSession(id=session, agent="agent", version="1")
        fork = self._models[session] = _Model([*model.log[: at - 1], encode_event(event)], (model, at))
        fork.snapshot = _state(fork.log)
        self._do(self._journal.sessions.fork(source, at, fresh, fork.snapshot, [event]))

    @rule(session=_SESSIONS)
    def delete(self, session: str) -> None:
        model = self._models.get(session)
        try:
            self._do(self._journal.sessions.delete(session))
        except NotFound:
            assert model is None
        except Conflict:
            assert model is not None
            assert model.owner is not None
        else:
            assert model is not None
            model.deleted = True
            del self._models[session]
            self._stale.pop(session, None)
            self._do(self._journal.sessions.purge())

    @rule(session=_SESSIONS, text=st.text(max_size=20), key=st.sampled_from([None, "k1", "k2"]))
    def accept(self, session: str, text: str, key: str | None) -> None:
        model = self._models.get(session)
        if model is None:
            return
        item = said(f"{key}" if key else text.encode("utf-8", "replace").decode())
        accepted = self._do(self._journal.inboxes.accept(session, item, key=key))
        assert accepted.duplicate == (key in model.keys)
        if key is not None and accepted.duplicate:
            assert model.keys[key] == accepted.id
            return
        model.inbox[accepted.id] = item
        if key is not None:
            model.keys[key] = accepted.id

    @rule(session=_SESSIONS, node=_NODES)
    def claim(self, session: str, node: str) -> None:
        model = self._models.get(session)
        if model is None:
            return
        claims = self._do(self._journal.dispatch.claim(node, session=session))
        if model.owner not in (None, node):
            assert claims == []
            return
        (claim,) = claims
        assert claim.epoch > model.epoch
        assert claim.snapshot == model.snapshot
        start = model.snapshot.seq if model.snapshot else 0
        assert [record.body for record in claim.tail if record.seq > 1] == model.log[max(start - 1, 0) :]
        assert {item.id: item.input for item in claim.inbox} == model.inbox
        self._stale[session] = model.epoch
        model.owner, model.epoch = node, claim.epoch

    @rule(
        session=_SESSIONS,
        count=st.integers(0, 4),
        consume=st.integers(0, 2),
        snapshot=st.booleans(),
        checkpoint=st.booleans(),
        drop=st.integers(0, 1),
        deliver=st.lists(st.tuples(_SESSIONS, st.sampled_from(["k1", "k2", "k3"])), max_size=3),
        release=st.booleans(),
        stale=st.booleans(),
        wrong=st.booleans(),
    )
    def append(
        self,
        session: str,
        count: int,
        consume: int,
        snapshot: bool,
        checkpoint: bool,
        drop: int,
        deliver: list[tuple[str, str]],
        release: bool,
        stale: bool,
        wrong: bool,
    ) -> None:
        model = self._models.get(session)
        if model is None:
            return
        head = len(model.log) + 1
        events = bodies(*(f"{session}{head + place}" for place in range(count)))
        taken = list(model.inbox)[:consume]
        point = _state([*model.log, *events])
        dropped = [seq for seq in model.checkpoints if seq != point.seq][:drop]
        write = Append(
            session=session,
            epoch=self._stale.get(session, 0) if stale else model.epoch,
            expected=head + 1 if wrong else head,
            bodies=events,
            consume=taken,
            snapshot=point if snapshot else None,
            checkpoint=CheckpointRow(point.seq, "c", 1.0, "manual", None, None, point) if checkpoint else None,
            drop_checkpoints=dropped,
            deliver=[Delivery(target, said(key), key) for target, key in deliver],
            release=release,
        )
        try:
            result = self._do(self._journal.logs.append(write))
        except Fenced:
            assert stale or model.owner is None
            return
        except SequenceConflict:
            assert wrong
            return
        assert not stale
        assert not wrong
        assert model.owner is not None
        assert result == head + count
        model.log.extend(events)
        model.snapshot = point if snapshot else model.snapshot
        model.checkpoints |= {point.seq: point} if checkpoint else {}
        for seq in dropped:
            del model.checkpoints[seq]
        for item in taken:
            del model.inbox[item]
        self._delivered(deliver)
        if release:
            model.owner = None

    def _delivered(self, deliver: list[tuple[str, str]]) -> None:
        for target, key in deliver:
            model = self._models.get(target)
            if model is not None and key not in model.keys:
                fresh = [one for one in self._do(self._journal.inboxes.pending(target)) if one.id not in model.inbox]
                item = next(one for one in fresh if one.input == said(key))
                model.inbox[item.id], model.keys[key] = item.input, item.id

    @rule(node=_NODES)
    def leave(self, node: str) -> None:
        self._do(self._journal.dispatch.leave(node))
        for model in self._models.values():
            if model.owner == node:
                model.owner = None
        self._beat()

    @precondition(lambda self: all(model.owner is None for model in self._models.values()))
    @rule()
    def reopen(self) -> None:
        self._do(self._journal.close())
        self._journal = self._do(self.open(Path(self._folder.name)))
        self._beat()

    @invariant()
    def same_as_the_model(self) -> None:
        for name, model in self._models.items():
            info = self._do(self._journal.sessions.get(name))
            assert info.head == len(model.log) + 1
            assert info.pending == len(model.inbox)
            assert info.owner == model.owner
            records = self._do(self._journal.logs.read(name, after=1))
            assert [record.body for record in records] == model.log
            assert [record.seq for record in records] == list(range(2, len(model.log) + 2))
            items = self._do(self._journal.inboxes.pending(name))
            assert all(isinstance(item.input, MessageInput) for item in items)
            assert {item.id: item.input for item in items} == model.inbox
            found = [one.seq for one in self._do(self._journal.logs.checkpoints(name))]
            assert found == sorted(model.checkpoints, reverse=True)
            for at in (info.head, info.head - 1, info.head // 2):
                assert self._do(self._journal.logs.snapshot(name, at=at)) == model.state_at(at)

    def teardown(self) -> None:
        self._do(self._journal.close())
        self._loop.close()
        self._folder.cleanup()


JournalMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
