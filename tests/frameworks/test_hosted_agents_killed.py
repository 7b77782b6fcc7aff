"""A crash before and after each commit of a hosted turn: no recorded answer is paid twice, no effect comes twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from roost.agent.definition import Agent
from roost.errors import Conflict, RoostError
from roost.log import events as ev
from roost.log.session_info import Decision
from roost.policy.rules import Rule
from roost.runtime import Runtime
from roost.server.app import build_app
from roost.stores.open import open_store
from roost.stub.provider import ProviderServer
from tests.doors.test_anthropic_gateway_mode import TOML
from tests.frameworks.hosting import SCRIPT, hosted, need, share_environments
from tests.harness.crash.inside import CONFIG
from tests.harness.crash.killing import KillingStore, When
from tests.harness.postgres.server import PostgresServer

Lend: TypeAlias = Callable[[], AbstractAsyncContextManager[str | None]]
_LIVES = 60


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("ONE_KEY", "k")
    with ProviderServer(SCRIPT) as server:
        yield server
        assert not server.stats.violations, server.stats.reasons


class Turn:
    """One turn of an agent in a home, over as many lives as it takes."""

    def __init__(self, home: Path, store: str | None, agent: Agent) -> None:
        self.home, self.agent = home, agent
        self._store = store or home / "roost.db"
        self.strikes: list[str] = []
        self.events: list[ev.Event] = []

    async def live(self, text: str, at: int | None, when: When, only: str = "", decision: Decision = "approve") -> bool:
        """Work until the turn has ended, or the commit `at` of its session. Returns whether it has ended. decision: the
        answer to all questions."""
        inner = await open_store(self._store, durability="relaxed")
        store = KillingStore(inner, at=at, when=when, session="s", only=only, how="fail", on_strike=self.strikes.append)
        runtime = Runtime(self.home, agents=[self.agent], store=store, config=CONFIG)
        try:
            await runtime.start()
            await asyncio.sleep(0.2)  # sessions go on meanwhile
            build_app(runtime, token="token")
            await runtime.sessions.create("coder", id="s", key="s")
            await runtime.sessions.send("s", text, key="m")
            async with asyncio.timeout(200):
                while not store.dead:
                    self.events = [record.event for record in await runtime.sessions.history("s")]
                    if any(isinstance(one, ev.TurnCompleted) for one in self.events):
                        return True
                    if len(asked := self.kinds("approval.requested")) > len(self.kinds("approval.resolved")):
                        with contextlib.suppress(Conflict):
                            await runtime.approvals.answer("s", asked[-1].call, decision)
                    await asyncio.sleep(0.02)
        except RoostError:
            assert store.dead
        finally:
            store.strike(None)
            with contextlib.suppress(RoostError):
                await runtime.stop(grace=0.0)
        return False

    def kinds(self, name: str) -> list[Any]:
        return [one for one in self.events if ev_tag(one) == name]


def ev_tag(event: ev.Event) -> str:
    return str(type(event).__struct_config__.tag)


def turn_of(
    framework: str, home: Path, provider: ProviderServer, cache: Path, store: str | None, **options: Any
) -> Turn:
    share_environments(home, cache)
    (home / "models.toml").write_text(TOML.format(url=provider.url, wire="openai_chat"))
    return Turn(home, store, Agent("coder", model="one/m", **hosted(framework, **options)))


def check(turn: Turn, requests: int) -> None:
    """Say what must be true of a turn, however often it was cut off."""
    (done,) = turn.kinds("turn.completed")
    assert done.outcome == "answered", (done.reason, turn.strikes)
    recorded = Counter((one.scope, one.digest) for one in turn.kinds("framework.asked"))
    answers = [one for one in turn.kinds("model.completed") if one.usage.cost]
    assert len(answers) == 3, turn.strikes
    assert len(recorded) == 3, (recorded, turn.strikes)
    assert requests <= len(turn.kinds("model.started")), turn.strikes
    begun = sorted(one.step for one in turn.kinds("model.started"))
    assert requests - 3 <= len(begun) - len(set(begun)), turn.strikes  # only a call without an answer was made again
    paid = turn.home / "workspaces" / "s" / "paid.txt"
    effects = paid.read_text().splitlines() if paid.exists() else []
    names = {part.id: part.name for one in answers for part in one.parts if hasattr(part, "arguments")}
    outcomes = {names.get(one.call): one.outcome for one in turn.kinds("tool.completed")}
    assert effects in ([["5"]] if outcomes["pay"] == "ok" else [[], ["5"]]), (outcomes, turn.strikes)
    assert outcomes["pay"] in ("ok", "interrupted")
    texts = [one.parts for one in turn.kinds("tool.completed")]
    assert outcomes["look"] == "ok", (texts, turn.strikes)
    assert not turn.kinds("framework.diverged"), turn.strikes
    assert [one.unclaimed for one in turn.kinds("framework.ended")] == [0]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.timeout(900)
async def test_a_crash_at_every_commit(tmp_path: Path, provider: ProviderServer, cache: Path, when: When) -> None:
    """With the agent that starts fastest: each commit of a turn, each in a home of its own; before every third one
    alone, since what is on the disk then is what was there after the commit before."""
    for at in range(1, _LIVES, 3 if when == "before" else 1):
        before = provider.stats.requests
        turn = turn_of("python", tmp_path / str(at), provider, cache, None)
        ended = await turn.live("WORK please", at, when)
        if not ended:
            assert await turn.live("WORK please", None, when)
        check(turn, provider.stats.requests - before)
        if ended:
            assert at > 12
            return


@pytest.fixture
def hosts(request: pytest.FixtureRequest, cache: Path) -> str:
    """The name of a framework whose environment there is."""
    need(request.param, cache)
    return request.param


@pytest.mark.parametrize(
    ("hosts", "store"),
    [
        ("python", "postgres"),
        pytest.param("termo-agent", "sqlite", marks=pytest.mark.soak),  # `test_conformance.py` has the others
    ],
    indirect=["hosts"],
)
@pytest.mark.timeout(900)
async def test_many_crashes_in_one_turn(
    tmp_path: Path, provider: ProviderServer, cache: Path, hosts: str, store: str, request: pytest.FixtureRequest
) -> None:
    """A crash a few commits after each start, until the turn has ended. A framework takes seconds to start."""
    lend: Lend = contextlib.nullcontext
    if store == "postgres":
        postgres: PostgresServer = request.getfixturevalue("postgres")
        lend = postgres.borrowed
    async with lend() as url:
        turn = turn_of(hosts, tmp_path / "home", provider, cache, url)
        for life in range(_LIVES):
            at, when = (5 if hosts == "python" else 8) + life % 4, ("before", "after")[life % 2]
            if await turn.live("WORK please", at, when):
                break
        assert len(turn.strikes) >= 2
        check(turn, provider.stats.requests)
        if hosts == "termo-agent":  # each start found its folder as it was at first
            heard = turn.home / "workspaces" / "s" / ".roost-agent" / "home" / ".termo-agent" / "heard.txt"
            assert heard.read_text() == "api:direct: WORK please\n"


async def test_a_call_over_mcp_is_not_made_twice(tmp_path: Path, provider: ProviderServer, cache: Path) -> None:
    """Life 1 dies once the outcome is committed, and before the program has it."""
    options = {"object": "calling:answer", "tools": ["remember", "recall"]}
    turn = turn_of("python", tmp_path / "home", provider, cache, None, **options)
    assert not await turn.live("HELLO", 1, "after", only="tool.completed")
    assert await turn.live("HELLO", None, "after")
    assert len(turn.kinds("tool.started")) == len(turn.kinds("tool.completed")) == 3
    assert turn.kinds("turn.completed")[0].outcome == "answered"
    assert [one.unclaimed for one in turn.kinds("framework.ended")] == [0]


async def test_a_time_in_the_instructions_is_no_other_request(
    tmp_path: Path, provider: ProviderServer, cache: Path
) -> None:
    turn = turn_of("python", tmp_path / "home", provider, cache, None, object="forgetful:drifting")
    assert not await turn.live("WORK please", 1, "after", only="framework.asked")
    assert await turn.live("WORK please", None, "after")
    assert provider.stats.requests == 3
    assert [one.kind for one in turn.kinds("framework.diverged")] == ["drifted"]
    assert turn.kinds("turn.completed")[0].outcome == "answered"


async def test_an_effect_is_not_repeated_by_an_agent_that_does_other_work(
    tmp_path: Path, provider: ProviderServer, cache: Path
) -> None:
    """Life 1 pays and dies. The agent then asks another question, and is given the outcome of that payment."""
    turn = turn_of("python", tmp_path / "home", provider, cache, None, object="forgetful:diverging")
    assert not await turn.live("WORK please", 3, "after", only="framework.asked")
    assert await turn.live("WORK please", None, "after")
    (done,) = turn.kinds("turn.completed")
    assert (turn.home / "workspaces" / "s" / "paid.txt").read_text() == "5\n"
    assert done.outcome == "answered"
    assert turn.kinds("framework.ended")[0].unclaimed == 3


@pytest.mark.parametrize("decision", ["approve", "reject"])
async def test_a_person_is_asked_whether_an_agent_that_does_other_work_may_go_on(
    tmp_path: Path, provider: ProviderServer, cache: Path, decision: Decision
) -> None:
    """Life 1 pays and dies. The agent then wants to pay another amount, and a person watches."""
    options = {"object": "forgetful:paying_more", "permissions": "ask", "rules": [Rule(effect="allow", tool="pay")]}
    turn = turn_of("python", tmp_path / "home", provider, cache, None, **options)
    assert not await turn.live("WORK please", 3, "after", only="framework.asked")
    assert await turn.live("WORK please", None, "after", decision=decision)
    (done,) = turn.kinds("turn.completed")
    (diverged,) = turn.kinds("framework.diverged")
    assert (done.outcome, diverged.kind) == ("answered", "stopped")
    assert turn.kinds("approval.requested")[-1].call == diverged.call
    assert "did other work" in turn.kinds("approval.requested")[-1].reason
    paid = (turn.home / "workspaces" / "s" / "paid.txt").read_text().split()
    assert paid == (["5", "6"] if decision == "approve" else ["5"])


@pytest.mark.parametrize("agent", ["paying_more", "paying_anything"])
async def test_an_agent_that_wants_another_effect_than_before_ends_the_turn(
    tmp_path: Path, provider: ProviderServer, cache: Path, agent: str
) -> None:
    """Life 1 pays and dies. The agent is then given the same answers, and wants to pay another amount."""
    turn = turn_of("python", tmp_path / "home", provider, cache, None, object=f"forgetful:{agent}")
    assert not await turn.live("WORK please", 3, "after", only="framework.asked")
    paid = (turn.home / "workspaces" / "s" / "paid.txt").read_text()
    assert await turn.live("WORK please", None, "after")
    (done,) = turn.kinds("turn.completed")
    assert (turn.home / "workspaces" / "s" / "paid.txt").read_text() == paid
    assert done.outcome == "failed"
    assert "the agent did other work than before the interruption: pay ran before" in done.reason
    assert [one.kind for one in turn.kinds("framework.diverged")] == ["stopped"]
    assert provider.stats.requests == 3
