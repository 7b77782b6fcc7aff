"""A full context that is made smaller, without a kernel around it."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

from bench.numbers import median
from bench.payload import ANSWER, ARGUMENTS, PROMPT, RESULT, SAID
from bench.worker import serve
from roost.agent.fold import apply
from roost.agent.state import State
from roost.features.compaction.events import ContextCompacted, ContextElided
from roost.features.compaction.extractive_summary import extract
from roost.features.compaction.plan import plan_cut, plan_elision
from roost.features.compaction.state import CompactionState, head
from roost.log import events as ev
from roost.log.content import Text, ToolCall
from roost.models.tokens import estimate


def full(tokens: int) -> State:
    """As the fold makes it of turns with one tool call."""
    state, turn = State(), 0
    arguments = str(ARGUMENTS)
    while state.tokens < tokens * 0.8:
        turn += 1
        call = f"c{turn}"
        for event in (
            ev.InputReceived(at=1.0, input=turn, parts=(Text(PROMPT),)),
            ev.TurnStarted(at=1.0, turn=turn, input=turn),
            ev.ModelCompleted(at=1.0, step=2 * turn, parts=(Text(SAID), ToolCall(call, "look", arguments))),
            ev.ToolCompleted(at=1.0, call=call, outcome="ok", parts=(Text(RESULT * 4),)),
            ev.ModelCompleted(at=1.0, step=2 * turn + 1, parts=(Text(ANSWER),)),
            ev.TurnCompleted(at=1.0, turn=turn, outcome="answered"),
        ):
            apply(state, event)
    return state


def elide(state: State, target: int) -> None:
    found = plan_elision(state.entries, state.tokens, target, keep=target // 2, readable=True)
    event = ContextElided(at=1.0, outputs=found.outputs, before=state.tokens, after=found.left)
    ev.encode_event(event)
    apply(state, event)


def plain(state: State, target: int) -> None:
    cap = min(target // 4, 4_000)
    cut = plan_cut(state.entries, state.tokens, target - cap, turn=0, turns=2, most=target)
    gone = [entry for place, entry in enumerate(state.entries[: cut.upto]) if place not in cut.keep]
    summary = extract(gone, state.part(CompactionState).summary, cap=cap)
    block = head(state.part(CompactionState).pins, summary)
    event = ContextCompacted(
        at=1.0,
        before=state.tokens,
        after=cut.left + (estimate(block) if block else 0),
        upto=cut.upto,
        keep=cut.keep,
        dropped=cut.messages,
        summary=summary,
        by="plain",
    )
    ev.encode_event(event)
    apply(state, event)


def play(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    state, target = full(order["tokens"]), order["tokens"] // 2
    answer: dict[str, Any] = {"messages": len(state.entries)}
    for name, work in (("elided_ms", elide), ("plain_ms", plain)):
        took: list[float] = []
        for _ in range(order["times"]):
            mine = copy.deepcopy(state)
            began = time.process_time()
            work(mine, target)
            took.append((time.process_time() - began) * 1e3)
            assert mine.tokens <= target * 1.05
        answer[name] = median(took)
    return answer


if __name__ == "__main__":
    serve(play)
