"""What the agents under test do: a plan is a word in a message that makes the scripted model call tools."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from tests.harness.crash.calls import NOTE
from tests.harness.crash.witness import witness_tools

from roost.agent.definition import Agent
from roost.sandbox.choose import Isolation
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

_ANSWER = Reply(text="This is the answer to {input}")
_BACKGROUND = "sleep 300 & echo begun > shell.txt; sleep {seconds}; echo ended >> shell.txt; cat shell.txt"
_NOTE = f"echo {NOTE}$RANDOM$RANDOM$RANDOM >> notes.txt; sleep 0.1; cat notes.txt"

PLANS: dict[str, tuple[tuple[Call, ...], ...]] = {
    "say": (),
    "two": ((Call("safe_effect"), Call("never_effect")),),
    "ask": ((Call("ask_effect"),),),
    "look": (tuple(Call("look", {"size": 9000}) for _ in range(3)),),
    "theirs": ((Call("theirs"),), (Call("theirs"), Call("never_effect"))),
    "shell": ((Call("shell", {"command": _BACKGROUND.replace("{seconds}", "0.6")}),),),
    "notes": tuple((Call("shell", {"command": _NOTE}),) for _ in range(3)),
    "walk": (
        (Call("look"), Call("safe_effect")),
        (Call("never_effect"),),
        (Call("safe_effect"), Call("look", {"size": 9000})),
        (Call("never_effect"), Call("ask_effect")),
    ),
    "long": (
        (Call("look"), Call("look"), Call("safe_effect")),
        (Call("never_effect"),),
        (Call("shell", {"command": _BACKGROUND.replace("{seconds}", "0.3")}), Call("ask_effect")),
        (Call("safe_effect"), Call("look", {"size": 9000})),
    ),
}
"""For each plan, the tools that each model call asks for. After the last one the model answers."""

AGENT, CAREFUL = "crash", "careful"
_numbers = itertools.count(1)
BARE = Isolation(prefers=0)
"""Commands that outlive a killed daemon are there to be found only without a wall that falls with it."""


def message(plan: str) -> str:
    """A message that begins the plan, told apart from every other one by its number."""
    return f"Please do [{plan}] #{next(_numbers)}."


def script(*, seed: int = 0, delay: tuple[float, float] = (0.0, 0.0), pace: float = 0.0) -> Script:
    """The model's side. The same request always gets the same answer, after the same random delay."""
    rules: list[Rule] = []
    for plan, steps in PLANS.items():
        calls = [Reply(text="I use my tools.", calls=step, pace=pace) for step in steps]
        rules.append(Rule(when=f"[{plan}]", answers=(*calls, Reply(text=_ANSWER.text, pace=pace))))
    return Script(rules=tuple(rules), seed=seed, delay=delay)


def agents(model: str, witness: Path, *, delay: tuple[float, float] = (0.0, 0.02)) -> Sequence[Agent]:
    """One agent that may do everything, and a careful one that must ask first. `delay` is of the tools, in seconds."""
    tools = [*witness_tools(witness, delay=delay), "shell"]
    return [
        Agent(AGENT, model=model, tools=tools, permissions="all", isolation=BARE, unattended="ask"),
        Agent(CAREFUL, model=model, tools=tools, permissions="ask", isolation=BARE),
    ]
