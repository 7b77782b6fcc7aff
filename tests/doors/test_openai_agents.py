"""The official agents library of OpenAI through Roost, in both modes.

It runs in a process of its own, by the Python that ROOST_TEST_AGENTS names: of an environment with `openai-agents`."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from tests.doors.test_openai_gateway_mode import TOML

from roost.agent.definition import Agent
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

PYTHON = os.environ.get("ROOST_TEST_AGENTS")
pytestmark = pytest.mark.skipif(PYTHON is None, reason="no $ROOST_TEST_AGENTS with the package openai-agents")
PROGRAM = """
import asyncio, json, sys
from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from pydantic import BaseModel

set_tracing_disabled(True)
url, key, model = sys.argv[1:]

@function_tool
def weather(place: str) -> str:
    '''Ask for the weather.'''
    return f"rain in {place}"

class City(BaseModel):
    city: str

async def main():
    said = OpenAIResponsesModel(model=model, openai_client=AsyncOpenAI(base_url=url, api_key=key))
    helper = Agent(name="helper", instructions="Be brief.", model=said, tools=[weather])
    first = await Runner.run(helper, "the weather?")
    more = first.to_input_list() + [{"role": "user", "content": "thanks"}]
    streamed = Runner.run_streamed(helper, more)
    kinds = [event.type async for event in streamed.stream_events()]
    formed = Agent(name="formed", model=said, output_type=City)
    city = (await Runner.run(formed, "json, please")).final_output
    print(json.dumps([first.final_output, streamed.final_output, "raw_response_event" in kinds, city.city]))

asyncio.run(main())
"""
ASK = Reply(text="I ask.", calls=(Call("weather", {"place": "Ghent"}),))
SCRIPT = Script(
    rules=(
        Rule(when="thanks", answers=(Reply(text="Welcome"),)),
        Rule(when="weather", answers=(ASK, Reply(text="{result}"))),
        Rule(when="json", answers=(Reply(text='{"city": "Ghent"}'),)),
    )
)


@pytest.mark.parametrize("model", ["one/m", "clerk"])
def test_a_run_with_a_tool_a_stream_and_a_form(serve, tmp_path, monkeypatch, model):
    monkeypatch.setenv("ONE_KEY", "k")
    with ProviderServer(SCRIPT) as stub:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "models.toml").write_text(TOML.format(url=stub.url))
        served = serve(agents=[Agent("clerk", model="one/m")])
        command = [PYTHON, "-P", "-c", PROGRAM, f"{served.url}/v1", served.token, model]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == ["rain in Ghent", "Welcome", True, "Ghent"]
        assert len(served.get("/sessions")["sessions"]) == (0 if model == "one/m" else 2)
