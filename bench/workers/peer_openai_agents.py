"""OpenAI Agents SDK with its SQLiteSession, in two ways: the stored step alone (`add_items` once a step, as its Runner
does), and the whole Runner with a model that answers at once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from bench.payload import ANSWER, ARGUMENTS, PROMPT, RESULT, SAID, calls_of
from bench.worker import Clock, Ticks, serve


async def store(folder: Path, sessions: int, steps: int) -> dict[str, Any]:
    from agents import SQLiteSession

    ticks = Ticks()
    open_sessions = [SQLiteSession(str(s), folder / "agents.db") for s in range(sessions)]
    call = {"type": "function_call", "call_id": "c", "name": "look", "arguments": json.dumps(ARGUMENTS) + " " * 700}
    output = {"type": "function_call_output", "call_id": "c", "output": RESULT}

    async def turn(session: Any) -> None:
        for step in range(steps):
            if sessions == 1:
                ticks.tick()
            await session.add_items([output if step % 2 else call])

    clock = Clock()
    await asyncio.gather(*(turn(session) for session in open_sessions))
    spent = clock.stop()
    for session in open_sessions:
        session.close()
    return {**spent, "steps": sessions * steps, "ms": ticks.milliseconds()}


def _output(history: list[dict[str, Any]], calls: int) -> list[Any]:
    """What the model says: a call of `look` until there were `calls` of them since the user spoke, then the answer."""
    from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

    place, done = len(history), 0
    for item in reversed(history):
        if item.get("role") == "user":
            break
        done += item.get("type") == "function_call_output"
    text = SAID if done < calls else ANSWER
    part = ResponseOutputText(text=text, type="output_text", annotations=[])
    said = ResponseOutputMessage(id=f"m{place}", content=[part], role="assistant", status="completed", type="message")
    if done >= calls:
        return [said]
    arguments = json.dumps(ARGUMENTS)
    return [said, ResponseFunctionToolCall(call_id=f"c{place}", name="look", arguments=arguments, type="function_call")]


def instant_model(steps: int, ticks: Ticks | None) -> Any:
    from agents import Model, ModelResponse, Usage

    class Instant(Model):
        async def get_response(self, *args: Any, **kwargs: Any) -> Any:
            if ticks is not None:
                ticks.tick()
            history = kwargs["input"] if "input" in kwargs else args[1]
            return ModelResponse(output=_output(history, calls_of(steps)), usage=Usage(), response_id=None)

        def stream_response(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("this model does not stream")

    return Instant()


def streaming_model() -> Any:
    """Calls the tool once, then answers; each answer comes as one event."""
    from agents import Model
    from openai.types.responses import Response, ResponseCompletedEvent

    class Streaming(Model):
        async def get_response(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("this model streams")

        async def stream_response(self, *args: Any, **kwargs: Any) -> Any:
            history = kwargs["input"] if "input" in kwargs else args[1]
            response = Response(
                id="r",
                created_at=0,
                model="instant",
                object="response",
                output=_output(history, 1),
                tool_choice="auto",
                tools=[],
                parallel_tool_calls=False,
            )
            yield ResponseCompletedEvent(response=response, type="response.completed", sequence_number=0)

    return Streaming()


async def runner(folder: Path, sessions: int, steps: int) -> dict[str, Any]:
    from agents import Agent, Runner, SQLiteSession, function_tool, set_tracing_disabled

    set_tracing_disabled(True)
    ticks = Ticks()

    @function_tool
    async def look(what: str, why: str) -> str:
        """Look at a part."""
        if sessions == 1:
            ticks.tick()
        return RESULT

    model = instant_model(steps, ticks if sessions == 1 else None)
    agent = Agent(name="worker", instructions="Work.", tools=[look], model=model)
    open_sessions = [SQLiteSession(str(s), folder / "agents.db") for s in range(sessions)]

    async def turn(session: Any) -> None:
        result = await Runner.run(agent, PROMPT, session=session, max_turns=steps)
        assert result.final_output == ANSWER

    clock = Clock()
    await asyncio.gather(*(turn(session) for session in open_sessions))
    spent = clock.stop()
    for session in open_sessions:
        session.close()
    return {**spent, "steps": sessions * steps, "ms": ticks.milliseconds()}


def play(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    way = runner if order.get("runner") else store
    return asyncio.run(way(folder, order["sessions"], order["steps"]))


if __name__ == "__main__":
    serve(play)
