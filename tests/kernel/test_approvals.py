"""Calls that wait for a person: allowed, refused, changed, or answered by nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.errors import Conflict, Invalid
from roost.kernel.state_loader import load_state
from roost.log import events as ev
from roost.policy.loading import Approvals, Policy
from roost.policy.rules import Rule
from roost.testing.clock import MovedClock
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

from .policies import Notes, found, under, writer
from .support import asleep, events, outcomes, until


async def test_a_person_changes_the_arguments(tmp_path: Path) -> None:
    notes = Notes()
    agent = writer(notes)
    async with under(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        accepted = await session.send("go")
        asked = await until(session, ev.ApprovalRequested)
        with pytest.raises(Invalid, match="belong to the decision"):
            await session.approve(asked.call, "modify")
        with pytest.raises(Invalid, match="lacks 'text'"):
            await session.approve(asked.call, "modify", arguments={"times": 2})
        with pytest.raises(Invalid, match="times must be of type integer"):
            await session.approve(asked.call, "modify", arguments={"text": "y", "times": [2]})
        await asleep(runtime, session)
    async with under(tmp_path, agent) as runtime:  # whatever ends in between
        session = runtime.open(session.id)
        await session.approve(asked.call, "modify", arguments={"text": "y", "times": 2})
        assert await session.answer(accepted.id) == "end"
        log = await events(session, runtime)
        (done,) = found(log, ev.ToolCompleted)
        said = [part.text for part in done.parts]
        assert said == ['[a person changed the arguments to {"text":"y","times":2}]', "wrote yy"]
        assert [event.why for event in found(log, ev.ToolStarted)] == ["person: approved"]
    assert notes.written == ["yy"]


async def test_what_the_policy_denies_a_changed_call_cannot_do_either(tmp_path: Path) -> None:
    rules = (Rule(effect="deny", path="keep/**", access="write"),)
    script = ScriptedModel(by_step([Answer(calls=(Call("write_file", {"path": "a", "content": "x"}),)), "end"]))
    agent = Agent("a", model=script, tools=["write_file"], permissions="ask", rules=rules)
    async with under(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        accepted = await session.send("go")
        asked = await until(session, ev.ApprovalRequested)
        await session.approve(asked.call, "modify", arguments={"path": "b/../keep/a", "content": "x"})
        assert await session.answer(accepted.id) == "end"
        (done,) = found(await events(session, runtime), ev.ToolCompleted)
        assert (done.outcome, done.why) == ("denied", "config: deny path=keep/**")


async def test_nobody_answers_in_time(tmp_path: Path, clock: MovedClock) -> None:
    notes = Notes()
    policy = Policy(approvals=Approvals(seconds=10.0))
    async with under(tmp_path, writer(notes), policy) as runtime:
        session = await runtime.session("a")
        accepted = await session.send("go")
        asked = await until(session, ev.ApprovalRequested)
        assert asked.due == pytest.approx(asked.at + 10.0)
        await asleep(runtime, session)
        assert list((await session.inspect()).timers) == [f"approval:{asked.call}"]
    clock.skip(10.0)
    async with under(tmp_path, writer(notes), policy) as runtime:  # it came due while nobody ran
        session = runtime.open(session.id)
        assert await session.answer(accepted.id) == "end"
        log = await events(session, runtime)
        (resolved,) = found(log, ev.ApprovalResolved)
        assert (resolved.decision, resolved.source) == ("reject", "timeout")
        assert outcomes(log) == {asked.call: "denied"}
        assert (await session.inspect()).timers == {}
    assert notes.written == []


async def test_an_answer_in_time_ends_the_waiting(tmp_path: Path, clock: MovedClock) -> None:
    notes = Notes()
    async with under(tmp_path, writer(notes), Policy(approvals=Approvals(seconds=10.0))) as runtime:
        session = await runtime.session("a")
        accepted = await session.send("go")
        asked = await until(session, ev.ApprovalRequested)
        await session.approve(asked.call)
        assert await session.answer(accepted.id) == "end"
        await clock.sleep(10.2)
        log = await events(session, runtime)
        assert [event.decision for event in found(log, ev.ApprovalResolved)] == ["approve"]
    assert notes.written == ["x"]


async def test_of_many_answers_at_once_one_counts(tmp_path: Path) -> None:
    notes = Notes()
    async with under(tmp_path, writer(notes)) as runtime:
        session = await runtime.session("a")
        accepted = await session.send("go")
        asked = await until(session, ev.ApprovalRequested)
        answers = [session.approve(asked.call, "approve" if n % 2 else "reject") for n in range(8)]
        said = await asyncio.gather(*answers, return_exceptions=True)
        assert sum(isinstance(one, Conflict) for one in said) == 7
        assert await session.answer(accepted.id) == "end"
        assert len(found(await events(session, runtime), ev.ApprovalResolved)) == 1


async def test_an_answer_is_to_one_question_also_where_a_model_uses_an_id_again(tmp_path: Path) -> None:
    notes = Notes()
    twice = ScriptedModel(
        by_step(
            [
                Answer(calls=(Call("write", {"text": "a"}, id="x"),)),
                Answer(calls=(Call("write", {"text": "b"}, id="x"),)),
                "end",
            ]
        )
    )
    async with under(tmp_path, writer(notes, model=twice)) as runtime:
        session = await runtime.session("a")
        accepted = await session.send("go")
        first = await until(session, ev.ApprovalRequested)
        (waiting,) = (await session.inspect()).approvals
        await session.approve(first.call, asked=waiting.asked)
        while [one.arguments for one in (await session.inspect()).approvals] != ['{"text":"b"}']:
            await asyncio.sleep(0.01)
        assert notes.written == ["a"]
        with pytest.raises(Conflict):  # an answer to the first question, which comes late or again
            await session.approve(first.call, asked=waiting.asked)
        assert notes.written == ["a"]
        (waiting,) = (await session.inspect()).approvals
        await session.approve(waiting.call, "reject", asked=waiting.asked)
        assert await session.answer(accepted.id) == "end"
    assert notes.written == ["a"]


async def test_a_prefix_is_allowed_for_the_rest_of_the_session(tmp_path: Path) -> None:
    def runs(command: str) -> Answer:
        return Answer(calls=(Call("shell", {"command": command}),))

    script = ScriptedModel(
        by_step([runs("python3 -m this"), runs("git --version && python3 -m this | tail -1"), "end"])
    )
    agent = Agent("a", model=script, tools=["shell"], permissions="ask")
    async with under(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        accepted = await session.send("go")
        asked = await until(session, ev.ApprovalRequested)
        assert asked.prefixes == ("python3 -m this",)
        with pytest.raises(Invalid, match="is not offered"):
            await session.approve(asked.call, always=["python3"])
        with pytest.raises(Invalid, match="belongs to the decision 'approve'"):
            await session.approve(asked.call, "reject", always=asked.prefixes)
        await session.approve(asked.call, always=asked.prefixes)
        assert await session.answer(accepted.id) == "end"
        log = await events(session, runtime)
        assert len(found(log, ev.ApprovalRequested)) == 1
        (resolved,) = found(log, ev.ApprovalResolved)
        assert (resolved.always, resolved.scope) == (("python3 -m this",), "session")
        assert [event.why for event in found(log, ev.ToolStarted)][1].startswith("person: ")


async def test_a_rollback_takes_back_what_was_allowed_since_and_a_fork_has_none_of_it(tmp_path: Path) -> None:
    runs = Answer(calls=(Call("shell", {"command": "python3 -m this"}),))
    agent = Agent("a", model=ScriptedModel(["hello", runs, "end"]), tools=["shell"], permissions="ask")
    async with under(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        await session.ask("hi")
        before = (await runtime.sessions.get(session.id)).head
        accepted = await session.send("go")
        asked = await until(session, ev.ApprovalRequested)
        await session.approve(asked.call, always=asked.prefixes)
        await session.answer(accepted.id)
        await asleep(runtime, session)
        journal = runtime.node.store
        assert (await load_state(journal, session.id)).grants == ["python3 -m this"]
        fork = await runtime.checkpoints.fork(session.id)
        assert (await load_state(journal, fork.id)).grants == []
        await runtime.checkpoints.rollback(session.id, to=before)
        await until(session, ev.SessionRolledBack)
        await asleep(runtime, session)
        assert (await load_state(journal, session.id)).grants == []
