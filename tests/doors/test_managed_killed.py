"""Kill the daemon in the middle of a stream: the client opens it again, lists what it missed, and nothing is lost or
doubled. And two nodes of one PostgreSQL store."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from tests.doors.managed_support import TOML, provider
from tests.doors.test_managed import ASKS, WEATHER, kinds, say, until_idle
from tests.doors.test_openai_killed import LONG, Node

from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

__all__ = ["provider"]
MARK = Call("shell", {"command": "echo marked"})
SCRIPT = Script(
    rules=(
        Rule(when="weather", answers=(Reply(calls=(Call("get_weather", {"city": "Ghent"}),)), Reply(text="{result}"))),
        Rule(when="mark", answers=(Reply(text="I mark.", calls=(MARK,)), Reply(text=LONG, pace=0.02, piece=5))),
        Rule(answers=(Reply(text="You said: {input}"),)),
    )
)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with ProviderServer(SCRIPT) as server:
        started = Node(tmp_path, server.url)
        yield started
        if started.process.poll() is None:
            started.kill()


def sdk(node: Node, **options: Any) -> Any:
    return anthropic.Anthropic(base_url=f"http://127.0.0.1:{node.port}", api_key=node.token, **options)


def made(client: Any, *tools: Any, model: str = "openai/m") -> str:
    environment = client.beta.environments.create(name="e")
    agent = client.beta.agents.create(name="a", model=model, tools=tools)
    return client.beta.sessions.create(agent=agent.id, environment_id=environment.id).id


def test_a_client_goes_on_after_a_kill_and_nothing_is_lost_or_doubled(node: Node) -> None:
    with sdk(node) as client:
        session = made(client, ASKS)
        before = say(client, session, "mark it")
        heard = until_idle(client, session)
        (use,) = [one for one in heard if one.type == "agent.tool_use"]
        node.kill()
        node.up()
        confirm: Any = {"type": "user.tool_confirmation", "tool_use_id": use.id, "result": "allow"}

        def listen() -> None:
            text = 0
            with client.beta.sessions.events.stream(session, event_deltas=["agent.message"]) as stream:
                client.beta.sessions.events.send(session, events=[confirm])
                for event in stream:
                    heard.append(event)
                    text += event.type == "event_delta"
                    if text > 10 and node.process.returncode is None:
                        node.kill()

        with pytest.raises((anthropic.APIError, httpx2.HTTPError)):
            listen()
        node.up()
        known = {one.id for one in heard if hasattr(one, "id")}
        with client.beta.sessions.events.stream(session) as stream:
            missed = [one for one in client.beta.sessions.events.list(session) if one.id not in known]
            while not missed or missed[-1].type != "session.status_idle":
                missed.append(next(one for one in stream if one.id not in {each.id for each in missed}))
        said = [one.content[0].text for one in missed if one.type == "agent.message"]
        assert said == [LONG]
        log = node.get(f"/sessions/{session}/events?limit=500")["events"]
        assert [one["event"]["type"] for one in log].count("tool.started") == 1
        whole = list(client.beta.sessions.events.list(session))
        ids = [one.id for one in whole]
        assert len(set(ids)) == len(ids)
        assert known - {one.id for one in whole} == set()
        assert before.data[0].id in ids
        assert kinds(whole).count("user.message") == 1
        assert kinds(whole).count("agent.tool_result") == 1


def test_definitions_and_open_calls_outlive_a_kill(node: Node) -> None:
    with sdk(node) as client:
        session = made(client, WEATHER)
        say(client, session, "the weather?")
        (use,) = [one for one in until_idle(client, session) if one.type == "agent.custom_tool_use"]
        node.kill()
        node.up()
        result: Any = {
            "type": "user.custom_tool_result",
            "custom_tool_use_id": use.id,
            "content": [{"type": "text", "text": "rain"}],
        }
        client.beta.sessions.events.send(session, events=[result])
        heard = until_idle(client, session)
        assert [one.content[0].text for one in heard if one.type == "agent.message"] == ["rain"]
        (again,) = client.beta.agents.list()
        assert client.beta.agents.retrieve(again.id).tools[0].name == "get_weather"


def test_a_request_that_its_library_repeats_counts_once(node: Node) -> None:
    with sdk(node) as client:
        environment = client.beta.environments.create(name="e").id
        agent = client.beta.agents.create(name="a", model="openai/m").id
        again = {"x-stainless-retry-count": "1"}
        first = [{"type": "user.message", "content": [{"type": "text", "text": "hi"}]}]
        given: Any = {"agent": agent, "environment_id": environment, "initial_events": first}
        session = client.beta.sessions.create(**given).id
        node.kill()
        node.up()
        assert client.beta.sessions.create(**given, extra_headers=again).id == session
        until_idle(client, session)
        sent = say(client, session, "and on")
        message: Any = {"type": "user.message", "content": [{"type": "text", "text": "and on"}]}
        node.kill()
        node.up()
        repeated = client.beta.sessions.events.send(session, events=[message], extra_headers=again)
        assert repeated.data[0].id == sent.data[0].id
        # its turn may have ended before the kill: then nothing more is streamed
        while kinds(list(client.beta.sessions.events.list(session))).count("session.status_idle") < 2:
            time.sleep(0.05)
        assert kinds(list(client.beta.sessions.events.list(session))).count("user.message") == 2
        assert len(list(client.beta.sessions.list())) == 1


async def test_any_node_goes_on(serve: Any, provider: Any, database: str, tmp_path: Path) -> None:
    clients: list[Any] = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "models.toml").write_text(TOML.format(url=provider.url))
        served = serve(home=tmp_path / name, store=database)
        clients.append(anthropic.Anthropic(base_url=served.url, api_key=served.token))
    here, there = clients
    environment = here.beta.environments.create(name="e")
    agent = there.beta.agents.create(name="a", model="claude-sonnet-5", tools=[WEATHER])
    session = here.beta.sessions.create(agent=agent.id, environment_id=environment.id).id
    heard: list[Any] = []
    opened = threading.Event()

    def listen() -> None:
        with there.beta.sessions.events.stream(session) as stream:
            opened.set()
            for event in stream:
                heard.append(event)
                if event.type == "session.status_idle" and event.stop_reason.type == "end_turn":
                    return

    listener = threading.Thread(target=listen)
    listener.start()
    assert opened.wait(60)
    say(here, session, "the weather?")
    (use,) = [one for one in until_idle(here, session) if one.type == "agent.custom_tool_use"]
    result: Any = {"type": "user.custom_tool_result", "custom_tool_use_id": use.id}
    there.beta.sessions.events.send(session, events=[{**result, "content": [{"type": "text", "text": "rain"}]}])
    listener.join(60)
    assert not listener.is_alive()
    lists = [[one.to_dict() for one in client.beta.sessions.events.list(session)] for client in clients]
    assert lists[0] == lists[1] == [one.to_dict() for one in heard]
    here.beta.agents.update(agent.id, version=1, system="New.")
    assert there.beta.agents.retrieve(agent.id).version == 2
    assert there.beta.sessions.delete(session).id == session
    with pytest.raises(anthropic.NotFoundError):
        here.beta.sessions.retrieve(session)
    for client in clients:
        client.close()
