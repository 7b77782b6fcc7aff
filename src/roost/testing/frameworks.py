"""Conformance suite of an adapter for an agent framework. Every adapter that comes with Roost passes it.

    class TestMine(FrameworkContract):
        options = {"framework": "own", "object": "my_agent:agent", "source": "agents", "requirements": ["mine==1.0"]}

The agent must have two tools: `look(what: str)`, which returns "seen WHAT", and `pay(amount: int)`, which appends the
amount as a line to the file `paid.txt` and returns text with the word "paid". A model may call them by longer names
(`look`, `pay` of the class). Its models are played by a provider on
loopback. Needs pytest's asyncio mode `auto`, and a registry or a full cache of packages for `requirements`.

Fixtures to replace: `environments`, a folder that keeps the environments between runs; `sessions_store`, the address
of a PostgreSQL database in place of the home's own SQLite file."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import os
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from roost.agent.definition import Agent, Limits
from roost.errors import RoostError
from roost.kernel.config import KernelConfig
from roost.log import events as ev
from roost.log.protocols import Record
from roost.log.session_info import Decision
from roost.runtime import Runtime, SessionHandle, TurnFailed
from roost.server.app import build_app
from roost.stores.open import open_store
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.cut_store import CutStore, When
from roost.testing.scripted import Call


def script_of(look: str = "look", pay: str = "pay") -> Script:
    """Return what the model answers to a message with one of the words HELLO, AND MORE, SLOWLY, FOR EVER and WORK.
    look, pay: names by which it calls the two tools."""
    both = (Call(look, {"what": "a"}), Call(look, {"what": "b"}))
    work = (Reply(text="I look.", calls=both), Reply(calls=(Call(pay, {"amount": 5}),)), Reply(text="DONE: {result}"))
    return Script(
        rules=(
            Rule(when="AND MORE", answers=(Reply(text="more"),)),
            Rule(when="SLOWLY", answers=(Reply(text="word " * 400, pace=0.05, piece=5),)),
            Rule(when="FOR EVER", answers=(Reply(calls=(Call(look, {"what": "again"}),)),)),
            Rule(when="WORK", answers=work),
            Rule(when="HELLO", answers=(Reply(text="hello back"),)),
        )
    )


_MODELS = """
default = "one/m"

[accounts.one]
base_url = "{url}"
key = "env:ROOST_CONTRACT_KEY"
wire = "openai_chat"
retry = {{ tries = 1 }}

[models."one/m"]
window = 64000
max_output = 4000
price = {{ input = 1.0, output = 2.0 }}
"""
_CONFIG = KernelConfig(linger=0.02, scan=0.2, lease=5.0)
_LONG = 400.0
"""Seconds for a turn: a framework may take many to start on a busy machine."""
_MOST_LIVES = 80


class HostedHome:
    """A home with the agent `coder`, whose runtimes come and go. store: address of its store."""

    def __init__(self, folder: Path, provider: ProviderServer, options: dict[str, Any], store: str | None) -> None:
        self.folder, self.provider, self.options = folder, provider, options
        self._store = store or folder / "roost.db"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "models.toml").write_text(_MODELS.format(url=provider.url))

    @contextlib.asynccontextmanager
    async def runtime(self, cut: tuple[int, When] | None = None, **options: Any) -> AsyncGenerator[Runtime]:
        """Open the home, with a store that may be gone after or before some append of session `s`."""
        at, when = cut or (None, "after")
        agent = Agent("coder", model="one/m", **{**self.options, **options})
        inner = await open_store(self._store, durability="relaxed")
        self.store = CutStore(inner, session="s", at=at, when=when)
        runtime = Runtime(self.folder, agents=[agent], store=self.store, config=_CONFIG)
        try:
            await runtime.start()
            build_app(runtime, token="token")
            yield runtime
        finally:
            self.store.cut()
            with contextlib.suppress(RoostError):
                await runtime.stop(grace=0.0)

    async def live(self, text: str, cut: tuple[int, When] | None) -> bool:
        """Work on one message until its turn or the store has ended. Returns whether the turn has."""
        with contextlib.suppress(RoostError):
            async with self.runtime(cut) as runtime:
                session = await runtime.session("coder", id="s", key="s")
                await session.send(text, key="m")
                ended = asyncio.create_task(self._ended(session))
                lost = asyncio.create_task(self.store.lost.wait())
                try:
                    await asyncio.wait({ended, lost}, timeout=_LONG, return_when=asyncio.FIRST_COMPLETED)
                    assert ended.done() or lost.done(), f"the turn did not end in {_LONG:g} seconds"
                    return ended.done() and ended.exception() is None
                finally:
                    for task in (ended, lost):
                        task.cancel()
                    await asyncio.gather(ended, lost, return_exceptions=True)
        return False

    async def _ended(self, session: SessionHandle) -> None:
        async for event in session.events():
            if isinstance(event, ev.TurnCompleted):
                return

    async def events(self, session: str = "s") -> list[ev.Event]:
        """Return the log of a session. No runtime may be open."""
        store = await open_store(self._store, durability="relaxed")
        try:
            found: list[Record] = []
            while page := await store.logs.read(session, after=found[-1].seq if found else 0):
                found += page
            return [record.event for record in found]
        finally:
            await store.close()

    def paid(self, session: str = "s") -> list[str]:
        """Return the effects of `pay`."""
        file = self.folder / "workspaces" / session / "paid.txt"
        return file.read_text().splitlines() if file.exists() else []


def tagged(events: list[ev.Event], name: str) -> list[Any]:
    """Return the events with a tag."""
    return [one for one in events if one.__struct_config__.tag == name]


def check_turn(home: HostedHome, events: list[ev.Event], requests: int) -> None:
    """Fail unless the work was done once, however often it was cut off. requests: that the provider got."""
    (done,) = tagged(events, "turn.completed")
    assert done.outcome == "answered", done.reason
    asked = Counter((one.scope, one.digest) for one in tagged(events, "framework.asked"))
    answers = [one for one in tagged(events, "model.completed") if one.usage.cost]
    assert len(answers) == len(asked) == 3, asked
    begun = [one.step for one in tagged(events, "model.started")]
    again = len(begun) - len(set(begun))
    assert requests - 3 <= again, f"{requests} requests, and {again} model calls were cut off: one was paid twice"
    names = {part.id: part.name for one in answers for part in one.parts if hasattr(part, "arguments")}
    outcomes = {names.get(one.call): one.outcome for one in tagged(events, "tool.completed")}
    looks, pays = (outcomes.pop(next(name for name in outcomes if word in str(name))) for word in ("look", "pay"))
    assert looks == "ok"
    assert pays in ("ok", "interrupted")
    assert home.paid() in ([["5"]] if pays == "ok" else [[], ["5"]]), pays
    assert not tagged(events, "framework.diverged")
    assert [one.unclaimed for one in tagged(events, "framework.ended")] == [0]


class FrameworkContract:
    """options: of the agent, as in an agent file; `permissions` and `replay` are the suite's."""

    options: ClassVar[dict[str, Any]]
    look: ClassVar[str] = "look"
    pay: ClassVar[str] = "pay"
    """The names by which a model calls the agent's two tools."""
    commits: ClassVar[int] = 3
    """Commits from a start to the crash after it, at least. More where a framework takes seconds to start."""

    @pytest.fixture
    def environments(self) -> Path | None:
        given = os.environ.get("ROOST_TEST_ENVIRONMENTS")
        return Path(given) if given else None

    @pytest.fixture
    def sessions_store(self) -> str | None:
        return None

    @pytest.fixture
    def provider(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
        monkeypatch.setenv("ROOST_CONTRACT_KEY", "k")
        with ProviderServer(script_of(self.look, self.pay)) as server:
            yield server
            assert not server.stats.violations, server.stats.reasons

    @pytest.fixture
    def make_home(
        self, tmp_path: Path, provider: ProviderServer, environments: Path | None, sessions_store: str | None
    ) -> Callable[..., HostedHome]:
        def make(name: str = "home", **options: Any) -> HostedHome:
            fixed = {"permissions": "all", "replay": {self.look: "safe"}}
            home = HostedHome(tmp_path / name, provider, {**self.options, **fixed, **options}, sessions_store)
            if environments is not None:
                environments.mkdir(parents=True, exist_ok=True)
                os.symlink(environments, home.folder / "frameworks")
            return home

        return make

    async def test_steps_tools_and_pieces_of_the_answer(self, make_home: Callable[..., HostedHome]) -> None:
        """Each model call is a step, each tool call is logged, and readers get the answer while it is written."""
        home, pieces = make_home(), list[str]()
        async with home.runtime() as runtime:
            session = await runtime.session("coder", id="s")
            said = await session.ask("WORK please", on_delta=pieces.append)
        assert "paid" in said
        assert "I look." in "".join(pieces)
        events = await home.events()
        check_turn(home, events, home.provider.stats.requests)
        assert tagged(events, "turn.completed")[0].usage.cost > 0

    async def test_the_conversation_goes_on(self, make_home: Callable[..., HostedHome]) -> None:
        home = make_home()
        async with home.runtime() as runtime:
            session = await runtime.session("coder", id="s")
            for text in ("HELLO there", "AND MORE"):
                await session.ask(text)
        first, second = tagged(await home.events(), "framework.ended")
        kept = [*first.items[: second.keep], *second.items]
        for text in ("HELLO there", "AND MORE"):
            assert _mentions(kept, text), f"{text!r} is not in what the agent keeps for its next turn"

    async def test_a_no_reaches_the_model_and_a_yes_runs_the_tool(self, make_home: Callable[..., HostedHome]) -> None:
        home = make_home(permissions="ask")
        async with home.runtime() as runtime:
            session = await runtime.session("coder", id="s")
            rounds: list[tuple[Decision, list[str]]] = [("reject", []), ("approve", ["5"])]
            for decision, effects in rounds:
                after = (await session.inspect()).info.head
                accepted = await session.send("WORK please")
                asked = await _asked(session, after)
                assert asked.name == self.pay
                assert not home.paid()
                await session.approve(asked.call, decision)
                said = await session.answer(accepted.id, after=after)
                assert home.paid() == effects
                assert ("paid" in said) == bool(effects), said

    async def test_a_cancel_ends_the_program(self, make_home: Callable[..., HostedHome]) -> None:
        home = make_home()
        async with home.runtime() as runtime:
            session = await runtime.session("coder", id="s")
            begun = asyncio.Event()
            work = asyncio.create_task(session.ask("SLOWLY please", on_delta=lambda _: begun.set()))
            async with asyncio.timeout(_LONG):
                await begun.wait()
            await session.control("cancel")
            with pytest.raises(TurnFailed):
                await work
            assert await session.ask("HELLO again") == "hello back"

    async def test_a_limit_ends_the_turn(self, make_home: Callable[..., HostedHome]) -> None:
        home = make_home(limits=Limits(steps=3))
        async with home.runtime() as runtime:
            session = await runtime.session("coder", id="s")
            with pytest.raises(TurnFailed):
                await session.ask("FOR EVER please")
        assert tagged(await home.events(), "turn.completed")[0].outcome == "limit"
        assert home.provider.stats.requests <= 4

    async def test_two_sessions_at_once(self, make_home: Callable[..., HostedHome]) -> None:
        home = make_home()
        async with home.runtime() as runtime:
            sessions = [await runtime.session("coder", id=name) for name in ("s", "t")]
            said = await asyncio.gather(*(session.ask("WORK please") for session in sessions))
        assert all("paid" in one for one in said)
        assert (home.paid("s"), home.paid("t")) == (["5"], ["5"])
        assert home.provider.stats.requests == 6

    async def test_crashes_in_one_turn(self, make_home: Callable[..., HostedHome]) -> None:
        """The runtime dies a few commits after each start, until the turn has ended."""
        home, cuts = make_home(), 0
        for life in range(_MOST_LIVES):
            when: When = "after" if life % 2 else "before"
            if await home.live("WORK please", (self.commits + life % 3, when)):
                break
            cuts += 1
        assert cuts >= 2
        check_turn(home, await home.events(), home.provider.stats.requests)

    async def test_a_crash_at_every_commit(
        self, make_home: Callable[..., HostedHome], provider: ProviderServer
    ) -> None:
        """Each commit of a turn, each in a home of its own. Takes minutes."""
        whens: tuple[When, When] = ("before", "after")
        for when in whens:
            for at in range(1, _MOST_LIVES):
                home, before = make_home(f"{when}-{at}"), provider.stats.requests
                ended = await home.live("WORK please", (at, when))
                if not ended:
                    assert await home.live("WORK please", None)
                check_turn(home, await home.events(), provider.stats.requests - before)
                if ended:
                    assert at > 8
                    break


def _mentions(kept: Any, text: str) -> bool:
    """Whether JSON has a text, also in Base64."""
    if isinstance(kept, dict | list):
        inside = cast("dict[str, Any]", kept).values() if isinstance(kept, dict) else cast("list[Any]", kept)
        return any(_mentions(one, text) for one in inside)
    if not isinstance(kept, str):
        return False
    with contextlib.suppress(binascii.Error, ValueError):
        if text.encode() in base64.b64decode(kept, validate=True):
            return True
    return text in kept


async def _asked(session: SessionHandle, after: int) -> ev.ApprovalRequested:
    """Return the next question of a session."""
    async with asyncio.timeout(_LONG):
        async for event in session.events(after=after):
            if isinstance(event, ev.ApprovalRequested):
                return event
    raise AssertionError("the session has ended")
