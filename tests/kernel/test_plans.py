"""Long tasks: sub-goals, how far they are, and what the model thinks of its own work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent
from roost.features.planning.events import PlanChanged
from roost.features.planning.plan import remaining
from roost.features.stalls.events import LoopStalled
from roost.log import events as ev
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

from .policies import found
from .support import events, outcomes, running


def planned(*states: str, score: int | None = None, note: str = "") -> Answer:
    goals = [{"text": f"part {place}", "state": state} for place, state in enumerate(states)]
    more: dict[str, Any] = {} if score is None else {"score": score}
    return Answer(calls=(Call("plan", {"goals": goals, "note": note, **more}),))


def clerk(*answers: Answer | str) -> Agent:
    return Agent("a", model=ScriptedModel(by_step(answers)), tools=["plan"])


async def test_a_plan_and_the_pins_have_one_bound(tmp_path: Path) -> None:
    async with running(tmp_path, clerk(planned(*["todo"] * 20), "end")) as runtime:
        session = await runtime.session("a")
        await runtime.compaction.pin(session.id, "rule", "x" * 7900)
        assert await session.ask("go") == "end"
        log = await events(session, runtime)
        assert (list((await session.inspect()).pins), found(log, PlanChanged)) == (["rule"], [])
    assert "8000 characters together" in str(found(log, ev.ToolCompleted)[0].parts)


async def test_a_plan_is_kept_until_it_is_over(tmp_path: Path) -> None:
    """In the log, and among what no compaction takes away; also through another process."""
    async with running(tmp_path, clerk(planned("doing", "todo", score=4, note="so far"), "begun")) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "begun"
        assert (await session.inspect()).pins == {"plan": "[>] part 0\n[ ] part 1"}
    over = clerk(planned("done", "doing"), planned("done", "dropped", score=5), "over")
    async with running(tmp_path, over) as runtime:
        session = runtime.open(session.id)
        assert await session.ask("go on") == "over"
        assert (await session.inspect()).pins == {}
        log = await events(session, runtime)
    first, second, third = found(log, PlanChanged)
    assert (first.score, first.note, first.ended, first.eta) == (4, "so far", 0, None)
    assert [goal.state for goal in first.goals] == ["doing", "todo"]
    assert second.eta == pytest.approx(second.at - first.at)  # one of two is done
    assert (third.ended, third.eta, third.score) == (2, 0.0, 5)
    calls = [event.call for event in found(log, ev.ToolStarted)]
    assert [event.call for event in (first, second, third)] == calls
    told = [event.parts[0].text for event in found(log, ev.ToolCompleted)]
    assert told[0] == "0 of 2 sub-goals are over"
    assert told[1].startswith("1 of 2 sub-goals are over; about ")
    assert told[2] == "2 of 2 sub-goals are over"


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_poor_score_speaks_for_another_way(tmp_path: Path) -> None:
    poor = [planned("doing", "todo", score=score, note=str(place)) for place, score in enumerate((2, 4, 2, 1))]
    async with running(tmp_path, clerk(*poor, "end")) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "end"
        log = await events(session, runtime)
    (stalled,) = found(log, LoopStalled)
    assert (stalled.kind, stalled.count, stalled.step, stalled.action) == ("poor", 2, 4, "hint")
    assert "by your own word" in stalled.hint


@pytest.mark.parametrize(
    "goals",
    [
        [{"text": " "}],
        [{"text": "x" * 201}],
        [{"text": "x"}] * 31,
        [{"text": "x", "state": "almost"}],
        "part 1",
    ],
)
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_what_is_no_plan_changes_nothing(tmp_path: Path, goals: Any) -> None:
    bad = Answer(calls=(Call("plan", {"goals": goals}),))
    async with running(tmp_path, clerk(bad, "end")) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "end"
        log = await events(session, runtime)
        assert (await session.inspect()).pins == {}
    assert set(outcomes(log).values()) <= {"error"}  # or it was asked to say it again
    assert found(log, PlanChanged) == []


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_the_rest_goes_on_as_it_went() -> None:
    assert remaining(60.0, 0, 4) is None
    assert remaining(60.0, 1, 4) == 180.0
    assert remaining(60.0, 4, 4) == 0.0
