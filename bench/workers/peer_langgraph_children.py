"""LangGraph: one node sends a task to each of many subgraphs at once, whose answers the next node has together. Saved
with `durability="sync"`; each subgraph has checkpoints of its own."""

from __future__ import annotations

import asyncio
import operator
from pathlib import Path
from typing import Annotated, Any, TypedDict

from bench.payload import ANSWER, PROMPT
from bench.worker import Clock, serve
from bench.workers.peer_langgraph import opened


class Team(TypedDict):
    answers: Annotated[list[str], operator.add]


class Task(TypedDict):
    prompt: str
    answers: list[str]


def build(saver: Any, children: int) -> Any:
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import Send

    async def model(state: Task) -> dict[str, Any]:
        return {"answers": [ANSWER]}

    async def parent(state: Team) -> dict[str, Any]:
        return {"answers": [ANSWER]}

    def tasks(state: Team) -> list[Any]:
        return [Send("child", {"prompt": PROMPT, "answers": []}) for _ in range(children)]

    child = StateGraph(Task)
    child.add_node("model", model)
    child.add_edge(START, "model")
    child.add_edge("model", END)
    graph = StateGraph(Team)
    graph.add_node("lead", parent)
    graph.add_node("child", child.compile())
    graph.add_node("join", parent)
    graph.add_edge(START, "lead")
    graph.add_conditional_edges("lead", tasks, ["child"])
    graph.add_edge("child", "join")
    graph.add_edge("join", END)
    return graph.compile(checkpointer=saver)


async def run(folder: Path, children: int) -> dict[str, Any]:
    async with opened(folder, None) as saver:
        await saver.setup()
        graph = build(saver, children)
        clock = Clock()
        given = {"configurable": {"thread_id": "1"}}
        result = await graph.ainvoke({"answers": []}, given, durability="sync")
        spent = clock.stop()
        assert len(result["answers"]) == children + 2, len(result["answers"])
    return {**spent, "cpu_ms": spent["cpu"] / children * 1e3}


if __name__ == "__main__":
    serve(lambda folder, order: asyncio.run(run(folder, **order)))
