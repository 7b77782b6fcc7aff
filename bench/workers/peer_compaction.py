"""What others have for a context that is too full, applied once: LangChain's `trim_messages` and OpenAI Agents'
`ToolOutputTrimmer`. `library` says which."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.numbers import median
from bench.payload import ANSWER, ARGUMENTS, PROMPT, RESULT, SAID
from bench.worker import serve

Work = Callable[[], object]


def langchain(turns: int, target: int) -> Work:
    """Drops the oldest messages until the rest is about `target` tokens."""
    from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage, trim_messages

    messages: list[BaseMessage] = []
    for turn in range(turns):
        call = {"id": f"c{turn}", "name": "look", "args": ARGUMENTS}
        messages += [
            HumanMessage(PROMPT),
            AIMessage(SAID, tool_calls=[call]),
            ToolMessage(RESULT * 4, tool_call_id=call["id"]),
            AIMessage(ANSWER),
        ]
    how: dict[str, Any] = {"strategy": "last", "token_counter": "approximate", "start_on": "human"}
    return lambda: trim_messages(messages, max_tokens=target, **how)


def agents(turns: int, target: int) -> Work:
    """Leaves a preview of the outputs of the older half of the turns; made anew before every call of a model."""
    from agents import Agent
    from agents.extensions import ToolOutputTrimmer
    from agents.run import CallModelData, ModelInputData

    items: list[Any] = []
    for turn in range(turns):
        items += [
            {"role": "user", "content": PROMPT},
            {"role": "assistant", "content": SAID},
            {"type": "function_call", "call_id": f"c{turn}", "name": "look", "arguments": json.dumps(ARGUMENTS)},
            {"type": "function_call_output", "call_id": f"c{turn}", "output": RESULT * 4},
            {"role": "assistant", "content": ANSWER},
        ]
    trimmer = ToolOutputTrimmer(recent_turns=max(1, turns // 2))
    agent: Agent[None] = Agent("bench")
    data = CallModelData(model_data=ModelInputData(input=items, instructions=None), agent=agent, context=None)
    return lambda: trimmer(data)


_LIBRARIES = {"langchain": langchain, "agents": agents}


def play(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    work = _LIBRARIES[order["library"]](order["turns"], order["tokens"] // 2)
    work()
    took: list[float] = []
    for _ in range(order["times"]):
        began = time.process_time()
        work()
        took.append((time.process_time() - began) * 1e3)
    return {"trimmed_ms": median(took)}


if __name__ == "__main__":
    serve(play)
