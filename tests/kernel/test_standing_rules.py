"""Standing rules: what an answer `always` allows from now on, in which sessions, and how it is revoked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent
from roost.authority import Authority, acting
from roost.errors import Conflict, Forbidden, Invalid, NotFound
from roost.features.rules.duties import RuleDuties
from roost.features.rules.events import RuleRevoked, RuleSaved
from roost.kernel.state_loader import load_state
from roost.log import events as ev
from roost.log.inputs import ControlInput
from roost.policy.loading import Policy
from roost.policy.rules import Rule
from roost.runtime import Runtime, SessionHandle
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from roost.tools.base import Tool
from roost.tools.function import tool

from .policies import found, under
from .support import asleep, events, running, until


def shell(command: str) -> Answer:
    return Answer(calls=(Call("shell", {"command": command}),))


def calls(*answers: Answer | str) -> ScriptedModel:
    """A model that gives these answers in each session anew."""
    return ScriptedModel(by_step([*answers]))


def deploying(done: list[str], safety: Any = "destructive") -> Tool:
    @tool(name="deploy", safety=safety)
    async def deploy(what: str) -> str:
        """Deploy something."""
        done.append(what)
        return "done"

    return deploy


def offered(asked: ev.ApprovalRequested) -> dict[str, tuple[str, ...]]:
    return {one.rule: one.scopes for one in asked.offers}


async def going(runtime: Runtime, agent: str = "a", **options: Any) -> tuple[SessionHandle, int]:
    session = await runtime.session(agent, **options)
    return session, (await session.send("go")).id


async def unasked(runtime: Runtime, agent: str = "a", **options: Any) -> bool:
    """Whether a new session gets to its end without a question."""
    session, item = await going(runtime, agent, **options)
    end = asyncio.create_task(session.answer(item))
    question = asyncio.create_task(until(session, ev.ApprovalRequested))
    await asyncio.wait((end, question), return_when=asyncio.FIRST_COMPLETED)
    asks = len(found(await events(session, runtime), ev.ApprovalRequested)) > 0
    for one in (end, question):
        one.cancel()
    await asyncio.gather(end, question, return_exceptions=True)
    return not asks


async def test_a_question_offers_the_rules_that_would_have_allowed_the_call(tmp_path: Path) -> None:
    done: list[str] = []
    root = (tmp_path / "work").resolve()
    (root / "docs").mkdir(parents=True)
    write = Answer(calls=(Call("write_file", {"path": "docs/a.txt", "content": "a"}),))
    script = calls(shell("make test"), write, Answer(calls=(Call("deploy", {"what": "x"}),)), "end")
    agent = Agent("a", model=script, tools=["shell", "write_file", deploying(done)], permissions="ask")
    async with under(tmp_path / "home", agent) as runtime:
        session = await runtime.session("a", workspace=str(root))
        item = (await session.send("go")).id
        seen: list[dict[str, tuple[str, ...]]] = []
        async for waiting in _questions(session, 3):
            asked = found(await events(session, runtime), ev.ApprovalRequested)[-1]
            seen.append(offered(asked))
            await session.approve(waiting)
        assert await session.answer(item) == "end"
    everywhere = ("session", "agent", "user")
    assert seen[0] == {"make test": everywhere, "session:all": ("session",)}
    assert seen[1] == {
        f"folder:{root / 'docs'}": everywhere,
        f"folder:{root}": everywhere,
        "tool:write_file": everywhere,
        "session:all": ("session",),
    }
    assert seen[2] == {"tool:deploy": everywhere, "session:all": ("session",)}


async def _questions(session: SessionHandle, count: int) -> AsyncGenerator[str]:
    answered: set[str] = set()
    while len(answered) < count:
        for one in (await session.inspect()).approvals:
            if one.call not in answered:
                answered.add(one.call)
                yield one.call
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "command", ["make test && make lint", "make test | tee x", "make test; make lint", "make $(make x)", "rm -rf x"]
)
async def test_a_command_of_several_programs_and_a_dangerous_one_get_no_prefix(tmp_path: Path, command: str) -> None:
    agent = Agent("a", model=calls(shell(command), "end"), tools=["shell"], permissions="ask")
    async with under(tmp_path, agent) as runtime:
        session, _ = await going(runtime)
        asked = await until(session, ev.ApprovalRequested)
        assert asked.prefixes == ()
        assert not [one for one in asked.offers if one.rule != "session:all"]


async def test_a_question_of_a_rule_offers_nothing(tmp_path: Path) -> None:
    """A standing rule counts where the permissions ask: it would not answer this question."""
    agent = Agent(
        "a",
        model=calls(Answer(calls=(Call("deploy", {"what": "x"}),)), "end"),
        tools=[deploying([])],
        permissions="ask",
    )
    async with under(tmp_path, agent, Policy(rules=(Rule(effect="ask", tool="deploy"),))) as runtime:
        session, _ = await going(runtime)
        assert (await until(session, ev.ApprovalRequested)).offers == ()


async def test_a_tool_of_high_risk_is_allowed_by_its_own_rule_only(tmp_path: Path) -> None:
    agent = Agent(
        "a",
        model=calls(Answer(calls=(Call("deploy", {"what": "x"}),)), "end"),
        tools=[deploying([], safety="high_risk")],
        permissions="ask",
    )
    async with under(tmp_path, agent) as runtime:
        session, _ = await going(runtime)
        assert [*offered(await until(session, ev.ApprovalRequested))] == ["tool:deploy"]


@pytest.mark.parametrize("scope", ["agent", "user"])
async def test_a_rule_of_an_agent_or_a_user_counts_in_its_other_sessions(tmp_path: Path, scope: Any) -> None:
    done: list[str] = []
    deploy = deploying(done)
    script = Answer(calls=(Call("deploy", {"what": "x"}),))
    agents = [Agent(name, model=calls(script, "end"), tools=[deploy], permissions="ask") for name in ("a", "b")]
    async with running(tmp_path, *agents) as runtime:
        session, item = await going(runtime, labels={"user": "ann"})
        asked = await until(session, ev.ApprovalRequested)
        with pytest.raises(Invalid, match="can be given for: session; not for: user"):
            await session.approve(asked.call, always=["session:all"], scope="user")
        await session.approve(asked.call, always=["tool:deploy"], scope=scope)
        assert await session.answer(item) == "end"
        log = await events(session, runtime)
        (resolved,), (saved,) = found(log, ev.ApprovalResolved), found(log, RuleSaved)
        assert (resolved.always, resolved.scope) == (("tool:deploy",), scope)
        (rule,) = (await runtime.rules.list()).rules
        assert saved.rules == (rule.id,)
        assert (rule.rule, rule.scope, rule.agent, rule.user, rule.session) == (
            *("tool:deploy", scope, "a", "ann"),
            session.id,
        )
        assert [one.id for one in (await runtime.rules.of(session.id)).rules] == [rule.id]
        assert await unasked(runtime, labels={"user": "ann"})
        assert await unasked(runtime, "b", labels={"user": "ann"}) is (scope == "user")
        assert not await unasked(runtime, labels={"user": "bob"})
        fork = await runtime.checkpoints.fork(session.id)
        assert (await load_state(runtime.node.store, fork.id)).grants == []


async def test_a_revoked_rule_does_not_count_even_if_it_is_written_again(tmp_path: Path) -> None:
    script = Answer(calls=(Call("deploy", {"what": "x"}),))
    agent = Agent("a", model=calls(script, "end"), tools=[deploying([])], permissions="ask")
    async with under(tmp_path, agent) as runtime:
        session, item = await going(runtime)
        asked = await until(session, ev.ApprovalRequested)
        await session.approve(asked.call, always=["tool:deploy"], scope="agent")
        assert await session.answer(item) == "end"
        assert await unasked(runtime)
        (rule,) = (await runtime.rules.list()).rules
        revoked = await runtime.rules.revoke(rule.id)
        assert revoked.revoked is not None
        assert (await runtime.rules.revoke(rule.id)).revoked == revoked.revoked
        assert not await unasked(runtime)
        lasting = runtime.node.feature(RuleDuties).rules
        (record,) = await lasting.of("", "")
        await lasting.save("", [record])  # as after a crash between the document and its event
        assert (await runtime.rules.list()).rules == []
        (kept,) = (await runtime.rules.list(revoked=True)).rules
        assert kept.revoked == revoked.revoked
        with pytest.raises(NotFound, match="roost policy list"):
            await runtime.rules.revoke("rule_0")


async def test_a_rule_of_a_session_is_revoked_and_the_next_call_asks(tmp_path: Path) -> None:
    script = ScriptedModel([shell("python3 -m this"), "one", shell("python3 -m this"), "two"])
    agent = Agent("a", model=script, tools=["shell"], permissions="ask")
    async with under(tmp_path, agent) as runtime:
        session, item = await going(runtime)
        asked = await until(session, ev.ApprovalRequested)
        await session.approve(asked.call, always=["python3 -m this"])
        assert await session.answer(item) == "one"
        (rule,) = (await runtime.rules.of(session.id)).rules
        assert (rule.rule, rule.scope, rule.call) == ("python3 -m this", "session", asked.call)
        assert (await runtime.rules.revoke_in(session.id, rule.id)).revoked is not None
        (event,) = found(await events(session, runtime), RuleRevoked)
        assert event.rule == "python3 -m this"
        assert (await runtime.rules.of(session.id)).rules == []
        with pytest.raises(NotFound):
            await runtime.rules.revoke_in(session.id, rule.id)
        item = (await session.send("again")).id
        while not (waiting := (await session.inspect()).approvals):
            await asyncio.sleep(0.01)
        await session.approve(waiting[0].call, "reject")
        assert await session.answer(item) == "two"


async def test_a_rollback_takes_a_rule_of_the_session_back_and_its_giver(tmp_path: Path) -> None:
    agent = Agent(
        "a", model=ScriptedModel(["hello", shell("python3 -m this"), "end"]), tools=["shell"], permissions="ask"
    )
    async with under(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        await session.ask("hi")
        before = (await runtime.sessions.get(session.id)).head
        item = (await session.send("go")).id
        asked = await until(session, ev.ApprovalRequested)
        await session.approve(asked.call, always=["session:all"])
        await session.answer(item)
        await asleep(runtime, session)
        assert len((await runtime.rules.of(session.id)).rules) == 1
        await runtime.checkpoints.rollback(session.id, to=before)
        await until(session, ev.SessionRolledBack)
        assert (await runtime.rules.of(session.id)).rules == []


async def test_a_late_answer_is_told_who_was_first(tmp_path: Path) -> None:
    agent = Agent("a", model=calls(Answer(calls=(Call("deploy", {"what": "x"}),)), "end"), tools=[deploying([])])
    async with under(tmp_path, agent) as runtime:
        session, item = await going(runtime)
        asked = await until(session, ev.ApprovalRequested)
        await runtime.approvals.answer(session.id, asked.call, "reject", source="console")
        with pytest.raises(Conflict, match="it was rejected by console") as late:
            await session.approve(asked.call)
        assert late.value.code == "not_waiting"
        await session.answer(item)
        with pytest.raises(Conflict, match="it was rejected by console"):
            await session.approve(asked.call)
        with pytest.raises(Conflict, match=r"waits for an answer$"):
            await session.approve("unknown")


async def test_a_rule_is_written_although_the_turn_is_cancelled_and_the_process_ends(tmp_path: Path) -> None:
    agent = Agent("a", model=calls(Answer(calls=(Call("deploy", {"what": "x"}),)), "end"), tools=[deploying([])])
    async with under(tmp_path, agent) as runtime:
        session, _ = await going(runtime)
        asked = await until(session, ev.ApprovalRequested)
        await asleep(runtime, session)
        await runtime.node.drain()  # the next node takes the answer
        await session.approve(asked.call, always=["tool:deploy"], scope="user")
        await runtime.sessions.put(session.id, ControlInput("cancel"))
    async with under(tmp_path, agent) as runtime:
        await until(runtime.open(session.id), RuleSaved, after=0)
        assert [one.rule for one in (await runtime.rules.list()).rules] == ["tool:deploy"]


async def test_a_rollback_brings_no_revoked_rule_back_nor_one_of_a_forks_source(tmp_path: Path) -> None:
    script = ScriptedModel(["hello", shell("python3 -m this"), "end", "more"])
    agent = Agent("a", model=script, tools=["shell"], permissions="ask")
    async with under(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        await session.ask("hi")
        item = (await session.send("go")).id
        asked = await until(session, ev.ApprovalRequested)
        await session.approve(asked.call, always=["session:all"])
        await session.answer(item)
        given = (await runtime.sessions.get(session.id)).head
        await session.ask("more")
        fork = await runtime.checkpoints.fork(session.id)
        await runtime.checkpoints.rollback(fork.id, to=given)
        await until(runtime.open(fork.id), ev.SessionRolledBack)
        assert (await runtime.rules.of(fork.id)).rules == []
        (rule,) = (await runtime.rules.of(session.id)).rules
        await runtime.rules.revoke_in(session.id, rule.id)
        await runtime.checkpoints.rollback(session.id, to=given)
        await until(session, ev.SessionRolledBack)
        assert (await runtime.rules.of(session.id)).rules == []


async def test_a_later_account_of_the_same_name_has_no_rules_of_the_former_one(tmp_path: Path) -> None:
    agent = Agent(
        "a",
        model=calls(Answer(calls=(Call("deploy", {"what": "x"}),)), "end"),
        tools=[deploying([])],
        permissions="ask",
    )
    async with running(tmp_path, agent) as runtime:
        await runtime.accounts.put("ann")
        with acting(Authority(account="ann", role="user")):
            session, item = await going(runtime)
            asked = await until(session, ev.ApprovalRequested)
            await session.approve(asked.call, always=["tool:deploy"], scope="user")
            assert await session.answer(item) == "end"
            assert await unasked(runtime)
            (rule,) = (await runtime.rules.list()).rules
            assert [one.id for one in (await runtime.rules.of(session.id)).rules] == [rule.id]
        await runtime.accounts.remove("ann")
        await runtime.accounts.put("ann")
        with acting(Authority(account="ann", role="user")):
            assert not await unasked(runtime)
            assert (await runtime.rules.of(session.id)).rules == []
            assert (await runtime.rules.list(revoked=True)).rules == []
            with pytest.raises(NotFound):
                await runtime.rules.revoke(rule.id)
        assert (await runtime.rules.list()).rules == []
        assert [one.id for one in (await runtime.rules.list(revoked=True)).rules] == [rule.id]


async def test_a_token_for_some_agents_makes_and_sees_no_rule_for_others(tmp_path: Path) -> None:
    deploy = deploying([])
    script = Answer(calls=(Call("deploy", {"what": "x"}),))
    agents = [Agent(name, model=calls(script, "end"), tools=[deploy], permissions="ask") for name in ("a", "b")]
    async with running(tmp_path, *agents) as runtime:
        await runtime.accounts.put("ann")
        with acting(Authority(account="ann", role="user", scopes=(("a",),))):
            session, item = await going(runtime)
            asked = await until(session, ev.ApprovalRequested)
            with pytest.raises(Forbidden, match="for some agents only"):
                await session.approve(asked.call, always=["tool:deploy"], scope="user")
            await session.approve(asked.call, always=["tool:deploy"], scope="agent")
            assert await session.answer(item) == "end"
            (rule,) = (await runtime.rules.list()).rules
        with acting(Authority(account="ann", role="user", scopes=(("b",),))):
            assert (await runtime.rules.list()).rules == []
            with pytest.raises(NotFound):
                await runtime.rules.revoke(rule.id)
