"""LangGraph with one of its asynchronous savers: a node is a step, saved before the next one (`durability="sync"`). The
SQLite saver opens its file in WAL mode with SQLite's default, synchronous=FULL; the PostgreSQL one gets a pool."""

from __future__ import annotations

import asyncio
import contextlib
import json
import operator
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

from bench.payload import ANSWER, ARGUMENTS, PROMPT, RESULT, SAID
from bench.worker import Clock, Ticks, serve

os.environ.setdefault("LANGSMITH_TRACING", "false")


class Conversation(TypedDict):
    messages: Annotated[list[dict[str, Any]], operator.add]


def build(saver: Any, steps: int, ticks: Ticks | None) -> Any:
    from langgraph.graph import END, START, StateGraph

    arguments = json.dumps(ARGUMENTS)

    async def model(state: Conversation) -> dict[str, Any]:
        if ticks is not None:
            ticks.tick()
        place = len(state["messages"])
        if place >= steps:
            return {"messages": [{"role": "assistant", "content": ANSWER}]}
        call = {"id": f"call_{place}", "name": "look", "arguments": arguments}
        return {"messages": [{"role": "assistant", "content": SAID, "calls": [call]}]}

    async def look(state: Conversation) -> dict[str, Any]:
        if ticks is not None:
            ticks.tick()
        call = state["messages"][-1]["calls"][0]
        return {"messages": [{"role": "tool", "call": call["id"], "content": RESULT}]}

    graph = StateGraph(Conversation)
    graph.add_node("model", model)
    graph.add_node("look", look)
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", lambda state: "look" if "calls" in state["messages"][-1] else END)
    graph.add_edge("look", "model")
    return graph.compile(checkpointer=saver)


@contextlib.asynccontextmanager
async def opened(folder: Path, store: str | None) -> AsyncIterator[Any]:
    if store is None:
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        async with AsyncSqliteSaver.from_conn_string(str(folder / "langgraph.db")) as saver:
            yield saver
        return
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    how = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(store, min_size=4, max_size=16, kwargs=how, timeout=300) as pool:
        yield AsyncPostgresSaver(pool)


async def run(folder: Path, sessions: int, steps: int, store: str | None = None) -> dict[str, Any]:
    ticks = Ticks()
    async with opened(folder, store) as saver:
        await saver.setup()
        graph = build(saver, steps, ticks if sessions == 1 else None)

        async def session(s: int) -> None:
            config = {"configurable": {"thread_id": str(s)}, "recursion_limit": steps + 10}
            said = {"messages": [{"role": "user", "content": PROMPT}]}
            result = await graph.ainvoke(said, config, durability="sync")
            assert len(result["messages"]) == steps + 1, len(result["messages"])

        clock = Clock()
        await asyncio.gather(*(session(s) for s in range(sessions)))
        spent = clock.stop()
    return {**spent, "steps": sessions * steps, "ms": ticks.milliseconds()}


if __name__ == "__main__":
    serve(lambda folder, order: asyncio.run(run(folder, **order)))
