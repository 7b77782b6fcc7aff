"""OpenAI's Agents API over kills of the daemon, at any node, and from clients that keep to no rule."""

from __future__ import annotations

import asyncio
import threading

import httpx2
import openai
import pytest
from openai.lib.beta.agents import function_tool
from tests.doors.test_openai_agents_api import LONG as SHORT
from tests.doors.test_openai_agents_api import reply
from tests.doors.test_openai_killed import LONG, node
from tests.server.accounts import tenant

from roost.agent.definition import Agent
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from roost.tools.function import tool

__all__ = ["node"]
NONE = {"type": "none"}
DELTA = "agent.session.turn.output_text.delta"
IDLE = "agent.session.idle"


@function_tool
def weather() -> str:
    """Tell the weather."""
    return "rain"


def client_of(node, **options):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{node.port}/v1", api_key=node.token, **options)


def until_idle(events):
    """The events up to the end of the work."""
    found = []
    for event in events:
        found.append(event)
        if event.type == IDLE:
            return found
    raise AssertionError(f"the stream ended: {[event.type for event in found]}")


def texts(events):
    """The text that each item got by its deltas."""
    found = {}
    for event in events:
        if event.type == DELTA:
            found[event.item_id] = found.get(event.item_id, "") + event.delta
    return list(found.values())


def cut_off(node, stream):
    """Hear a stream, and kill the node in the middle of it."""
    heard = []

    def listen():
        for event in stream:
            heard.append(event)
            if len("".join(texts(heard))) > 60 and node.process.returncode is None:
                node.kill()

    with pytest.raises((openai.APIError, httpx2.HTTPError)):
        listen()
    return heard


def test_a_stream_that_a_kill_cut_off_is_taken_up_where_it_was(node, wait):
    with client_of(node, max_retries=0) as client:
        beta = client.beta.agents
        heard = cut_off(
            node, beta.sessions.create(agent={"model": "marker"}, environment=NONE, input="mark it", stream=True)
        )
        session = heard[0].session.id
        node.up()
        again = beta.sessions.events.stream(session, extra_headers={"Last-Event-ID": heard[-1].event_id})
        rest = until_idle(again)
        again.close()
        assert texts([*heard, *rest]) == ["I mark.", LONG]
        ids = [event.event_id for event in (*heard, *rest)]
        assert len(set(ids)) == len(ids)
        assert node.marks.read_text() == "x"
        items = list(beta.sessions.items.list(session, order="asc"))
        assert [item.type for item in items] == ["message", "message", "mcp_call", "message"]
        done = {e.item.id: e.item for e in (*heard, *rest) if e.type == "agent.session.turn.item.done"}
        assert [done[item.id].to_dict() for item in items[1:]] == [item.to_dict() for item in items[1:]]
        node.kill()
        node.up()
        assert list(beta.sessions.items.list(session, order="asc")) == items
        whole = beta.sessions.events.stream(session, extra_headers={"Last-Event-ID": heard[0].event_id})
        assert texts(until_idle(whole)) == ["I mark.", LONG]
        whole.close()
        for event in (heard[3], heard[-3], rest[-2]):
            stream = beta.sessions.events.stream(session, extra_headers={"Last-Event-ID": event.event_id})
            after = until_idle(stream)
            stream.close()
            at = ids.index(event.event_id)
            said = "".join(texts([*heard, *rest][: at + 1]) + texts(after))
            assert said == "I mark." + LONG


def test_a_call_in_progress_is_told_once_over_signs_of_life(serve, client, monkeypatch):
    """The reader tells of a call when it reads the event behind it: also of one that the client has heard of."""
    monkeypatch.setattr("roost.doors.openai_agents.event_stream.PING_SECONDS", 0.02)
    go_on = threading.Event()

    @tool(replay="safe", safety="safe_write")
    async def work() -> str:
        """Work until it is told to end."""
        await asyncio.to_thread(go_on.wait)
        return "worked"

    model = ScriptedModel(by_step([Answer(calls=(Call("work", {}),)), Answer(text="done")]))
    beta = client(serve(agents=[Agent("worker", model=model, tools=[work], permissions="all")])).beta.agents
    heard = []
    stream = beta.sessions.create(agent={"model": "worker"}, environment=NONE, input="go", stream=True)
    for event in stream:
        heard.append(event)
        if event.type == "agent.session.turn.item.added" and event.item.type == "mcp_call":
            break
    stream.close()
    more = beta.sessions.events.stream(heard[0].session.id, extra_headers={"Last-Event-ID": heard[-1].event_id})
    threading.Timer(0.3, go_on.set).start()
    heard += until_idle(more)
    more.close()
    assert len({event.event_id for event in heard}) == len(heard)
    kinds = [event.item.type for event in heard if event.type == "agent.session.turn.item.done"]
    assert kinds == ["mcp_call", "message"]


def test_a_client_without_numbers_loses_and_doubles_nothing(node):
    """The protocol's own means: open the stream again, and read the items."""
    with client_of(node, max_retries=0) as client:
        beta = client.beta.agents
        heard = cut_off(
            node, beta.sessions.create(agent={"model": "marker"}, environment=NONE, input="mark it", stream=True)
        )
        session = heard[0].session.id
        node.up()
        stream = beta.sessions.events.stream(session)
        known = {item.id for item in beta.sessions.items.list(session) if item.status == "completed"}
        rest = until_idle(stream) if beta.sessions.retrieve(session).status != "idle" else []
        stream.close()
        known |= {event.item.id for event in rest if event.type == "agent.session.turn.item.done"}
        assert known == {item.id for item in beta.sessions.items.list(session)}
        assert [turn.status for turn in beta.sessions.turns.list(session)] == ["completed"]


def test_calls_of_the_application_wait_for_it_over_a_kill(node, wait):
    with client_of(node) as client:
        beta = client.beta.agents
        agent = beta.create(model="marker", tools=[weather.definition])
        session = beta.sessions.create(agent_id=agent.id, environment=NONE, input="the weather?").id
        wait(lambda: beta.sessions.retrieve(session).status == "requires_action")
        node.kill()
        node.up()
        assert beta.retrieve(agent.id) == agent
        (action,) = beta.sessions.retrieve(session).required_actions
        result = {
            "type": "agent.session.input.tool_result",
            "call_id": action.call_id,
            "turn_id": action.turn_id,
            "success": True,
            "output": "rain",
        }
        for _ in range(2):
            beta.sessions.events.create(session, events=[result], idempotency_key="once")
        node.kill()
        node.up()
        beta.sessions.events.create(session, events=[result], idempotency_key="once")
        wait(lambda: beta.sessions.retrieve(session).status == "idle")
        with pytest.raises(openai.BadRequestError, match="Unknown pending tool call"):
            beta.sessions.events.create(session, events=[result])
        outputs = [item for item in beta.sessions.items.list(session) if item.type == "function_call_output"]
        assert [item.output for item in outputs] == ["rain"]


def test_requests_that_are_sent_again_change_nothing(node, wait):
    again = {"x-stainless-retry-count": "1"}
    with client_of(node) as client:
        beta = client.beta.agents
        first = beta.sessions.create(agent={"model": "marker"}, environment=NONE, input="hello")
        same = beta.sessions.create(agent={"model": "marker"}, environment=NONE, input="hello", extra_headers=again)
        other = beta.sessions.create(agent={"model": "marker"}, environment=NONE, input="hello")
        assert first.id == same.id != other.id
        keyed = [
            beta.sessions.create(
                agent={"model": "marker"}, environment=NONE, input="hello", extra_headers={"Idempotency-Key": "k"}
            ).id
            for _ in range(2)
        ]
        assert keyed[0] == keyed[1]
        with pytest.raises(openai.ConflictError):
            beta.sessions.create(
                agent={"model": "marker"}, environment=NONE, input="else", extra_headers={"Idempotency-Key": "k"}
            )
        said = {
            "type": "agent.session.input.message",
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "on"}]}],
        }
        beta.sessions.events.create(first.id, events=[said])
        beta.sessions.events.create(first.id, events=[said], extra_headers=again)
        beta.sessions.events.create(first.id, events=[said, said], idempotency_key="k")
        beta.sessions.events.create(first.id, events=[said, said], idempotency_key="k")
        wait(lambda: beta.sessions.retrieve(first.id).status == "idle")
        assert len(list(beta.sessions.turns.list(first.id))) == 4


async def test_any_node_answers_for_a_session(serve, client, database, tmp_path, wait):
    (tmp_path / "objects").mkdir()
    clerk = Agent("clerk", model=ScriptedModel(reply, deltas=True))
    one, two = (
        serve(agents=[clerk], home=tmp_path / name, store=database, snapshots=f"file://{tmp_path}/objects")
        for name in ("one", "two")
    )
    here, there = client(one).beta.agents, client(two).beta.agents

    def work():
        agent = here.create(model="clerk", name="ab")
        assert there.retrieve(agent.id) == agent
        upload = client(one).files.create(file=("a.txt", b"alpha"), purpose="user_data")
        assert client(two).files.content(upload.id).read() == b"alpha"
        files = [{"type": "file_id", "file_id": upload.id, "path": "/workspace/a.txt"}]
        session = there.sessions.create(
            agent_id=agent.id, environment={"type": "openai_hosted", "files": files}, input="one"
        )
        wait(lambda: here.sessions.retrieve(session.id).status == "idle")
        with here.sessions.stream(session.id, input="long please") as stream:
            assert stream.get_final_result().output_text == SHORT
        assert (
            there.sessions.items.list(session.id, limit=100).data
            == here.sessions.items.list(session.id, limit=100).data
        )
        client(two).files.delete(upload.id)
        with pytest.raises(openai.NotFoundError):
            client(one).files.retrieve(upload.id)
        changed = there.update(agent.id, instructions="new")
        assert here.retrieve(agent.id) == changed
        errors = []
        threads = [
            threading.Thread(target=lambda n=n, beta=beta: errors.append(_update(beta, agent.id, n)))
            for n, beta in enumerate((here, there, here, there))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == [None] * 4
        assert here.retrieve(agent.id).metadata == there.retrieve(agent.id).metadata != {}

    await asyncio.to_thread(work)


def _update(beta, agent, number):
    beta.update(agent, metadata={"n": str(number)})


async def test_the_asynchronous_library(serve):
    served = serve(agents=[Agent("clerk", model=ScriptedModel(reply, deltas=True))])
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=served.token) as client:
        beta = client.beta.agents
        session = await beta.sessions.create(agent={"model": "clerk"}, environment={"type": "openai_hosted"})
        async with beta.sessions.stream(session.id, input="long please") as stream:
            assert (await stream.get_final_result()).output_text == SHORT
        assert [item.type async for item in beta.sessions.items.list(session.id, limit=1)] == [
            "message",
            "reasoning",
            "message",
        ]
        upload = await client.files.create(file=("a.txt", b"alpha"), purpose="user_data")
        assert (await client.files.content(upload.id)).content == b"alpha"


def test_tenants_see_nothing_of_each_other(serve, wait):
    served = serve(agents=[Agent("clerk", model=ScriptedModel(reply, deltas=True))])
    ann, bob = (
        openai.OpenAI(base_url=f"{served.url}/v1", api_key=tenant(served, name, role="user").token)
        for name in ("ann", "bob")
    )
    viewer = openai.OpenAI(base_url=f"{served.url}/v1", api_key=tenant(served, "eve", role="viewer").token)
    with ann, bob, viewer:
        own, other = ann.beta.agents, bob.beta.agents
        agent = own.create(model="clerk", instructions="mine")
        upload = ann.files.create(file=("a.txt", b"alpha"), purpose="user_data")
        vault = own.vaults.create(name="v")
        template = own.environments.templates.create(name="t")
        session = own.sessions.create(
            agent_id=agent.id,
            environment={"type": "openai_hosted", "environment_template_id": template.id},
            input="hello",
            vault_ids=[vault.id],
        )
        wait(lambda: own.sessions.retrieve(session.id).status == "idle")
        with own.sessions.stream(session.id, input="again") as stream:
            assert stream.get_final_result().output_text == "You said: again"
        target = {"type": "existing_session", "session_id": session.id, "instructions": "look"}
        once = {"type": "once", "name": "n", "run_at": 2_000_000_000}
        automation = own.automations.create(**once, target=target)
        env = session.environment.id
        tries = (
            lambda: other.retrieve(agent.id),
            lambda: other.update(agent.id, name="x"),
            lambda: other.delete(agent.id),
            lambda: other.sessions.retrieve(session.id),
            lambda: other.sessions.items.list(session.id),
            lambda: other.sessions.delete(session.id),
            lambda: other.sessions.events.stream(session.id),
            lambda: other.sessions.create(agent_id=agent.id, environment=NONE, input="x"),
            lambda: other.environments.retrieve(env),
            lambda: other.environments.files.list(env),
            lambda: other.environments.templates.retrieve(template.id),
            lambda: other.vaults.retrieve(vault.id),
            lambda: other.automations.retrieve(automation.id),
            lambda: other.automations.create(**once, target=target),
            lambda: bob.files.retrieve(upload.id),
            lambda: bob.files.content(upload.id),
        )
        for attempt in tries:
            with pytest.raises(openai.NotFoundError):
                attempt()
        lists = (other, other.sessions, other.environments, other.environments.templates, other.vaults)
        assert [list(one.list()) for one in (*lists, other.automations, bob.files)] == [[]] * 7
        folder = {"type": "self_hosted", "workspace_directory": "/"}
        with pytest.raises(openai.PermissionDeniedError):
            own.sessions.create(agent={"model": "clerk"}, environment=folder, input="x")
        with pytest.raises(openai.PermissionDeniedError):
            viewer.beta.agents.create(model="clerk")


CLERK = {"model": "clerk"}
ON = "agents/sessions/SESSION"
SENT = "agent.session.input."


def tools(*given):
    return {"model": "clerk", "tools": list(given)}


def begun(environment="none", **more):
    kind = {"type": environment} if isinstance(environment, str) else {"type": "openai_hosted", **environment}
    return {"environment": kind, "agent": CLERK, **more}


def holding(path, **file):
    return begun({"files": [{"type": "inline", "data": "YQ==", "path": path, **file}]})


def sent(kind, **more):
    return {"events": [{"type": f"{SENT}{kind}", **more}]}


def image(url):
    return begun(input=[{"role": "user", "content": [{"type": "input_image", "image_url": url}]}])


BAD = (
    ("POST", "agents", {}),
    ("POST", "agents", {"model": ""}),
    ("POST", "agents", {"model": "no-such-model-anywhere"}),
    ("POST", "agents", {"model": "clerk", "surprise": 1}),
    ("POST", "agents", []),
    ("POST", "agents", tools({"type": "mcp", "server_label": "x"})),
    ("POST", "agents", tools({"type": "function", "name": "a b", "parameters": {}})),
    ("POST", "agents", {"model": "clerk", "tools": "x"}),
    ("POST", "agents", {"model": "clerk", "metadata": {str(n): "" for n in range(17)}}),
    ("GET", "agents?limit=0", None),
    ("GET", "agents?order=up", None),
    ("GET", "agents/%00", None),
    ("GET", "agents/none", None),
    ("POST", "agents/sessions", {"environment": {}}),
    ("POST", "agents/sessions", begun()),
    ("POST", "agents/sessions", {"environment": {"type": "none"}, "input": "x"}),
    ("POST", "agents/sessions", {"environment": {"type": "none"}, "agent_id": "no", "input": "x"}),
    ("POST", "agents/sessions", begun(input=[1])),
    ("POST", "agents/sessions", image("file:///etc/passwd")),
    ("POST", "agents/sessions", begun({"env": {"A": "b"}})),
    ("POST", "agents/sessions", begun({"network": {"access": "restricted", "allowed_domains": ["a/b"]}})),
    ("POST", "agents/sessions", holding("/workspace/../x")),
    ("POST", "agents/sessions", holding("/etc/x")),
    ("POST", "agents/sessions", holding("/workspace/x", data="?")),
    ("POST", "agents/sessions", holding("/workspace/x", type="file_id", file_id="no")),
    ("POST", "agents/sessions", begun({"environment_id": "env_no"})),
    ("POST", "agents/sessions", begun({"environment_template_id": "no"})),
    ("POST", "agents/sessions", begun("self_hosted")),
    ("POST", "agents/sessions", {**begun(), "environment": {"type": "self_hosted", "workspace_directory": "/nowhere"}}),
    ("POST", "agents/sessions", begun("openai_hosted", review="auto_review")),
    ("POST", "agents/sessions", begun("openai_hosted", vault_ids=["v"])),
    ("POST", "agents/sessions", begun("openai_hosted", spend_control={"limit": -1})),
    ("POST", f"{ON}/events", {"events": []}),
    ("POST", f"{ON}/events", sent("x")),
    ("POST", f"{ON}/events", sent("message", input="  ")),
    ("POST", f"{ON}/events", sent("tool_result", call_id="c", turn_id="t", success=True)),
    (
        "POST",
        f"{ON}/events",
        sent("mcp_approval_request_result", request_id="apr_1_x", response={"decision": "approve"}),
    ),
    ("POST", ON, {"agent": {"reasoning": {"effort": "huge"}}}),
    ("GET", f"{ON}/items?after=msg_x_1.2", None),
    ("GET", f"{ON}/items?after=msg_SESSION_1.99", None),
    ("GET", f"{ON}/turns?after=turn_SESSION_999", None),
    ("GET", f"{ON}/turns/turn_SESSION_2", None),
    ("GET", f"{ON}/turns/turn_SESSION_1/items?after=x", None),
    ("GET", f"{ON}/subagents/x", None),
    ("GET", f"{ON}/artifacts/x", None),
    ("GET", f"{ON}/traces", None),
    ("GET", "agents/sessions/no/items", None),
    ("PUT", "agents/sessions", {}),
    ("GET", "agents/nothing/of/the/kind", None),
    ("GET", "agents/automations/x/invocations/y", None),
    ("POST", "vaults", {"name": " "}),
    ("POST", "vaults", {}),
    ("POST", "agents/automations", {"type": "once", "name": "x", "target": {"type": "existing_session"}}),
    ("POST", "agents/automations/x/pause", None),
    ("GET", "vaults/x/credentials", None),
    ("POST", "agents/environments", {"environment": {"type": "none"}}),
    ("POST", "agents/environments/templates", {"network": {"access": "sometimes"}}),
    ("POST", "agents/environments/env_x/files", {"type": "inline", "data": "", "path": "/workspace/x"}),
    ("GET", "files/x/content", None),
    ("POST", "files", {"purpose": "user_data"}),
)


def test_bad_requests_are_refused_in_the_shape_of_the_protocol(serve):
    served = serve(agents=[Agent("clerk", model=ScriptedModel(reply))])
    head = {"authorization": f"Bearer {served.token}"}
    with httpx2.Client(base_url=f"{served.url}/v1/", headers=head) as http:
        made = {"environment": {"type": "none"}, "agent": {"model": "clerk"}, "input": "x"}
        session = http.post("agents/sessions", json=made).json()["id"]
        for method, path, body in BAD:
            answer = http.request(method, path.replace("SESSION", session), json=body)
            assert 400 <= answer.status_code < 500, (method, path, body, answer.text)
            error = answer.json()["error"]
            assert error["message"], (method, path)
            assert error["code"], (method, path)
        deep = b'{"environment":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}"
        for content in (b"", b"\xff", b"[", deep):
            answer = http.post("agents/sessions", content=content, headers={"content-type": "application/json"})
            assert (answer.status_code, "error" in answer.json()) == (400, True), content[:20]
        forms = (
            b"",
            b"--b\r\n",
            b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--b--\r\n',
            b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b--\r\n',
            b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--b\r\n'
            b'content-disposition: form-data; name="file"; filename="a"\r\n\r\nno end',
            b"--b\r\n" + b"x" * 100_000,
        )
        for content in forms:
            kind = {"content-type": "multipart/form-data; boundary=b"}
            answer = http.post("files", content=content, headers=kind)
            assert (answer.status_code, "error" in answer.json()) == (400, True), content[:80]
        assert http.get("files").json()["data"] == []
        assert http.get("agents/sessions").json()["data"][0]["id"] == session
    assert httpx2.get(f"{served.url}/v1/agents").status_code == 401
