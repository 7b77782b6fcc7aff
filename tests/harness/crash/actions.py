"""What may be struck beyond a turn: time travel, compaction, consolidation, work for children, a schedule's firing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from tests.harness.crash import scenarios, sights
from tests.harness.crash.hands import Hands
from tests.harness.crash.killing import When
from tests.harness.crash.plans import AGENT, BARE, agents, script

from roost.agent.definition import Agent, Children, Limits
from roost.memory.rights import Consolidate, Memory
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

HELPER = "helper"
_ANSWER = Reply(text="This is the answer to {input}")
_DELAY = (0.0, 0.004)
_MONEY = Limits(money=5.0, session_money=20.0)
_PRICE = "price = { input = 2.0, output = 10.0 }"


class Strike(NamedTuple):
    """As of `KillingStore`."""

    at: int
    when: When
    only: str = ""


class Action(NamedTuple):
    """`play` is what a user of a session of the agent `AGENT` does; `sight` says in words what is not as it must be in
    the end. `wants`: the kinds of commits that it is about, and which of each. `team` gets the model's name and the
    witness's file, `model` is the model's entry in `models.toml`."""

    play: Callable[[Hands], Awaitable[None]]
    sight: sights.Sight
    script: Script
    team: Callable[[str, Path], Sequence[Agent]]
    wants: Mapping[str, int]
    model: str = ""

    def prepare(self, home: Path, model: str) -> None:
        """What a home has before its first start."""
        home.mkdir(parents=True, exist_ok=True)
        if self.model:
            (home / "models.toml").write_text(f'[models."{model}"]\n{self.model}\n')

    @property
    def strikes(self) -> list[Strike]:
        """Before and after each commit that it is about."""
        return [Strike(at, when, kind) for kind, at in self.wants.items() for when in get_args(When)]


def _work(command: str, fact: str) -> Reply:
    calls = Call("shell", {"command": command}), Call("remember", {"text": fact, "scope": "session"})
    return Reply(text="I use my tools.", calls=calls)


def _clerk(model: str, witness: Path) -> list[Agent]:
    return [Agent(AGENT, model=model, tools=["shell", "remember"], permissions="all", unattended="ask", isolation=BARE)]


def _talker(model: str, witness: Path) -> list[Agent]:
    return [Agent(AGENT, model=model, permissions="all", limits=_MONEY)]


def _rememberer(model: str, witness: Path) -> list[Agent]:
    memory = Memory(recall="tool", consolidate=Consolidate(turns=1, into="session"))
    return [Agent(AGENT, model=model, memory=memory)]


def _family(model: str, witness: Path) -> list[Agent]:
    two = Children(agents=("*",), at_once=2)
    lead = Agent(AGENT, model=model, tools=["task"], permissions="all", children=two, limits=_MONEY)
    return [lead, Agent(HELPER, model=model, callable_by=(AGENT,))]


def _task(number: int, **more: object) -> Call:
    return Call("task", {"agent": HELPER, "prompt": f"Please do [say] #{number}.", **more})


_SHOW = Reply(text="I look.", calls=(Call("shell", {"command": "cat a"}),))
_TRAVEL = Script(
    rules=(
        Rule(when="[one]", answers=(_work("echo 1 > a", sights.KEPT), _ANSWER)),
        Rule(when="[more]", answers=(_work("echo 2 > a; echo 3 > b", "The office is in Oslo"), _ANSWER)),
        Rule(when="[show]", answers=(_SHOW, _ANSWER)),
    ),
    delay=_DELAY,
)
_SUMMARY = Script(
    rules=(
        Rule(when=sights.ASIDE, answers=(Reply(text="What was said, in short."),)),
        Rule(answers=(_ANSWER,)),
    ),
    delay=_DELAY,
)
_FACTS = Script(
    rules=(
        Rule(
            when=sights.ASIDE,
            answers=(Reply(text='[{"text": "The port is 8080", "key": "port"}, {"text": "The office is in Oslo"}]'),),
        ),
        Rule(answers=(_ANSWER,)),
    ),
    delay=_DELAY,
)
_TASKS = Script(
    rules=(
        Rule(
            when="[tasks]",
            answers=(
                Reply(text="Three at once.", calls=(_task(901), _task(902, deadline=600), _task(903))),
                Reply(text="One more.", calls=(_task(904, background=True),)),
                _ANSWER,
            ),
        ),
        Rule(when="[say]", answers=(_ANSWER,)),
    ),
    delay=_DELAY,
)

ACTIONS = {
    "turn": Action(
        scenarios.two_tools,
        sights.of_turn,
        script(delay=_DELAY, pace=0.001),
        agents,
        {"create": 1, "accept message": 1, "model.started": 1, "tool.started": 1, "turn.completed": 1, "release": 1},
    ),
    "travel": Action(
        scenarios.travel,
        sights.of_travel,
        _TRAVEL,
        _clerk,
        {
            "accept checkpoint": 1,
            "checkpoint.made": 1,
            "accept rollback": 1,
            "session.rolled_back": 1,
            "workspace.restored": 1,
            "fork": 1,
        },
    ),
    "compaction": Action(
        scenarios.compaction,
        sights.of_compaction,
        _SUMMARY,
        _talker,
        {"accept control": 1, "compaction.started": 1, "context.compacted": 1, "reserve": 2, "settle": 2},
        f"window = 3000\nmax_output = 300\n{_PRICE}",
    ),
    "consolidation": Action(
        scenarios.consolidation,
        sights.of_consolidation,
        _FACTS,
        _rememberer,
        {"consolidation.started": 1, "memory.consolidated": 1},
    ),
    "children": Action(
        scenarios.children,
        sights.of_children,
        _TASKS,
        _family,
        {"create": 2, "tool.started": 1, "child.started": 1, "child.ended": 1, "turn.completed": 1},
        _PRICE,
    ),
    "firing": Action(
        scenarios.firing,
        sights.of_firing,
        script(delay=_DELAY),
        agents,
        {"accept schedule": 1, "schedule.set": 1, "fire": 1, "schedule.fired": 1},
    ),
}
"""By name."""
