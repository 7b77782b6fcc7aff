"""OpenAI's Agents API by its official library, against a real daemon."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import openai
import pytest
from openai.lib.beta.agents import function_tool
from pydantic import BaseModel

from roost.agent.definition import Agent
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.tools.function import tool

LONG = "This is an answer of several pieces, so that a client hears it in more than one delta of some length."


def reply(request):
    told = [
        part.text for message in request.messages for part in getattr(message, "parts", ()) if hasattr(part, "text")
    ]
    last = request.messages[-1]
    if hasattr(last, "call"):
        if told[0] == "strike twice" and sum(hasattr(message, "call") for message in request.messages) < 2:
            return Answer(calls=(Call("strike", {"what": "it again"}),))
        return Answer(text=f"The tool said {last.parts[0].text}.")
    words = last.parts[0].text
    if "weather" in words:
        return Answer(thinking="I should ask.", text="One moment.", calls=(Call("weather", {"city": "Ghent"}),))
    if "delegate two blows" in words:
        return Answer(calls=(Call("task", {"agent": "clerk", "prompt": "strike twice"}),))
    if "delegate a blow" in words:
        return Answer(calls=(Call("task", {"agent": "clerk", "prompt": "strike"}),))
    if "delegate" in words:
        return Answer(calls=(Call("task", {"agent": "clerk", "prompt": "a small task"}),))
    if "write" in words:
        return Answer(calls=(Call("write_file", {"path": "outputs/deep/a.txt", "content": words}),))
    if "strike" in words:
        return Answer(calls=(Call("strike", {"what": "it"}),))
    if "long" in words:
        return Answer(thinking="Let me think about it for a while.", text=LONG, pace=0.001)
    if "endless" in words:
        return Answer(text=LONG * 50, pace=0.05)
    if "how many" in words:
        return Answer(text=json.dumps({"count": len(told)}))
    return Answer(text=f"You said: {words}")


@pytest.fixture
def daemon(serve):
    @tool(replay="ask", safety="destructive")
    async def strike(what: str) -> str:
        """Needs an approval."""
        return f"struck {what}"

    model = ScriptedModel(reply, deltas=True)
    clerk = Agent("clerk", model=model, tools=[strike, "write_file"], description="Answers.")
    return serve(agents=[clerk])


@pytest.fixture
def beta(daemon, client):
    return client(daemon).beta.agents


@function_tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"rain in {city}"


NONE = {"type": "none"}


def test_an_agent_is_made_changed_listed_and_deleted(beta):
    made = beta.create(
        model="clerk",
        name="Helper",
        instructions="Be kind.",
        metadata={"a": "b"},
        tools=[weather.definition],
        reasoning={"effort": "low"},
        text={"verbosity": "low"},
    )
    assert (made.object, made.model, made.name, made.metadata) == ("agent", "clerk", "Helper", {"a": "b"})
    assert made.tools[0].name == "weather"
    assert beta.retrieve(made.id) == made
    changed = beta.update(made.id, name=None, metadata={}, tools=None)
    assert (changed.name, changed.metadata, changed.tools) == (None, {}, [])
    assert (changed.instructions, changed.reasoning.effort) == ("Be kind.", "low")
    others = [beta.create(model="clerk").id for _ in range(4)]
    every = [made.id, *others]
    assert [one.id for one in beta.list(limit=2, order="asc")] == every
    assert [one.id for one in beta.list(limit=2)] == every[::-1]
    assert beta.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        beta.retrieve(made.id)
    assert [one.id for one in beta.list(limit=1)] == others[::-1]
    own = beta.retrieve("clerk")
    assert own.name == "clerk"
    with pytest.raises(openai.ConflictError, match="files"):
        beta.delete("clerk")


def test_a_session_streams_its_first_turn(beta):
    stream = beta.sessions.create(agent={"model": "clerk"}, environment=NONE, input="long please", stream=True)
    events = []
    for event in stream:
        events.append(event)
        if event.type == "agent.session.idle":
            break
    kinds = [event.type.removeprefix("agent.session.") for event in events]
    assert kinds[0] == "created"
    assert kinds.index("turn.created") < kinds.index("turn.output_text.delta") < kinds.index("turn.completed")
    said = "".join(event.delta for event in events if event.type == "agent.session.turn.output_text.delta")
    assert said == LONG
    assert len([kind for kind in kinds if kind == "turn.output_text.delta"]) > 2
    thought = [event for event in events if event.type == "agent.session.turn.reasoning_summary_text.done"]
    assert thought[0].text == "Let me think about it for a while."
    ids = [event.event_id for event in events]
    assert len(set(ids)) == len(ids)


def test_a_result_is_collected_with_tools_of_the_application(beta):
    agent = beta.create(model="clerk", tools=[weather.definition])
    stream = beta.sessions.create(
        agent_id=agent.id,
        environment=NONE,
        input="the weather?",
        stream=True,
        tool_handlers={"weather": weather},
    )
    result = stream.get_final_result()
    assert result.output_text == "The tool said rain in Ghent."
    assert result.turn.status == "completed"
    assert result.turn.usage.total_tokens > 0
    session = beta.sessions.retrieve(result.session_id)
    assert (session.status, session.agent.id) == ("idle", agent.id)
    items = list(beta.sessions.items.list(session.id, order="asc", limit=2))
    assert [item.type for item in items] == [
        "message",
        "reasoning",
        "message",
        "function_call",
        "function_call_output",
        "message",
    ]
    assert [getattr(item, "phase", None) for item in items][2:] == ["commentary", None, None, "final_answer"]
    assert [item.id for item in beta.sessions.items.list(session.id, limit=2)] == [item.id for item in items][::-1]
    assert items[4].output == "rain in Ghent"


def test_turns_follow_in_one_session(beta):
    session = beta.sessions.create(agent={"model": "clerk"}, environment={"type": "openai_hosted"}, metadata={"k": "v"})
    assert session.status == "idle"
    for word in ("one", "two", "three"):
        with beta.sessions.stream(session.id, input=word) as stream:
            assert stream.get_final_result().output_text == f"You said: {word}"
    turns = list(beta.sessions.turns.list(session.id, limit=1))
    assert [turn.status for turn in turns] == ["completed"] * 3
    assert [turn.id for turn in beta.sessions.turns.list(session.id, order="asc")] == [turn.id for turn in turns][::-1]
    assert beta.sessions.turns.retrieve(turns[1].id, session_id=session.id) == turns[1]
    said = list(beta.sessions.turns.items.list(turns[1].id, session_id=session.id, order="asc", limit=1))
    assert [one.content[0].text for one in said] == ["two", "You said: two"]
    every = [item.id for item in beta.sessions.items.list(session.id, order="asc")]
    for size in (1, 2, 3, 5):
        assert [item.id for item in beta.sessions.items.list(session.id, order="asc", limit=size)] == every
        assert [item.id for item in beta.sessions.items.list(session.id, limit=size)] == every[::-1]
    assert [one.id for one in beta.sessions.list(metadata={"k": "v"})] == [session.id]
    assert list(beta.sessions.list(metadata={"k": "w"})) == []
    assert beta.sessions.delete(session.id).deleted
    with pytest.raises(openai.NotFoundError):
        beta.sessions.retrieve(session.id)
    assert list(beta.sessions.list()) == []


def test_each_idle_event_shows_the_session_as_it_is(daemon, beta, wait):
    session = beta.sessions.create(agent={"model": "clerk"}, environment={"type": "openai_hosted"}).id
    at = f"/sessions/{session}"
    with beta.sessions.events.stream(session) as stream:
        events = iter(stream)
        assert next(events).type == "agent.session.idle"

        def idle_after(text):
            given = [{"role": "user", "content": [{"type": "input_text", "text": text}]}]
            beta.sessions.events.create(session, events=[{"type": "agent.session.input.message", "input": given}])
            shown = next(event.session for event in events if event.type == "agent.session.idle")
            assert shown.usage == beta.sessions.retrieve(session).usage, text
            return shown

        used = [idle_after(word).usage.total_tokens for word in ("one", "two", "three")]
        assert 0 < used[0] < used[1] < used[2]
        head = daemon.get(at)["info"]["head"]
        limited = beta.sessions.update(session, spend_control={"limit": 500})  # which changes the definition
        assert idle_after("four").spend_control == limited.spend_control
        assert daemon.post(f"{at}/rollback", {"to": head}).status < 300
        assert idle_after("five").spend_control == beta.sessions.retrieve(session).spend_control
        for action in ("pause", "resume"):
            assert daemon.post(f"{at}/{action}").status < 300
        assert idle_after("six").last_active_at == beta.sessions.retrieve(session).last_active_at


class Count(BaseModel):
    count: int


def test_an_answer_has_the_type_that_was_asked_for(beta):
    stream = beta.sessions.create(
        agent={"model": "clerk"}, environment=NONE, input="how many?", stream=True, output_type=Count
    )
    assert stream.get_final_result().output_parsed.count >= 1


def test_a_call_waits_for_an_approval(beta, wait):
    session = beta.sessions.create(agent={"model": "clerk"}, environment=NONE, input="strike")
    wait(lambda: beta.sessions.retrieve(session.id).status == "requires_action")
    (action,) = beta.sessions.retrieve(session.id).required_actions
    assert (action.type, action.request.name) == ("mcp_approval_request", "strike")
    answer = {
        "type": "agent.session.input.mcp_approval_request_result",
        "request_id": action.request_id,
        "response": {"type": "mcp_tool_call", "decision": "approve"},
    }
    for _ in range(2):
        beta.sessions.events.create(session.id, events=[answer], idempotency_key="once")
    wait(lambda: beta.sessions.retrieve(session.id).status == "idle")
    call = next(item for item in beta.sessions.items.list(session.id) if item.type == "mcp_call")
    assert (call.status, call.output) == ("completed", "struck it")
    with pytest.raises(openai.BadRequestError, match="Unknown pending approval"):
        beta.sessions.events.create(session.id, events=[answer], idempotency_key="twice")


def test_an_agent_gives_tasks_to_subagents(beta):
    agent = {"model": "clerk", "multi_agent": {"enabled": True, "max_concurrent_subagents": 2}}
    stream = beta.sessions.create(agent=agent, environment=NONE, input="delegate", stream=True)
    events = []
    for event in stream:
        events.append(event)
        if event.type == "agent.session.idle":
            break
    session = events[0].session.id
    told = {event.type: event.subagent for event in events if ".subagent." in event.type}
    created, closed = told["agent.session.subagent.created"], told["agent.session.subagent.closed"]
    assert (created.status, closed.status, created.id) == ("active", "closed", closed.id)
    assert created.instructions[0].text == "a small task"
    (one,) = beta.sessions.subagents.list(session)
    assert beta.sessions.subagents.retrieve(one.id, session_id=session) == one
    assert (one.id, one.status) == (created.id, "closed")
    (turn,) = beta.sessions.subagents.turns.list(one.id, session_id=session)
    assert (turn.subagent_id, turn.session_id, turn.status) == (one.id, session, "completed")
    assert beta.sessions.subagents.turns.retrieve(turn.id, session_id=session, subagent_id=one.id) == turn
    items = list(beta.sessions.subagents.items.list(one.id, session_id=session, order="asc"))
    assert [item.content[0].text for item in items] == ["a small task", "You said: a small task"]
    assert (
        list(beta.sessions.subagents.turns.items.list(turn.id, session_id=session, subagent_id=one.id, order="asc"))
        == items
    )
    call = next(item for item in beta.sessions.items.list(session) if item.type == "create_subagent_call")
    assert (call.status, call.content[0].text) == ("completed", "a small task")
    with pytest.raises(openai.NotFoundError):
        beta.sessions.subagents.retrieve(session, session_id=session)


def test_a_question_of_a_subagent_is_answered_through_its_parent(beta, wait):
    agent = {"model": "clerk", "multi_agent": {"enabled": True}}
    stream = beta.sessions.create(agent=agent, environment=NONE, input="delegate a blow", stream=True)
    kinds = []
    for event in stream:
        kinds.append(event.type)
        if event.type == "agent.session.requires_action":
            break
    session = event.session.id
    (action,) = event.session.required_actions
    (child,) = beta.sessions.subagents.list(session)
    assert (action.request.name, child.id in action.request.message) == ("strike", True)
    assert beta.sessions.retrieve(session).required_actions == [action]
    (turn,) = beta.sessions.turns.list(session)
    assert turn.status == "waiting"
    answer = {
        "type": "agent.session.input.mcp_approval_request_result",
        "response": {"type": "mcp_tool_call", "decision": "approve"},
    }
    other = beta.sessions.create(agent={"model": "clerk"}, environment=NONE, input="hello")
    for wrong, where in ((action.request_id, other.id), (f"{action.request_id}x", session), ("aps_1_/x", session)):
        with pytest.raises(openai.BadRequestError, match="Unknown pending approval"):
            beta.sessions.events.create(where, events=[{**answer, "request_id": wrong}])
    for _ in range(2):
        given = [{**answer, "request_id": action.request_id}]
        beta.sessions.events.create(session, events=given, idempotency_key="once")
    wait(lambda: beta.sessions.retrieve(session).required_actions == [])
    for event in stream:
        kinds.append(event.type)
        if event.type == "agent.session.idle":
            break
    assert kinds[-1] == "agent.session.idle"
    assert "agent.session.in_progress" in kinds[kinds.index("agent.session.requires_action") :]
    call = next(
        item for item in beta.sessions.subagents.items.list(child.id, session_id=session) if item.type == "mcp_call"
    )
    assert (call.status, call.output) == ("completed", "struck it")


def test_a_second_question_of_a_subagent_is_told_too(beta):
    agent = {"model": "clerk", "multi_agent": {"enabled": True}}
    asked = []
    for event in beta.sessions.create(agent=agent, environment=NONE, input="delegate two blows", stream=True):
        if event.type == "agent.session.idle":
            break
        if event.type == "agent.session.requires_action":
            (action,) = event.session.required_actions
            asked.append(action.request.arguments)
            answer = {
                "type": "agent.session.input.mcp_approval_request_result",
                "request_id": action.request_id,
                "response": {"type": "mcp_tool_call", "decision": "approve"},
            }
            beta.sessions.events.create(event.session.id, events=[answer])
    assert [one if isinstance(one, dict) else json.loads(one) for one in asked] == [
        {"what": "it"},
        {"what": "it again"},
    ]


def test_a_session_is_changed(beta, wait):
    session = beta.sessions.create(agent={"model": "clerk"}, environment={"type": "openai_hosted"}, metadata={"a": "b"})
    changed = beta.sessions.update(session.id, metadata={"c": "d"}, agent={"tools": [weather.definition]})
    assert (changed.metadata, [one.name for one in changed.agent.tools]) == ({"c": "d"}, ["weather"])
    assert [one.id for one in beta.sessions.list(metadata={"c": "d"})] == [session.id]
    assert list(beta.sessions.list(metadata={"a": "b"})) == []
    with beta.sessions.stream(session.id, input="the weather?", tool_handlers={"weather": weather}) as stream:
        assert stream.get_final_result().output_text == "The tool said rain in Ghent."
    limited = beta.sessions.update(session.id, spend_control={"limit": 500}, agent={"reasoning": {"effort": "high"}})
    assert (limited.spend_control.limit, limited.agent.reasoning.effort) == (500, "high")
    assert beta.sessions.retrieve(session.id).metadata == {"c": "d"}


def test_automations_are_schedules_of_a_session(beta, wait):
    session = beta.sessions.create(agent={"model": "clerk"}, environment={"type": "openai_hosted"})
    target = {"type": "existing_session", "session_id": session.id, "instructions": "look around"}
    made = beta.automations.create(
        type="periodic", name="round", expression="0 9 * * *", timezone="Europe/Brussels", target=target
    )
    assert (made.status, made.type, made.target.instructions) == ("active", "periodic", "look around")
    assert beta.automations.retrieve(made.id) == made
    run = beta.automations.invocations.create(made.id)
    assert (run.status, run.source.type) == ("queued", "manual")
    wait(lambda: beta.automations.invocations.retrieve(run.id, automation_id=made.id).status == "completed")
    assert [one.id for one in beta.automations.invocations.list(made.id)] == [run.id]
    again = beta.automations.invocations.create(made.id)
    wait(lambda: beta.automations.invocations.retrieve(again.id, automation_id=made.id).status == "completed")
    for order, ids in (("desc", [again.id, run.id]), ("asc", [run.id, again.id])):
        found = beta.automations.invocations.list(made.id, order=order, limit=1)
        assert [one.id for one in found] == ids
    with pytest.raises(openai.NotFoundError):
        beta.automations.invocations.list(made.id, after="inv_x")
    wait(lambda: beta.sessions.retrieve(session.id).status == "idle")
    assert "look around" in next(iter(beta.sessions.items.list(session.id))).content[0].text
    assert beta.automations.pause(made.id).status == "paused"
    assert beta.automations.resume(made.id).status == "active"
    changed = beta.automations.update(made.id, expression="0 10 * * *", metadata={"a": "b"})
    assert (changed.expression, changed.metadata, changed.name) == ("0 10 * * *", {"a": "b"}, "round")
    once = beta.automations.create(type="once", name="later", run_at=2_000_000_000, target=target)
    assert (once.run_at, once.status) == (2_000_000_000, "active")
    assert [one.id for one in beta.automations.list(session_id=session.id, limit=1)] == [once.id, made.id]
    assert beta.automations.delete(once.id).deleted
    with pytest.raises(openai.NotFoundError):
        beta.automations.retrieve(once.id)
    new = {"type": "new_session", "agent_id": "clerk", "environment": NONE, "input": "x"}
    with pytest.raises(openai.BadRequestError, match="existing_session"):
        beta.automations.create(type="once", name="new", run_at=2_000_000_000, target=new)
    with pytest.raises(openai.BadRequestError):
        beta.automations.create(type="periodic", name="x", expression="never", timezone="UTC", target=target)
    assert [one.id for one in beta.automations.list()] == [made.id]


def test_vaults_have_names_and_show_no_secrets(beta):
    made = [beta.vaults.create(name=name, metadata={"n": name}) for name in ("one", "two", "three")]
    assert beta.vaults.retrieve(made[0].id) == made[0]
    assert beta.vaults.update(made[0].id, name="first", metadata={}).name == "first"
    assert [one.id for one in beta.vaults.list(limit=1)] == [one.id for one in made][::-1]
    assert [one.id for one in beta.vaults.list(metadata={"n": "two"})] == [made[1].id]
    session = beta.sessions.create(
        agent={"model": "clerk"}, environment={"type": "openai_hosted"}, vault_ids=[made[1].id]
    )
    assert session.vault_ids == [made[1].id]
    assert list(beta.vaults.credentials.list(made[1].id)) == []
    auth = {"type": "static_bearer", "token": "hush-hush", "mcp_server_url": "https://example.com/mcp"}
    kept = beta.vaults.credentials.create(made[1].id, name="x", auth=auth)
    assert "hush-hush" not in kept.to_json()
    with pytest.raises(openai.BadRequestError, match="one line"):
        beta.vaults.credentials.create(made[1].id, name="x", auth={**auth, "token": "a\nb"})
    assert beta.vaults.delete(made[1].id).deleted
    with pytest.raises(openai.NotFoundError):
        beta.vaults.retrieve(made[1].id)


def test_artifacts_are_what_a_turn_left_in_outputs(beta, tmp_path):
    session = beta.sessions.create(agent={"model": "clerk"}, environment={"type": "openai_hosted"})
    with beta.sessions.stream(session.id, input="write one") as stream:
        first = stream.get_final_result()
    with beta.sessions.stream(session.id, input="hello") as stream:
        stream.get_final_result()
    artifacts = beta.sessions.artifacts
    (one,) = artifacts.list(session.id)
    assert (one.path, one.size_bytes, one.turn_id) == ("/workspace/outputs/deep/a.txt", 9, first.turn_id)
    assert artifacts.for_result(first).content(one.path).read() == b"write one"
    artifacts.for_result(first).download(one.path, to=tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == b"write one"
    assert artifacts.retrieve(one.id, session_id=session.id) == one
    other = beta.sessions.create(agent={"model": "clerk"}, environment={"type": "openai_hosted"})
    with pytest.raises(openai.NotFoundError):
        artifacts.retrieve(one.id, session_id=other.id)
    assert artifacts.delete(one.id, session_id=session.id).deleted
    assert list(artifacts.list(session.id)) == []


def test_a_turn_is_cancelled(beta, wait):
    session = beta.sessions.create(agent={"model": "clerk"}, environment=NONE, input="endless")
    wait(lambda: beta.sessions.retrieve(session.id).status == "in_progress")
    with pytest.raises(openai.ConflictError):
        beta.sessions.delete(session.id)
    beta.sessions.events.create(session.id, events=[{"type": "agent.session.input.cancel"}])
    wait(lambda: beta.sessions.retrieve(session.id).status == "idle")
    (turn,) = beta.sessions.turns.list(session.id)
    assert turn.status == "cancelled"


def test_files_are_uploaded_listed_read_and_deleted(daemon, client):
    files = client(daemon).files
    data = bytes(range(256)) * 40_000
    made = files.create(file=("na\u00efve.bin", data), purpose="user_data")
    assert (made.filename, made.bytes, made.purpose) == ("na\u00efve.bin", len(data), "user_data")
    assert files.retrieve(made.id) == made
    assert files.content(made.id).read() == data
    more = [files.create(file=(f"{n}.txt", b"x" * n), purpose="assistants").id for n in range(3)]
    assert [one.id for one in files.list(order="asc", limit=2)] == [made.id, *more]
    assert [one.id for one in files.list(purpose="assistants")] == more[::-1]
    assert files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        files.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        files.content(made.id)


def test_files_are_in_the_workspace_of_a_session(daemon, client):
    one = client(daemon)
    beta = one.beta.agents
    upload = one.files.create(file=("a.txt", b"alpha"), purpose="user_data")
    inline = base64.b64encode(b"beta").decode()
    environment = {
        "type": "openai_hosted",
        "files": [
            {"type": "file_id", "file_id": upload.id, "path": "/workspace/in/a.txt"},
            {"type": "inline", "data": inline, "path": "/workspace/b.txt"},
        ],
    }
    session = beta.sessions.create(agent={"model": "clerk"}, environment=environment, input="hello")
    env = session.environment.id
    staged = beta.environments.files.upload(env, file=("c.txt", b"gamma!"), path="/workspace/c.txt")
    assert staged.file.size_bytes == 6
    found = {file.path: file.size_bytes for file in beta.environments.files.list(env, limit=1)}
    assert found == {"/workspace/in/a.txt": 5, "/workspace/b.txt": 4, "/workspace/c.txt": 6}
    assert [file.id for file in one.files.list()] == [staged.uploaded_file_id, upload.id]
    first = beta.environments.create(environment={"type": "openai_hosted", "files": environment["files"][:1]})
    beta.environments.files.create(first.id, type="inline", data=inline, path="/workspace/later.txt")
    later = beta.sessions.create(
        agent={"model": "clerk"}, environment={"type": "openai_hosted", "environment_id": first.id}, input="hi"
    )
    beta.environments.files.create(first.id, type="inline", data=inline, path="/workspace/more.txt")
    assert later.environment.id == first.id
    paths = [file.path for file in beta.environments.files.list(first.id, order="asc")]
    assert paths == ["/workspace/in/a.txt", "/workspace/later.txt", "/workspace/more.txt"]
    assert {env, first.id} == {one.id for one in beta.environments.list()}


def methods(resource, path=""):
    """The methods of a resource of the library, and of those below it."""
    for name in dir(type(resource)):
        if name.startswith(("_", "with_")):
            continue
        member = getattr(resource, name)
        if callable(member):
            yield f"{path}{name}"
        else:
            yield from methods(member, f"{path}{name}.")


def test_the_reference_has_every_method_of_the_library(client, daemon):
    one = client(daemon)
    page = Path("docs/reference/openai-agents-api.md").read_text()
    told = {
        name
        for line in page.splitlines()
        for name in re.findall(r"`([a-z_.]+)`", line.split("|")[1] if "|" in line else "")
    }
    known = {*methods(one.beta.agents, ""), *methods(one.files, "files.")}
    known = {name if "." in name else f"agents.{name}" for name in known}
    assert known - told == set()
