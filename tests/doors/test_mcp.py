"""MCP by the official Python client, in the newest revision and in the older ones: a call is a turn of a session."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator

import httpx2
import mcp_types as types
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from tests.server.conftest import Served

from roost.agent.definition import Agent
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

MODES = ("legacy", "2026-07-28", "auto")
STRIKES = [Answer(text="I strike.", calls=(Call("strike", {"what": "it"}),)), "struck"]


@contextlib.asynccontextmanager
async def connected(served: Served, mode: str, **options) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(headers=served.headers(), timeout=60) as http:
        transport = streamable_http_client(f"{served.url}/mcp", http_client=http)
        async with Client(transport, mode=mode, **options) as client:
            yield client


def text(result: types.CallToolResult) -> str:
    return "\n".join(part.text for part in result.content if part.type == "text")


def turns(served: Served, session: str) -> list[dict]:
    return [e["event"] for e in served.history(session) if e["event"]["type"] == "turn.completed"]


def sessions(served: Served) -> list[dict]:
    return served.get("/sessions")["sessions"]


@pytest.mark.parametrize("mode", MODES)
async def test_an_agent_is_a_tool_and_a_session_goes_on(serve, mode):
    model = ScriptedModel(lambda request: f"{len(request.messages)} messages")
    served = serve(agents=[Agent("mail.clerk", description="Answers mail.", model=model)])
    async with connected(served, mode) as client:
        assert client.protocol_version == ("2025-11-25" if mode == "legacy" else "2026-07-28")
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert "Answers mail." in tools["ask_mail_clerk"].description
        first = await client.call_tool("ask_mail_clerk", {"message": "hello"})
        assert first.structured_content["answer"] == "1 messages"
        session = first.structured_content["session"]
        assert session in text(first)
        second = await client.call_tool("ask_mail_clerk", {"message": "and now?", "session": session})
        assert second.structured_content["answer"] == "3 messages"
    assert [turn["outcome"] for turn in turns(served, session)] == ["answered", "answered"]
    sources = [e["event"].get("source") for e in served.history(session) if e["event"]["type"] == "input.received"]
    assert sources == ["mcp", "mcp"]


@pytest.mark.parametrize("mode", MODES[:2])
async def test_sessions_are_started_sent_to_read_awaited_and_listed(serve, mode):
    served = serve(ScriptedModel(lambda _: "yes"))
    async with connected(served, mode) as client:

        async def call(name, **arguments):
            return (await client.call_tool(name, arguments)).structured_content

        begun = await call("session_start", agent="clerk", message="one", title="Mail")
        assert (await call("session_wait", session=begun["session"], input=begun["input"]))["answer"] == "yes"
        sent = await call("session_send", session=begun["session"], message="two", key="k")
        again = await call("session_send", session=begun["session"], message="two", key="k")
        assert (sent["input"], again["duplicate"]) == (again["input"], True)
        done = await call("session_wait", session=begun["session"], input=sent["input"])
        assert done["status"] == "answered"
        read = await call("session_read", session=begun["session"])
        assert [one["text"] for one in read["messages"]] == ["one", "yes", "two", "yes"]
        assert [one["title"] for one in (await call("sessions_list", agent="clerk"))["sessions"]] == ["Mail"]
        missing = await client.call_tool("session_read", {"session": "nothing"})
        assert missing.is_error
        unfit = await client.call_tool("session_read", {"session": 7})
        assert unfit.is_error
        assert "`session`" in text(unfit)
        late = await client.call_tool("session_wait", {"session": begun["session"], "input": 999})
        assert late.is_error


@pytest.mark.parametrize("mode", MODES[:2])
async def test_the_memory_is_searched_and_added_to(serve, mode):
    served = serve()
    async with connected(served, mode) as client:
        kept = await client.call_tool("memory_remember", {"text": "Ada likes tea.", "space": "shared:team"})
        assert kept.structured_content["done"] == "add"
        found = await client.call_tool("memory_search", {"query": "tea"})
        assert [one["text"] for one in found.structured_content["facts"]] == ["Ada likes tea."]


@pytest.mark.parametrize("mode", MODES[:2])
async def test_resources_are_listed_read_and_completed(serve, mode):
    served = serve()
    session = served.session()
    served.say(session, "hello")
    async with connected(served, mode) as client:
        listed = {str(one.uri) for one in (await client.list_resources()).resources}
        assert {"roost://agents/clerk", f"roost://sessions/{session}/transcript"} <= listed
        told = (await client.read_resource(f"roost://sessions/{session}/transcript")).contents[0]
        assert "hello" in told.text
        state = json.loads((await client.read_resource(f"roost://sessions/{session}")).contents[0].text)
        assert state["info"]["agent"] == "clerk"
        log = json.loads((await client.read_resource(f"roost://sessions/{session}/events?after=1")).contents[0].text)
        assert log["events"][0]["seq"] == 2
        made = served.post(f"/sessions/{session}/checkpoints", {"label": "here"})
        assert made.status in (200, 201, 202), made
        (kept,) = (await client.read_resource(f"roost://sessions/{session}/checkpoints")).contents
        assert json.loads(kept.text)["checkpoints"][0]["label"] == "here"
        ref = types.ResourceTemplateReference(type="ref/resource", uri="roost://sessions/{session}")
        assert (await client.complete(ref, {"name": "session", "value": session[:8]})).completion.values == [session]
        with pytest.raises(Exception, match="there is no resource"):
            await client.read_resource("roost://sessions/nothing")


@pytest.mark.parametrize("mode", MODES[:2])
async def test_a_long_turn_tells_its_progress(serve, mode):
    steps = [Answer(text="I look.", calls=(Call("look", {"what": "it"}),)), "done"]
    served = serve(ScriptedModel(by_step(steps)))
    heard: list[tuple[float, str | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        heard.append((done, message))

    async with connected(served, mode) as client:
        result = await client.call_tool("ask_clerk", {"message": "look"}, progress_callback=progress)
        assert result.structured_content["answer"] == "I look.\n\ndone"
    assert [done for done, _ in heard] == sorted({done for done, _ in heard})
    assert any("look" in (message or "") for _, message in heard)


@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (types.ElicitResult(action="accept", content={"decision": "approve"}), "struck it"),
        (types.ElicitResult(action="accept", content={"decision": "reject", "note": "too hard"}), "too hard"),
        (types.ElicitResult(action="decline"), "reject"),
    ],
)
async def test_a_call_that_waits_for_a_person_is_asked_about(serve, mode, answer, outcome):
    served = serve(ScriptedModel(by_step(STRIKES)))
    asked: list[str] = []

    async def elicit(context, params):
        asked.append(params.message)
        return answer

    async with connected(served, mode, elicitation_callback=elicit) as client:
        done = await client.call_tool("ask_clerk", {"message": "strike"})
        assert done.structured_content["status"] == "answered", done
        assert "strike" in asked[0]
        assert len(asked) == 1
        session = done.structured_content["session"]
    assert outcome in json.dumps(served.history(session))
    assert len(turns(served, session)) == 1
    assert len(sessions(served)) == 1


@pytest.mark.parametrize("mode", MODES[:2])
async def test_a_client_that_cannot_ask_is_told_what_to_do(serve, mode):
    served = serve(ScriptedModel(by_step(STRIKES)))
    async with connected(served, mode) as client:
        done = await client.call_tool("ask_clerk", {"message": "strike"})
        facts = done.structured_content
        assert facts["status"] == "waiting"
        assert "roost approve" in text(done)
        session = facts["session"]
        call = served.get(f"/sessions/{session}/approvals")["approvals"][0]["call"]
        assert served.post(f"/sessions/{session}/approvals/{call}", {"decision": "approve"}).status == 202
        after = await client.call_tool("session_wait", {"session": session, "input": facts["input"]})
        assert after.structured_content["answer"] == "I strike.\n\nstruck"


@pytest.mark.parametrize("mode", MODES[:2])
async def test_a_message_with_a_key_is_said_once(serve, mode):
    served = serve(ScriptedModel(lambda request: f"{len(request.messages)} messages"))
    async with connected(served, mode) as client:
        calls = [client.call_tool("ask_clerk", {"message": "hello", "key": "k1"}) for _ in range(3)]
        done = [result.structured_content for result in await asyncio.gather(*calls)]
        done.append((await client.call_tool("ask_clerk", {"message": "hello", "key": "k1"})).structured_content)
    assert {one["answer"] for one in done} == {"1 messages"}
    assert len({(one["session"], one["input"]) for one in done}) == 1
    assert len(sessions(served)) == 1


@pytest.mark.parametrize("mode", MODES[:2])
async def test_a_client_that_cancels_ends_the_turn(serve, wait, mode):
    steps = Answer(text="slow " * 400, pace=0.05, piece=5)
    served = serve(ScriptedModel(lambda _: steps, deltas=True))
    async with connected(served, mode) as client:
        call = asyncio.create_task(client.call_tool("ask_clerk", {"message": "slowly"}))
        await asyncio.to_thread(wait, lambda: sessions(served) and sessions(served)[0]["phase"] == "working")
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        session = sessions(served)[0]["id"]
        await asyncio.to_thread(wait, lambda: turns(served, session))
    assert turns(served, session)[0]["outcome"] == "cancelled"


@pytest.mark.parametrize("mode", MODES[:2])
async def test_a_watched_session_tells_of_its_changes(serve, mode):
    served = serve()
    session = served.session()
    uri = f"roost://sessions/{session}"
    heard = asyncio.Event()

    async def message(incoming) -> None:
        found = getattr(incoming, "root", incoming)
        if isinstance(found, types.ResourceUpdatedNotification) and str(found.params.uri) == uri:
            heard.set()

    async with connected(served, mode, message_handler=message) as client:
        if mode == "legacy":
            with pytest.warns(match="removed"):
                await client.subscribe_resource(uri)
            for _ in range(100):  # the client opens its stream by itself, in its own time
                await asyncio.to_thread(served.say, session, "hello")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(heard.wait(), 1)
                    return
            raise AssertionError("no change was told")
        async with client.listen(resource_subscriptions=[uri]) as events:
            await asyncio.to_thread(served.say, session, "hello")
            async for event in events:
                assert str(event.uri) == uri
                return


TASKED = {"extensions": {"io.modelcontextprotocol/tasks": {}}, "elicitation": {}}


def modern(served: Served, method: str, name: str = "", client: dict | None = None, /, **params) -> dict:
    """Send a request of the newest revision and return its result."""
    meta = META | {"io.modelcontextprotocol/clientCapabilities": client or {}}
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    answer = rpc(served, body, MCP_Protocol_Version="2026-07-28", Mcp_Method=method, Mcp_Name=name)
    assert "result" in answer.json, answer
    return answer.json["result"]


def task_until(served: Served, wait, id: str, *statuses: str) -> dict:
    found: list[dict] = []

    def reached() -> bool:
        found.append(modern(served, "tasks/get", id, TASKED, taskId=id))
        return found[-1]["status"] in statuses

    wait(reached)
    return found[-1]


def test_a_long_turn_is_a_task(serve, wait):
    slow = Answer(text="slow " * 200, pace=0.05, piece=5)
    replies = by_step([STRIKES[0], slow])
    served = serve(ScriptedModel(replies, deltas=True))
    begun = modern(served, "tools/call", "ask_clerk", TASKED, name="ask_clerk", arguments={"message": "strike"})
    assert (begun["resultType"], begun["status"]) == ("task", "input_required")
    id = begun["taskId"]
    waiting = modern(served, "tasks/get", id, TASKED, taskId=id)
    accept = {"action": "accept", "content": {"decision": "approve"}}
    answers = dict.fromkeys(waiting["inputRequests"], accept)
    assert modern(served, "tasks/update", id, TASKED, taskId=id, inputResponses=answers)["resultType"] == "complete"
    assert task_until(served, wait, id, "working")
    modern(served, "tasks/cancel", id, TASKED, taskId=id)
    assert task_until(served, wait, id, "cancelled", "completed")["status"] == "cancelled"
    session = sessions(served)[0]["id"]
    assert [turn["outcome"] for turn in turns(served, session)] == ["cancelled"]


def test_a_task_goes_on_over_a_restart_and_has_the_answer(serve, wait):
    slow = Answer(text="slow " * 60, pace=0.03, piece=5)
    served = serve(ScriptedModel(lambda _: slow, deltas=True))
    begun = modern(served, "tools/call", "ask_clerk", TASKED, name="ask_clerk", arguments={"message": "slowly"})
    assert (begun["resultType"], begun["status"]) == ("task", "working")
    served.stop()
    again = serve(ScriptedModel(lambda _: slow, deltas=True))
    done = task_until(again, wait, begun["taskId"], "completed")
    assert done["result"]["structuredContent"]["answer"] == slow.text
    quick = serve(agents=[Agent("quick", model=ScriptedModel(lambda _: "at once"))], home=again.home.parent / "quick")
    result = modern(quick, "tools/call", "ask_quick", TASKED, name="ask_quick", arguments={"message": "x"})
    assert result["resultType"] in ("complete", "task")  # a task only where this machine is slow


@pytest.mark.parametrize("id", ["", "x", "x~1~1", "é~1~1", "x~-1~1", "x~1~99999999999999999999", "\0~1~1"])
def test_a_task_that_is_none_is_refused(shared, id):
    meta = META | {"io.modelcontextprotocol/clientCapabilities": TASKED}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"taskId": id, "_meta": meta}}
    name = f"=?base64?{base64.b64encode(id.encode()).decode()}?="
    answer = rpc(shared, body, MCP_Protocol_Version="2026-07-28", Mcp_Method="tasks/get", Mcp_Name=name)
    assert (answer.status, answer.json["error"]["code"]) == (400, -32602)


def rpc(served: Served, body, *, raw: bytes | None = None, **headers: str):
    return served.request("POST", "/mcp", body, raw=raw, **{"Content_Type": "application/json", **headers})


def test_a_request_without_the_token_and_from_a_strange_page_is_refused_in_the_shape_of_the_protocol(serve):
    served = serve()
    refused = rpc(served, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, Authorization="Bearer no")
    assert refused.status == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert refused.json["error"]["data"]["code"] == "unauthorized"
    assert rpc(served, {"jsonrpc": "2.0", "id": 1, "method": "ping"}, Origin="http://evil.example").status == 403
    assert rpc(served, {"jsonrpc": "2.0", "id": 1, "method": "ping"}, Host="evil.example").status == 403


HOSTILE: list[bytes] = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"7",
    b'"x"',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"jsonrpc":"2.0"}',
    b'{"jsonrpc":"1.0","id":1,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":[],"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1,"method":7}',
    b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}',
    b'{"jsonrpc":"2.0","id":1,"method":"nothing"}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ask_clerk","arguments":[]}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ask_clerk","arguments":{"message":"\\u0000"}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ask_clerk","arguments":{"message":"\\ud800"}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ask_clerk","arguments":{"message":"x","key":"\\u0000"}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"session_read","arguments":{"session":"\\u0000"}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sessions_list","arguments":{"before":"\\u0000"}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"session_wait","arguments":{"session":"x","input":1e400}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"memory_search","arguments":{"query":"\\u0000"}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":7}}',
    b'{"jsonrpc":"2.0","id":1,"method":"resources/list","params":{"cursor":"99999999999999999999:"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"resources/list","params":{"cursor":"3:\\u0000"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"roost://sessions/%00"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"roost://agents/%ff%00"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":{}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":[]}}',
    b'{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":[]}}',
    b'{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":7,"argument":[]}}',
    b'{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"x","arguments":7}}',
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":7,"protocolVersion":{}}}',
    b'{"jsonrpc":"2.0","id":"x","result":{}}',
    b'{"jsonrpc":"2.0","id":"x","error":7}',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[]}}',
]
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("modern", [False, True], ids=["older", "newest"])
def test_hostile_input_is_no_failure_of_the_server(shared, body, modern):
    headers = {"MCP_Protocol_Version": "2026-07-28"} if modern else {}
    with contextlib.suppress(ValueError, AttributeError, RecursionError):
        if modern and isinstance(message := json.loads(body), dict):
            params = message.get("params", {})
            message["params"] = {**params, "_meta": META} if isinstance(params, dict) else params
            headers["Mcp-Method"] = str(message.get("method"))
            headers["Mcp-Name"] = str(params.get("name", params.get("uri", "")))
            body = json.dumps(message).encode()
    answer = rpc(shared, None, raw=body, **headers)
    assert answer.status < 500, answer
    if answer.status != 202:
        data = answer.body
        if answer.headers["content-type"].startswith("text/event-stream"):
            data = data.rpartition(b"data: ")[2]
        found = json.loads(data)
        assert found["jsonrpc"] == "2.0"
        assert found.get("error", {}).get("code") != -32603, found


@pytest.mark.parametrize("state", ["", "x", "x.y", "é.é", "W10.x", 7, {}, "a" * 10_000])
def test_a_forged_state_is_refused(shared, state):
    params = {"name": "ask_clerk", "arguments": {"message": "x"}, "requestState": state, "_meta": META}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {"MCP_Protocol_Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "ask_clerk"}
    answer = rpc(shared, body, **headers)
    assert (answer.status, answer.json["error"]["code"]) == (400, -32602)


def test_a_session_of_an_older_client_lives_through_a_restart_and_ends_by_its_order(serve):
    served = serve()
    begun = rpc(served, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"capabilities": {}}})
    session = begun.headers["mcp-session-id"]
    served.stop()
    again = serve()
    headers = {"Mcp_Session_Id": session}
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    assert rpc(again, ping, **headers).json["result"] == {}
    assert again.request("DELETE", "/mcp", **headers).status == 204
    assert rpc(again, ping, **headers).status == 404
    assert rpc(again, ping, Mcp_Session_Id="forged.id").status == 404
