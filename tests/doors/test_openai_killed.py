"""Kill the daemon in the middle of a stream: the client sends its request again, and nothing is doubled."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import httpx2
import openai
import pytest
from tests.harness.prefork import Order
from tests.harness.processes import prefork_process, start

from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

LONG = "word " * 60
SCRIPT = Script(
    rules=(
        Rule(
            when="mark it slowly",  # it lasts until somebody cancels it
            answers=(Reply(text="I mark.", calls=(Call("mark", {}),)), Reply(text=LONG, pace=1.0, piece=1)),
        ),
        Rule(
            when="mark",
            answers=(Reply(text="I mark.", calls=(Call("mark", {}),)), Reply(text=LONG, pace=0.02, piece=5)),
        ),
        Rule(when="weather", answers=(Reply(calls=(Call("mark", {}), Call("weather", {}))), Reply(text="{result}"))),
        Rule(answers=(Reply(text="You said: {input}"),)),
    )
)
AGENT = """
from pathlib import Path
from roost import Agent, tool

@tool(replay="never", safety="read_only")
async def mark() -> str:
    '''Leave a mark.'''
    with Path({marks!r}).open("a") as file:
        file.write("x")
    return "marked"

marker = Agent("marker", model="openai/m", tools=[mark])
"""


class Node:
    """A daemon as a process."""

    def __init__(self, folder: Path, provider: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.marks = folder, folder / "marks"
        (folder / "agents.py").write_text(AGENT.format(marks=str(self.marks)))
        kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        more = {"ROOST_HOME": str(folder / "home"), "OPENAI_API_KEY": "stub", "OPENAI_BASE_URL": provider}
        self.environment = {**kept, "HOME": str(folder), "ROOST_PORT": str(self.port), **more}
        self.up()

    def up(self) -> None:
        (self.folder / "home" / "daemon.json").unlink(missing_ok=True)
        order = Order(["up", "--agents", "agents.py"], str(self.folder), self.environment)
        with open(os.devnull, "w") as nowhere:
            self.process = start(prefork_process(), order, stderr=nowhere.fileno())
        deadline = time.monotonic() + 60
        while not (self.folder / "home" / "daemon.json").exists():
            assert time.monotonic() < deadline
            assert self.process.poll() is None
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.end()

    @property
    def token(self) -> str:
        return (self.folder / "home" / "token").read_text().strip()

    def get(self, path: str):
        url = f"http://127.0.0.1:{self.port}{path}"
        return json.loads(httpx2.get(url, headers={"authorization": f"Bearer {self.token}"}).content)


@pytest.fixture
def node(tmp_path):
    with ProviderServer(SCRIPT) as provider:
        node = Node(tmp_path, provider.url)
        yield node
        node.kill()


def cut_off(node, client, messages):
    """Begin a stream, and kill the node in the middle of it."""
    heard: list[str] = []

    def listen():
        for chunk in client.chat.completions.create(model="marker", messages=messages, stream=True):
            heard.append(chunk.choices[0].delta.content or "")
            if len("".join(heard)) > 60 and node.process.returncode is None:
                node.kill()

    with pytest.raises((openai.APIError, httpx2.HTTPError)):
        listen()
    return "".join(heard)


def test_a_request_sent_again_gets_the_turn_that_a_kill_cut_off(node):
    with openai.OpenAI(base_url=f"http://127.0.0.1:{node.port}/v1", api_key=node.token) as client:
        first = [{"role": "user", "content": "hello"}]
        done = client.chat.completions.create(model="marker", messages=first)
        more = [*first, {"role": "assistant", "content": done.choices[0].message.content}]
        for messages in ([{"role": "user", "content": "mark it"}], [*more, {"role": "user", "content": "mark it"}]):
            node.marks.unlink(missing_ok=True)
            heard = cut_off(node, client, messages)
            node.up()
            stream = client.chat.completions.create(model="marker", messages=messages, stream=True)
            whole = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            assert whole == f"I mark.\n\n{LONG}"
            assert whole.startswith(heard)
            assert node.marks.read_text() == "x"
    sessions = node.get("/sessions")["sessions"]
    assert len(sessions) == 2
    kinds = [
        [e["event"]["type"] for e in node.get(f"/sessions/{s['id']}/events?limit=500")["events"]] for s in sessions
    ]
    assert sorted(one.count("turn.completed") for one in kinds) == [1, 2]
    assert sorted(one.count("input.received") for one in kinds) == [1, 2]


def test_calls_of_a_client_wait_for_it_over_a_kill(node):
    tool = {"type": "function", "function": {"name": "weather"}}
    ask = {"model": "marker", "tools": [tool]}
    messages = [{"role": "user", "content": "the weather?"}]
    with openai.OpenAI(base_url=f"http://127.0.0.1:{node.port}/v1", api_key=node.token) as client:
        first = client.chat.completions.create(messages=messages, **ask).choices[0]
        node.kill()
        node.up()
        assert client.chat.completions.create(messages=messages, **ask).choices[0].message == first.message
        (call,) = first.message.tool_calls
        messages += [first.message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
        done = client.chat.completions.create(messages=messages, **ask).choices[0]
        assert (done.finish_reason, done.message.content) == ("stop", "rain")
        node.kill()
        node.up()
        assert client.chat.completions.create(messages=messages, **ask).choices[0].message.content == "rain"
    assert node.marks.read_text() == "x"
    assert len(node.get("/sessions")["sessions"]) == 1
