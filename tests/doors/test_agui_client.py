"""AG-UI by its official client, which verifies each event: turns, tools, approvals, cut connections, kills."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.doors.test_openai_killed import LONG, node
from tests.server.conftest import strike

from roost.agent.definition import Agent
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

__all__ = ["node"]
HERE = Path(__file__).parent
PLACE = os.environ.get("ROOST_TEST_CLIENTS", "")
pytestmark = pytest.mark.skipif(
    not (Path(PLACE) / "node_modules/@ag-ui/client").is_dir() or shutil.which("node") is None,
    reason="the AG-UI client is not in $ROOST_TEST_CLIENTS",
)
WEATHER = {"name": "weather", "description": "Ask for the weather.", "parameters": {"type": "object"}}


class Client:
    """The client as a process."""

    def __init__(self, url, token, **env):
        self.process = subprocess.Popen(
            ["node", HERE / "agui_client.mjs", url, token],
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.requests, self.lines = self.process.stdin, self.process.stdout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()

    def begin(self, agent, thread, run, **more):
        self.requests.write(json.dumps({"agent": agent, "thread": thread, "runId": run, **more}) + "\n")
        self.requests.flush()

    def line(self):
        return json.loads(self.lines.readline())

    def run(self, *names, **more):
        self.begin(*names, **more)
        return self.line()


def texts(told):
    return [one.get("content") for one in told["messages"] if one["role"] in ("assistant", "user")]


def test_a_thread_is_a_session_and_a_run_a_turn(serve):
    def model(request):
        said = request.messages[-1].parts[-1].text
        return Answer(text=f"You said: {said}", thinking="hm" if said == "hi" else "")

    served = serve(ScriptedModel(model))
    with Client(served.url, served.token) as client:
        first = client.run("clerk", "talk", "r1", say="hi")
        assert first["finished"]["outcome"] == {"type": "success"}
        assert first["finished"]["usage"][0]["totalTokens"] > 0
        assert texts(first) == ["hi", "You said: hi"]
        assert [one["content"] for one in first["messages"] if one["role"] == "reasoning"] == ["hm"]
        assert (first["seen"][0], first["seen"][-1]) == ("RUN_STARTED", "RUN_FINISHED")
        assert texts(client.run("clerk", "talk", "r2", say="and?")) == ["hi", "You said: hi", "and?", "You said: and?"]
        again = client.run("clerk", "talk", "r2")
        assert texts(again) == ["hi", "You said: hi", "and?", "You said: and?"], (
            "a run that is sent again is told again, not made"
        )
    kinds = [one["event"]["type"] for one in served.history("talk")]
    assert (kinds.count("input.received"), kinds.count("turn.completed")) == (2, 2)


def test_tools_of_the_agent_and_of_the_application(serve):
    steps = [
        Answer(text="I ask.", calls=(Call("look", {"what": "up"}), Call("weather", {"place": "Ghent"}))),
        "It rains.",
    ]
    served = serve(ScriptedModel(by_step(steps)))
    with Client(served.url, served.token) as client:
        first = client.run("clerk", "tools", "r1", say="weather?", tools=[WEATHER])
        (pending,) = first["finished"]["outcome"]["pendingToolCallIds"]
        told = next(one for one in first["messages"] if one.get("toolCalls"))
        assert [(one["function"]["name"]) for one in told["toolCalls"]] == ["look", "weather"]
        assert told["content"] == "I ask."
        assert [one["content"] for one in first["messages"] if one["role"] == "tool"] == ["seen up"]
        for _ in range(2):
            done = client.run("clerk", "tools", "r2", tools=[WEATHER], results={pending: "rain"})
            assert texts(done)[-1] == "It rains."
            assert done["finished"]["outcome"] == {"type": "success"}
    kinds = [one["event"]["type"] for one in served.history("tools")]
    assert (kinds.count("tool.completed"), kinds.count("turn.completed")) == (2, 1)


@pytest.mark.parametrize(("payload", "said"), [({"approved": True}, "struck it"), ({"approved": False}, "no")])
def test_an_approval_is_an_interrupt(serve, payload, said):
    def model(request):
        results = [part.text for m in request.messages if hasattr(m, "call") for part in m.parts]
        return Answer(text=results[0]) if results else Answer(calls=(Call("strike", {"what": "it"}),))

    striker = Agent("striker", model=ScriptedModel(model), tools=[strike])
    served = serve(agents=[striker])
    with Client(served.url, served.token) as client:
        first = client.run("striker", "asks", "r1", say="strike")
        (interrupt,) = first["finished"]["outcome"]["interrupts"]
        assert json.loads(interrupt["metadata"]["roost"]["arguments"]) == {"what": "it"}
        with Client(served.url, served.token) as other:  # one that does not know that the thread waits
            again = other.run("striker", "asks", "r1", say="strike")
            assert again["finished"]["outcome"] == first["finished"]["outcome"]
        answer = [{"interruptId": interrupt["id"], "status": "resolved", "payload": payload}]
        for _ in range(2):
            done = client.run("striker", "asks", "r2", resume=answer)
            assert done["finished"]["outcome"] == {"type": "success"}, done
            assert said in texts(done)[-1]
    kinds = [one["event"]["type"] for one in served.history("asks")]
    assert (kinds.count("approval.resolved"), kinds.count("turn.completed")) == (1, 1)


def test_a_run_whose_connection_was_cut_is_read_again(serve):
    slow = Answer(text="slow answer " * 20, thinking="let me think " * 10, pace=0.02, piece=10)
    served = serve(ScriptedModel(by_step([slow])))
    with Client(served.url, served.token, ABORT="1") as client:
        client.begin("clerk", "cut", "r1", say="go", cut=40)
        heard = client.line()["heard"]
        client.line()
        whole = client.run("clerk", "cut", "r1")
    assert texts(whole) == ["go", slow.text]
    assert slow.text.startswith(heard)
    assert [one["content"] for one in whole["messages"] if one["role"] == "reasoning"] == [slow.thinking]
    kinds = [one["event"]["type"] for one in served.history("cut")]
    assert kinds.count("turn.completed") == 1


def test_a_run_goes_on_over_a_kill(node):
    with Client(f"http://127.0.0.1:{node.port}", node.token) as client:
        client.begin("marker", "killed", "r1", say="mark it", cut=60)
        client.line()
        node.kill()
        assert "error" in client.line()
        node.up()
        whole = client.run("marker", "killed", "r1")
    assert texts(whole) == ["mark it", "I mark.", LONG]
    assert [one["content"] for one in whole["messages"] if one["role"] == "tool"] == ["marked"]
    assert node.marks.read_text() == "x"
    kinds = [one["event"]["type"] for one in node.get("/sessions/killed/events?limit=500")["events"]]
    assert (kinds.count("input.received"), kinds.count("turn.completed")) == (1, 1)


def test_errors_of_a_run_and_before_it(serve):
    served = serve(ScriptedModel(by_step(["fine"])))
    with Client(served.url, served.token) as client:
        assert "unknown" in client.run("nobody", "wrong", "r1", say="hi")["error"].lower()
        assert "nothing is new" in client.run("clerk", "empty", "r1")["error"]
