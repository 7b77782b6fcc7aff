"""The Managed Agents API, by the official library over a daemon: agents, environments, sessions, events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import pytest
from tests.doors.managed_support import TOML, provider

__all__ = ["provider"]


@pytest.fixture
def managed(serve: Any, provider: Any, tmp_path: Any) -> Iterator[Callable[..., Any]]:
    made: list[anthropic.Anthropic] = []

    def make(served: Any = None, **options: Any) -> Any:
        if served is None:
            home = tmp_path / "home"
            home.mkdir(exist_ok=True)
            (home / "models.toml").write_text(TOML.format(url=provider.url))
            served = serve(home=home)
        made.append(anthropic.Anthropic(base_url=served.url, api_key=served.token, max_retries=0, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def begun(client: Any, **agent: Any) -> Any:
    """Make an environment, an agent and a session."""
    environment = client.beta.environments.create(name="env")
    defined = client.beta.agents.create(**{"name": "clerk", "model": "claude-sonnet-5", **agent})
    return client.beta.sessions.create(agent=defined.id, environment_id=environment.id)


def say(client: Any, session: str, text: str) -> Any:
    message = {"type": "user.message", "content": [{"type": "text", "text": text}]}
    return client.beta.sessions.events.send(session, events=[message])


def until_idle(client: Any, session: str, **options: Any) -> list[Any]:
    found: list[Any] = []
    with client.beta.sessions.events.stream(session, **options) as stream:
        for event in stream:
            found.append(event)
            if event.type == "session.status_idle":
                break
    return found


def kinds(events: list[Any]) -> list[str]:
    return [one.type for one in events]


def test_a_turn_is_streamed_and_listed_with_the_same_ids(managed: Any) -> None:
    client = managed()
    session = begun(client)
    assert session.status == "idle"
    sent = say(client, session.id, "hello")
    heard = until_idle(client, session.id)
    assert kinds(heard) == [
        "user.message",
        "session.status_running",
        "span.model_request_start",
        "agent.message",
        "span.model_request_end",
        "session.status_idle",
    ]
    assert heard[0].id == sent.data[0].id
    assert heard[3].content[0].text == "You said: hello"
    assert heard[-1].stop_reason.type == "end_turn"
    listed = list(client.beta.sessions.events.list(session.id, limit=2))
    assert [one.to_dict() for one in listed] == [one.to_dict() for one in heard]
    back = list(client.beta.sessions.events.list(session.id, order="desc", limit=4))
    assert [one.id for one in back] == [one.id for one in reversed(heard)]
    (said,) = client.beta.sessions.events.list(session.id, types=["agent.message"])
    assert said.id == heard[3].id
    after = client.beta.sessions.retrieve(session.id)
    assert (after.status, after.usage.output_tokens > 0) == ("idle", True)


ASKS = {
    "type": "agent_toolset_20260401",
    "default_config": {"enabled": False},
    "configs": [{"name": "bash", "enabled": True, "permission_policy": {"type": "always_ask"}}],
}
WEATHER = {
    "type": "custom",
    "name": "get_weather",
    "description": "Look up the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.mark.parametrize("result", ["allow", "deny"])
def test_a_call_waits_for_a_confirmation(managed: Any, result: str) -> None:
    client = managed()
    session = begun(client, tools=[ASKS])
    say(client, session.id, "make it")
    heard = until_idle(client, session.id)
    (use,) = [one for one in heard if one.type == "agent.tool_use"]
    assert (use.name, use.input, use.evaluated_permission) == ("bash", {"command": "echo made"}, "ask")
    assert heard[-1].stop_reason.event_ids == [use.id]
    assert client.beta.sessions.retrieve(session.id).status == "idle"
    more = {"deny_message": "not now"} if result == "deny" else {}
    answer: Any = {"type": "user.tool_confirmation", "tool_use_id": use.id, "result": result, **more}
    with client.beta.sessions.events.stream(session.id) as stream:
        sent = client.beta.sessions.events.send(session.id, events=[answer])
        after = []
        for one in stream:
            after.append(one)
            if one.type == "session.status_idle":
                break
    assert (after[0].type, after[0].id, after[0].result) == ("user.tool_confirmation", sent.data[0].id, result)
    assert after[0].deny_message == more.get("deny_message")
    (done,) = [one for one in after if one.type == "agent.tool_result"]
    assert (done.tool_use_id, done.is_error) == (use.id, result == "deny")
    assert ("made" in done.content[0].text) is (result == "allow")
    assert after[-1].stop_reason.type == "end_turn"
    for again in (answer, {**answer, "tool_use_id": "sevt_1"}, {**answer, "tool_use_id": heard[0].id}):
        with pytest.raises(anthropic.BadRequestError):
            client.beta.sessions.events.send(session.id, events=[again])


def test_a_custom_tool_runs_at_the_client(managed: Any) -> None:
    client = managed()
    session = begun(client, tools=[WEATHER])
    say(client, session.id, "the weather?")
    heard = until_idle(client, session.id)
    (use,) = [one for one in heard if one.type == "agent.custom_tool_use"]
    assert (use.name, use.input) == ("get_weather", {"city": "Ghent"})
    assert "agent.tool_use" not in kinds(heard)
    assert heard[-1].stop_reason.event_ids == [use.id]
    result = {
        "type": "user.custom_tool_result",
        "custom_tool_use_id": use.id,
        "content": [{"type": "text", "text": "rain"}],
    }
    sent = client.beta.sessions.events.send(session.id, events=[result])
    after = until_idle(client, session.id)
    assert (after[0].type, after[0].id, after[0].content[0].text) == (result["type"], sent.data[0].id, "rain")
    assert [one.content[0].text for one in after if one.type == "agent.message"] == ["rain"]
    with pytest.raises(anthropic.BadRequestError, match="does not wait"):
        client.beta.sessions.events.send(session.id, events=[result])


def test_deltas_preview_what_the_agent_says(managed: Any) -> None:
    from anthropic.lib.sessions import accumulate_managed_agents_event

    client = managed()
    session = begun(client)
    with client.beta.sessions.events.stream(session.id, event_deltas=["agent.message"]) as stream:
        say(client, session.id, "at length")
        preview: Any = None
        begun_at, heard = None, []
        for event in stream:
            heard.append(event)
            if event.type == "event_start":
                begun_at = event.event.id
            if event.type == "agent.message":
                assert event.id == begun_at
                assert preview.content[0].text == event.content[0].text
            preview = accumulate_managed_agents_event(preview, event)
            if event.type == "session.status_idle":
                break
    assert kinds(heard).count("event_delta") > 1


def test_an_interrupt_ends_the_turn(managed: Any) -> None:
    client = managed()
    session = begun(client, tools=[ASKS])
    say(client, session.id, "make it")
    until_idle(client, session.id)
    with client.beta.sessions.events.stream(session.id) as stream:
        sent = client.beta.sessions.events.send(session.id, events=[{"type": "user.interrupt"}])
        after = []
        for one in stream:
            after.append(one)
            if one.type == "session.status_idle":
                break
    assert sent.data[0].id in [one.id for one in after if one.type == "user.interrupt"]
    assert after[-1].stop_reason.type == "end_turn"


def test_files_are_mounted_listed_and_read_again(managed: Any) -> None:
    client = managed()
    file = client.beta.files.upload(file=("data.csv", b"name,age\nann,7\n", "text/csv"))
    assert (file.filename, file.mime_type, file.size_bytes) == ("data.csv", "text/csv", 15)
    assert client.beta.files.download(file.id).read() == b"name,age\nann,7\n"
    assert [one.id for one in client.beta.files.list()] == [file.id]
    environment = client.beta.environments.create(name="env")
    agent = client.beta.agents.create(name="a", model="claude-sonnet-5", tools=[{"type": "agent_toolset_20260401"}])
    session = client.beta.sessions.create(
        agent={"type": "agent", "id": agent.id, "version": agent.version},
        environment_id=environment.id,
        resources=[{"type": "file", "file_id": file.id, "mount_path": "data.csv"}],
    )
    (resource,) = client.beta.sessions.resources.list(session.id)
    assert (resource.file_id, resource.mount_path) == (file.id, "uploads/data.csv")
    assert client.beta.sessions.resources.retrieve(resource.id, session_id=session.id).id == resource.id
    say(client, session.id, "Tell me the column names.")
    heard = until_idle(client, session.id)
    (use,) = [one for one in heard if one.type == "agent.tool_use"]
    assert (use.name, use.input, use.evaluated_permission) == ("read", {"file_path": "uploads/data.csv"}, "allow")
    (result,) = [one for one in heard if one.type == "agent.tool_result"]
    assert "name,age" in result.content[0].text
    added = client.beta.sessions.resources.add(session.id, file_id=file.id, type="file", mount_path="/b/c.csv")
    assert added.mount_path == "b/c.csv"
    with pytest.raises(anthropic.ConflictError):
        client.beta.sessions.resources.add(session.id, file_id=file.id, type="file", mount_path="/b/c.csv")
    gone = client.beta.sessions.resources.delete(added.id, session_id=session.id)
    assert gone.type == "session_resource_deleted"
    assert client.beta.files.delete(file.id).type == "file_deleted"
    with pytest.raises(anthropic.NotFoundError):
        client.beta.files.retrieve_metadata(file.id)
