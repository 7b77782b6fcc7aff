"""What is worth keeping of the last turns becomes facts, for a person's yes or to be undone, and is paid for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roost.agent.definition import Agent
from roost.errors import Conflict, NotFound
from roost.features.memory.consolidation import read_answer
from roost.features.memory.events import ConsolidationStarted, MemoryChanged, MemoryConsolidated
from roost.log import events as ev
from roost.log.content import Text, UserMessage
from roost.log.schedule_events import ScheduleSpec
from roost.log.session_info import ControlAction
from roost.memory.rights import Consolidate, Memory
from roost.models.request import Request
from roost.runtime import Runtime, SessionHandle
from roost.testing.clock import MovedClock
from roost.testing.scripted import Answer, ScriptedModel
from tests.kernel.support import FAST, asleep, calling, events, running
from tests.memory.concepts import Concepts
from tests.memory.test_tools import clerk as rememberer
from tests.memory.test_tools import with_meanings

_FACTS = [
    {"text": "Ann drinks oolong", "category": "preference", "key": "drink"},
    {"text": "The office is in Oslo"},
    {"text": ""},
    {"category": "fact"},
    "nonsense",
]


def scripted(said: str | Sequence[Answer | str], asked: list[str]) -> ScriptedModel:
    """`said`: to what is worth keeping; several are said one after the other, the last one from then on."""
    script = [said] if isinstance(said, str) else said

    def answer(request: Request) -> Answer | str:
        last = request.messages[-1]
        assert isinstance(last, UserMessage)
        text = "".join(part.text for part in last.parts if isinstance(part, Text))
        if not text.startswith("[This is not from the user.]"):
            return "yes"
        asked.append(text)
        return script[min(len(asked), len(script)) - 1]

    return ScriptedModel(answer)


def clerk(said: str | Sequence[Answer | str] = "", asked: list[str] | None = None, **more: Any) -> Agent:
    settings = Consolidate(**{"turns": 2, **more})
    text = said or "Here it is:\n```json\n" + json.dumps(_FACTS) + "\n```"
    model = scripted(text, [] if asked is None else asked)
    return Agent("a", model=model, memory=Memory(consolidate=settings))


async def two_turns(runtime: Runtime) -> SessionHandle:
    session = await runtime.session("a", labels={"user": "ann"})
    await session.ask("I drink oolong")
    await session.ask("Our office is in Oslo")
    await session.bus.wait_for(MemoryConsolidated, after=0, timeout=30)
    return session


async def test_after_so_many_turns_facts_are_kept(tmp_path: Path) -> None:
    asked: list[str] = []
    async with running(tmp_path, clerk(asked=asked)) as runtime:
        session = await two_turns(runtime)
        found = (await runtime.memory.list(space="user:ann")).facts
        assert sorted(fact.text for fact in found) == ["Ann drinks oolong", "The office is in Oslo"]
        log = await events(session, runtime)
        (done,) = [event for event in log if isinstance(event, MemoryConsolidated)]
        assert (done.upto, done.facts, done.error) == (2, 2, None)
        assert done.usage.output > 0
        view = await runtime.sessions.inspect(session.id)
        assert view.usage.output > sum(e.usage.output for e in log if isinstance(e, ev.ModelCompleted))
        await session.ask("one more")
        await asleep(runtime, session)
        assert len(asked) == 1
        await session.ask("and one")
        await asleep(runtime, session)
        assert len(asked) == 2
        assert "since turn 3" in asked[1]
        assert len((await runtime.memory.list(space="user:ann")).facts) == 2, "what is known is not kept twice"


async def test_it_is_undone_by_its_events(tmp_path: Path) -> None:
    async with running(tmp_path, clerk()) as runtime:
        await runtime.memory.add("user:ann", "Ann drinks mate", key="drink")
        session = await two_turns(runtime)
        log = await events(session, runtime)
        first = next(place for place, event in enumerate(log) if isinstance(event, ConsolidationStarted))
        assert (await runtime.memory.undo(session.id, first)).changed == 3
        assert [fact.text for fact in (await runtime.memory.list(space="user:ann")).facts] == ["Ann drinks mate"]
        assert (await runtime.memory.undo(session.id, first)).changed == 0


async def test_what_a_deleted_session_did_is_undone_by_its_whole_id(tmp_path: Path) -> None:
    async with running(tmp_path, clerk()) as runtime:
        session = await two_turns(runtime)
        await session.delete()
        assert (await runtime.memory.undo(session.id, 0)).changed == 2
        assert (await runtime.memory.list(space="user:ann")).facts == []
        with pytest.raises(NotFound, match="no session"):
            await runtime.memory.undo(session.id[-8:], 0)


async def test_with_review_a_person_decides(tmp_path: Path) -> None:
    async with running(tmp_path, clerk(review=True)) as runtime:
        await runtime.memory.add("user:ann", "Ann drinks mate", key="drink")
        await two_turns(runtime)
        assert [fact.text for fact in (await runtime.memory.list(space="user:ann")).facts] == ["Ann drinks mate"]
        waiting = {fact.text: fact.id for fact in (await runtime.memory.list(proposed=True)).facts}
        assert len(waiting) == 2
        await runtime.memory.accept(waiting["Ann drinks oolong"])
        await runtime.memory.reject(waiting["The office is in Oslo"])
        assert (await runtime.memory.list(proposed=True)).facts == []
        assert [fact.text for fact in (await runtime.memory.list(space="user:ann")).facts] == ["Ann drinks oolong"]


async def test_what_waits_for_an_answer_is_not_proposed_again(tmp_path: Path) -> None:
    dog, colour = {"text": "Ann drinks oolong tea"}, {"text": "Her colour is green", "key": "colour"}
    newer = {"text": "Ann drinks oolong brew"}, {"text": "Her colour is blue", "key": "colour"}
    said = [json.dumps([dog, colour]), json.dumps([colour, dog]), json.dumps(newer), json.dumps([*newer, dog])]
    async with running(tmp_path, clerk(said, turns=1, review=True)) as runtime:
        with_meanings(runtime, Concepts())
        old = (await runtime.memory.add("user:ann", "Ann drinks oolong drink")).fact
        session = await runtime.session("a", labels={"user": "ann"})
        waiting: list[set[str]] = []
        for turn in range(1, 5):
            await session.ask("go on")
            done = await consolidated(session, runtime, turn)
            waiting.append({fact.id for fact in (await runtime.memory.list(proposed=True)).facts})
            assert len(waiting[-1]) == 2, done
        assert waiting[0] == waiting[1], "they are known"
        assert waiting[1].isdisjoint(waiting[2]), "they give way to newer ones"
        texts = {fact.text: fact.id for fact in (await runtime.memory.list(proposed=True)).facts}
        assert sorted(texts) == ["Ann drinks oolong tea", "Her colour is blue"]
        await runtime.memory.accept(texts["Ann drinks oolong tea"])
        assert (await runtime.memory.get(old.id)).ended is not None
        (first, *_) = waiting[0]
        with pytest.raises(Conflict, match="newer"):
            await runtime.memory.accept(first)


async def test_a_useless_answer_changes_nothing_and_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, clerk("I have no idea")) as runtime:
        session = await two_turns(runtime)
        (done,) = [event for event in await events(session, runtime) if isinstance(event, MemoryConsolidated)]
        assert done.error == "the model did not answer with a list"
        assert await session.ask("go on") == "yes"
        assert (await runtime.memory.list()).facts == []


async def consolidated(
    session: SessionHandle, runtime: Runtime, count: int = 1, *, well: bool = False
) -> list[MemoryConsolidated]:
    """`well`: only those that were not cut off."""
    async with asyncio.timeout(30):
        while True:
            found = [event for event in await events(session, runtime) if isinstance(event, MemoryConsolidated)]
            found = [event for event in found if not (well and event.error)]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


def of(kind: type[ev.Event], log: list[ev.Event]) -> list[Any]:
    return [event for event in log if isinstance(event, kind)]


def slow(text: str = "", *, pace: float = 0.0) -> Answer:
    """An answer that comes after the test."""
    return Answer(text=text or json.dumps(_FACTS), delay=0.0 if pace else 60.0, pace=pace, piece=5)


async def test_a_session_that_is_left_alone_is_asked_though_it_sleeps(tmp_path: Path, clock: MovedClock) -> None:
    asked: list[str] = []
    async with running(tmp_path, clerk(asked=asked, turns=20, idle=20.0)) as runtime:
        session = await runtime.session("a", labels={"user": "ann"})
        for text in ("I drink oolong", "Our office is in Oslo", "Good bye"):
            await session.ask(text)
            await clock.sleep(8.0)
        await clock.sleep(13.0)
        await asleep(runtime, session)
        (done,) = await consolidated(session, runtime)
        assert (done.upto, done.facts, done.error) == (3, 2, None)
        await asleep(runtime, session)
        log = await events(session, runtime)
        last = max(event.at for event in log if isinstance(event, ev.TurnCompleted))
        (began,) = of(ConsolidationStarted, log)
        assert began.at >= last + 20.0, "the time that it is left alone counts from the last turn"
        await clock.sleep(20.1)
        info = await runtime.sessions.get(session.id)
        assert (len(asked), info.pending, info.head) == (1, 0, len(log)), "nothing is asked about nothing"
        assert "memory:consolidation" not in (await runtime.sessions.state(session.id))[1].timers


async def test_what_comes_due_while_nobody_runs_is_asked_at_the_next_start(tmp_path: Path, clock: MovedClock) -> None:
    agent = clerk(turns=20, idle=0.4)
    async with running(tmp_path, agent) as runtime:
        session = await runtime.session("a", id="s", labels={"user": "ann"})
        await session.ask("I drink oolong")
    clock.skip(0.5)
    async with running(tmp_path, agent) as runtime:
        (done,) = await consolidated(runtime.open("s"), runtime)
        assert (done.upto, done.facts) == (1, 2)


async def test_a_turn_in_which_it_comes_due_starts_the_time_anew(tmp_path: Path) -> None:
    def answer(request: Request) -> Answer | str:
        last = request.messages[-1]
        assert isinstance(last, UserMessage)
        said = "".join(part.text for part in last.parts if isinstance(part, Text))
        return "[]" if said.startswith("[This is") else Answer(text="yes", delay=1.0 if said == "slowly" else 0.0)

    agent = Agent("a", model=ScriptedModel(answer), memory=Memory(consolidate=Consolidate(turns=20, idle=0.4)))
    async with running(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        await session.ask("hello")
        await session.ask("slowly")
        (done,) = await consolidated(session, runtime)
        await asleep(runtime, session)
        log = await events(session, runtime)
        ended = max(event.at for event in log if isinstance(event, ev.TurnCompleted))
        (began,) = of(ConsolidationStarted, log)
        assert (done.upto, began.at >= ended + 0.4) == (2, True)
        assert (await runtime.sessions.get(session.id)).pending == 0


async def test_heartbeats_leave_a_session_alone(tmp_path: Path) -> None:
    async with running(tmp_path, clerk(turns=1000, idle=1.5)) as runtime:
        session = await runtime.session("a", labels={"user": "ann"})
        await session.ask("I drink oolong")
        await runtime.schedules.set(
            session.id, "beat", ScheduleSpec(text="look", every=1.0, heartbeat=True, idle_after=100)
        )
        (done,) = await consolidated(session, runtime, well=True)
        assert done.upto > 1
        assert done.facts == 2


async def test_cut_off_by_a_shutdown_it_is_made_good_by_itself(tmp_path: Path) -> None:
    asked: list[str] = []
    agent = clerk([slow(), json.dumps(_FACTS)], asked)
    async with running(tmp_path, agent) as runtime:
        session = await runtime.session("a", id="s", labels={"user": "ann"})
        await session.ask("I drink oolong")
        await session.ask("Our office is in Oslo")
        await session.bus.wait_for(ConsolidationStarted, after=0, timeout=30)
    async with running(tmp_path, agent) as runtime:
        session = runtime.open("s")
        (done,) = await consolidated(session, runtime)
        assert (done.upto, done.facts, done.error) == (2, 2, None)
        await asleep(runtime, session)
        log = await events(session, runtime)
        assert [event.attempt for event in of(ConsolidationStarted, log)] == [1, 2]
        assert (await runtime.sessions.get("s")).pending == 0
        assert not (await runtime.sessions.state("s"))[1].timers


async def test_what_is_said_cuts_it_off_and_it_is_made_later(tmp_path: Path) -> None:
    async with running(tmp_path, clerk([slow("x" * 2000, pace=0.2), json.dumps(_FACTS)])) as runtime:
        session = await runtime.session("a", labels={"user": "ann"})
        await session.ask("I drink oolong")
        await session.ask("Our office is in Oslo")
        await session.bus.wait_for(ConsolidationStarted, after=0, timeout=30)
        await asyncio.sleep(0.3)
        began = time.monotonic()
        assert await session.ask("and now?") == "yes"
        assert time.monotonic() - began < 30, "it does not wait for the answer to the other question"
        cut, done = await consolidated(session, runtime, 2)
        assert (cut.upto, cut.facts, cut.error) == (0, 0, "cut off: message")
        assert cut.usage.output > 0, "what was said until then is paid for"
        view = await runtime.sessions.inspect(session.id)
        assert view.usage.output >= cut.usage.output + done.usage.output
        assert (done.upto, done.facts, done.error) == (3, 2, None)
        await asleep(runtime, session)
        log = await events(session, runtime)
        assert [event.attempt for event in of(ConsolidationStarted, log)] == [1, 1]
        first, second = (place for place, event in enumerate(log) if isinstance(event, ConsolidationStarted))
        turn = next(place for place, event in enumerate(log) if isinstance(event, ev.TurnStarted) and event.turn == 3)
        assert first < log.index(cut) < turn < second


async def test_a_quick_exchange_pays_for_no_question_at_each_turn(tmp_path: Path) -> None:
    asked: list[str] = []
    async with running(tmp_path, clerk([slow()] * 3 + [json.dumps(_FACTS)], asked, turns=3)) as runtime:
        session = await runtime.session("a", labels={"user": "ann"})
        for number in range(9):
            await session.ask(f"number {number}")
        assert len(asked) <= 3


@pytest.mark.parametrize("order", ["pause", "cancel"])
async def test_a_pause_puts_it_off_and_a_cancel_ends_it(
    tmp_path: Path, order: ControlAction, clock: MovedClock
) -> None:
    asked: list[str] = []
    async with running(tmp_path, clerk([slow(), json.dumps(_FACTS)], asked)) as runtime:
        session = await runtime.session("a", labels={"user": "ann"})
        await session.ask("I drink oolong")
        await session.ask("Our office is in Oslo")
        await session.bus.wait_for(ConsolidationStarted, after=0, timeout=30)
        await runtime.sessions.control(session.id, order)
        (cut,) = await consolidated(session, runtime)
        assert cut.error == f"cut off: {order}"
        if order == "cancel":
            await clock.sleep(1.5)
            assert len(asked) == 1
            return
        await runtime.sessions.control(session.id, "resume")
        _, done = await consolidated(session, runtime, 2)
        assert (done.upto, done.facts) == (2, 2)


async def test_what_comes_due_in_a_paused_session_waits_for_its_resume_and_in_no_inbox(tmp_path: Path) -> None:
    async with running(tmp_path, clerk(turns=100, idle=0.4)) as runtime:
        session = await runtime.session("a", labels={"user": "ann"})
        await session.ask("I drink oolong")
        await runtime.sessions.control(session.id, "pause")
        await session.bus.wait_for(ev.TimerCleared, after=0, timeout=30)
        await asleep(runtime, session)
        assert (await runtime.sessions.get(session.id)).pending == 0
        assert of(ConsolidationStarted, await events(session, runtime)) == []
        await runtime.sessions.control(session.id, "resume")
        (done,) = await consolidated(session, runtime)
        assert (done.upto, done.facts, done.error) == (1, 2, None)
        assert not (await runtime.sessions.state(session.id))[1].timers


async def test_a_paused_session_that_would_ask_is_stopped_in_time(tmp_path: Path) -> None:
    config = msgspec.structs.replace(FAST, session_timeout=0.8, cleanup_every=0.1)
    async with running(tmp_path, clerk(turns=100, idle=0.2), config=config) as runtime:
        session = await runtime.session("a", labels={"user": "ann"})
        await session.ask("I drink oolong")
        await runtime.sessions.control(session.id, "pause")
        async with asyncio.timeout(30):
            while (info := await runtime.sessions.get(session.id)).state != "stopped":
                await asyncio.sleep(0.05)
        assert info.pending == 0


async def test_a_fact_whose_key_no_store_can_keep_is_left_out(tmp_path: Path) -> None:
    said = json.dumps([{"text": "odd", "key": "nul\0"}, {"text": "Ann drinks oolong"}])
    async with running(tmp_path, clerk(said)) as runtime:
        session = await two_turns(runtime)
        assert [fact.text for fact in (await runtime.memory.list(space="user:ann")).facts] == ["Ann drinks oolong"]
        assert await session.ask("and now?") == "yes"


async def test_facts_of_one_answer_see_each_other(tmp_path: Path) -> None:
    said = [
        {"text": "Ann drinks oolong tea"},
        {"text": "Ann drinks oolong brew"},
        {"text": "Ann drinks oolong brew"},
        {"text": "Ann has a dog"},
        {"text": "Bob is in Oslo", "key": "bob"},
        {"text": "Bob is in Bergen", "key": "bob"},
    ]
    async with running(tmp_path, clerk(json.dumps(said))) as runtime:
        with_meanings(runtime, Concepts())
        await runtime.memory.add("user:ann", "Ann drinks oolong drink")
        session = await two_turns(runtime)
        current = {fact.text: fact for fact in (await runtime.memory.list(space="user:ann")).facts}
        assert sorted(current) == ["Ann drinks oolong brew", "Ann has a dog", "Bob is in Bergen"]
        every = {fact.text: fact for fact in (await runtime.memory.list(space="user:ann", ended=True)).facts}
        assert len(every) == 6, "what is superseded stays readable"
        assert current["Bob is in Bergen"].supersedes == (every["Bob is in Oslo"].id,)
        changed: list[MemoryChanged] = of(MemoryChanged, await events(session, runtime))
        assert [event.op for event in changed] == ["update", "update", "add", "add", "update"]
        assert changed[1].ended == (every["Ann drinks oolong tea"].id,)


async def test_calls_of_one_answer_see_each_other(tmp_path: Path) -> None:
    both = calling("remember", text="Ann drinks oolong tea")
    both = Answer(calls=(*both.calls, *calling("remember", text="Ann drinks oolong brew").calls))
    async with running(tmp_path, rememberer(both, "done")) as runtime:
        with_meanings(runtime, Concepts())
        session = await runtime.session("a", labels={"user": "ann"})
        await session.ask("go")
        (fact,) = (await runtime.memory.list(space="user:ann")).facts
        assert fact.text == "Ann drinks oolong brew"


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(("turns", "idle"), [(0, None), (1, 0.0), (1, float("inf"))])
def test_settings_without_a_sense_are_refused(turns: int, idle: float | None) -> None:
    with pytest.raises(ValueError, match=r"Consolidate: (turns|idle)=.*: expected"):
        Consolidate(turns=turns, idle=idle)


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("text", "count"), [("[]", 0), ('x [{"text": "a"}] y', 1), ('[{"text": 1}, {"text": "b", "category": "odd"}]', 0)]
)
def test_answers_are_read_with_patience(text: str, count: int) -> None:
    told = read_answer(text)
    assert told.error is None
    assert len(told.facts) == count
