"""What the gate takes to decide, from a call's arguments to the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.commands import LONG, MIX, SIMPLE, TYPICAL
from bench.worker import Clock, serve
from roost.policy.gate import GateCall, LayeredGate
from roost.policy.rules import Rule
from roost.policy.system_rules import system_rules
from roost.policy.touched_paths import Reach, runs_at, writes_at

_USER = (
    Rule(effect="allow", command="git"),
    Rule(effect="deny", path="~/secrets/**"),
    Rule(effect="ask", host="*.internal"),
)
_PROJECT = (Rule(effect="ask", path="migrations/**", access="write"), Rule(effect="deny", command="category:privilege"))


def decider(folder: Path, tool: str, name: str, reach: Reach) -> Callable[[str], str]:
    """With the rules that come with Roost and some of a user's and a project's, for an agent in mode `auto`."""
    gate = LayeredGate("auto", {"user": _USER, "project": _PROJECT, "system": system_rules()}, hidden=[folder / "home"])
    root = folder / "work"
    root.mkdir(exist_ok=True)

    def decide(text: str) -> str:
        call = GateCall(
            session="s",
            call="c",
            tool=tool,
            arguments="",
            safety="high_risk",
            inside=False,
            private_workspace=True,
            root=root,
            touches=reach({name: text}, root),
            walled=True,
        )
        return gate.decide(call).decision

    return decide


def play(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """CPU µs of a decision, by what is asked."""
    shell, write = (
        decider(folder, "shell", "command", runs_at("command")),
        decider(folder, "write", "path", writes_at("path")),
    )
    cases = {"simple": [SIMPLE], "typical": [TYPICAL], "long": [LONG], "mix": MIX}
    times, clock = order["times"], Clock()
    each = {text: _cost(shell, text, times) for text in MIX}
    found: dict[str, Any] = {name: sum(each[text] for text in texts) / len(texts) for name, texts in cases.items()}
    found["slowest"] = max(each.values())
    found["write"] = _cost(write, "src/app/models/user.py", times * 10)
    verdicts = sorted({shell(text) for text in MIX})
    return {"us": found, "each_us": sorted(each.values()), "verdicts": verdicts, **clock.stop()}


def _cost(decide: Callable[[str], str], text: str, times: int) -> float:
    decide(text)  # a rule's patterns are compiled once
    texts = [text + " " * (number % 64) for number in range(1, times + 1)]  # what was just analysed is known
    before = time.process_time()
    for one in texts:
        decide(one)
    return (time.process_time() - before) / times * 1e6


if __name__ == "__main__":
    serve(play)
