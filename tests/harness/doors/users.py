"""Users of doors: they go on whatever happens to the nodes, and look at everything when they are done."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.harness.cluster.report import ClusterReport
from tests.harness.cluster.users import patiently
from tests.harness.crash.check import problems
from tests.harness.crash.hands import PATIENCE
from tests.harness.crash.plans import AGENT, message
from tests.harness.crash.witness import Effect, effects
from tests.harness.doors.clients import CLIENTS, Client
from tests.harness.doors.transport import Address, Cut, Heard, Http, Loopback

from roost.client.daemon_address import Endpoint, Unreachable
from roost.log import events as ev
from roost.log.content import Text
from roost.log.protocols import SessionQuery
from roost.log.store import Store

_RETRY_SECONDS = 0.1
_LONGEST = 3
"""Most messages of a conversation."""
_SILENCE = 5.0
"""A client leaves a stream that says nothing for so long: a suspended node never answers."""
_WORDS = " word" * 30
"""Makes an answer, which repeats the message, some pieces long."""


def address_of(endpoint: Callable[[], Endpoint]) -> Callable[[], Address]:
    """Return the address of a node, or of a balancer, for clients of doors. Raises `Cut` while there is none."""

    def found() -> Address:
        try:
            there = endpoint()
        except Unreachable as error:
            raise Cut(Heard(), str(error)) from None
        host, port, _ = there.address
        return Address(host, port, there.token)

    return found


class Conversation:
    """A conversation through a door, and what was said in it. cuts: how often an answer was cut off."""

    def __init__(self, door: str, name: str, agent: str = AGENT) -> None:
        self.door, self.name = door, name
        self.client: Client = CLIENTS[door](agent, name)
        self.texts: list[str] = []
        self.cuts = 0
        self._sessions: set[str] = set()

    @property
    def session(self) -> str:
        return self.client.session

    async def say(self, http: Http, text: str) -> None:
        """Say it and hear the answer, over any number of cuts. Raises `AssertionError`."""
        self.texts.append(text)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = await self.client.say(http, text)
                break
            except Cut as cut:
                self.cuts += 1
                if time.monotonic() > deadline:
                    raise AssertionError(f"{self.name}: {text[:60]!r} was not answered: {cut}") from None
            await asyncio.sleep(_RETRY_SECONDS)
        self._sessions.add(self.session)
        assert text in answer, f"{self.name}: {text[:60]!r} was answered with {answer[:300]!r}"
        assert answer.count(text) == 1, f"{self.name}: the answer came twice: {answer!r}"

    async def problems(self, store: Store, done: Sequence[Effect]) -> list[str]:
        """Return what is wrong with the conversation, in words: it must have come to rest."""
        if self.door == "agentruntime":
            return []
        if len(self._sessions) != 1:
            return [f"{self.name}: is in the sessions {sorted(self._sessions)}"]
        await self._rest(store)
        found = await problems(store, self.session, effects=done, settled=True)
        received = await _received(store, self.session)
        if received != self.texts:
            found.append(f"{len(self.texts)} messages were sent, the log has {[one[:40] for one in received]}")
        return [f"{self.name}: {one}" for one in found]

    async def _rest(self, store: Store) -> None:
        deadline = time.monotonic() + PATIENCE
        while (info := await store.sessions.get(self.session)).phase != "idle" or info.pending:
            assert time.monotonic() < deadline, f"{self.name}: session {self.session!r} never came to rest"
            await asyncio.sleep(_RETRY_SECONDS)


async def _received(store: Store, session: str) -> list[str]:
    found: list[str] = []
    after = 0
    while page := await store.logs.read(session, after=after, limit=1000):
        received = (event for record in page if isinstance(event := record.event, ev.InputReceived))
        found += ["".join(part.text for part in event.parts if isinstance(part, Text)) for event in received]
        after = page[-1].seq
    return found


async def strays(store: Store, known: set[str]) -> list[str]:
    """Return the sessions that no client knows: a request made one twice."""
    found = {info.id for info in await store.sessions.find(SessionQuery(limit=10_000))}
    return [f"nobody knows the session {one!r}" for one in sorted(found - known)]


class DoorUsers:
    """A user for each door, from conversation to conversation; as `tests.harness.cluster.users.Users`."""

    def __init__(
        self,
        endpoint: Callable[[], Endpoint],
        store: Store,
        witness: Path,
        report: ClusterReport,
        *,
        seed: int,
        plans: Sequence[str],
        doors: Sequence[str],
    ) -> None:
        self.over = False
        self._http = Loopback(address_of(endpoint), silence=_SILENCE)
        self._store, self._witness, self._report = store, witness, report
        self._chance, self._plans, self._doors = random.Random(seed), plans, doors
        self._tasks: list[asyncio.Task[None]] = []
        self._known: set[str] = set()

    def start(self, count: int) -> None:
        """Start `count` users, at least one for each door."""
        doors = [self._doors[number % len(self._doors)] for number in range(max(count, len(self._doors)))]
        self._tasks = [asyncio.create_task(self._user(door, f"{door}-{n}")) for n, door in enumerate(doors)]

    @property
    def failed(self) -> bool:
        """One of them gave up."""
        return any(task.done() for task in self._tasks)

    async def end(self) -> None:
        """Let each bring its conversation to an end."""
        self.over = True
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._report.problems += [f"a user failed: {type(end).__name__}: {end}" for end in ends if end is not None]
        self._report.problems += await patiently(lambda: strays(self._store, self._known))
        self._report.effects = len(effects(self._witness))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _user(self, door: str, name: str) -> None:
        chance, number = random.Random(f"{name}:{self._chance.random()}"), 0
        while not self.over:
            number += 1
            conversation = Conversation(door, f"{name}-{number}")
            try:
                for _ in range(chance.randint(1, _LONGEST)):
                    await conversation.say(self._http, message(chance.choice(self._plans)) + _WORDS)
            finally:
                await conversation.client.leave()
            self._known |= {conversation.session, conversation.client.beside}
            await self._finish(conversation)

    async def _finish(self, conversation: Conversation) -> None:
        session, report = conversation.session, self._report

        async def look() -> list[str]:
            done = [one for one in effects(self._witness) if one.session == session]
            return await conversation.problems(self._store, done)

        report.problems += await patiently(look)
        report.sessions += 1
        report.inputs += len(conversation.texts)
        report.stream_breaks += conversation.cuts
