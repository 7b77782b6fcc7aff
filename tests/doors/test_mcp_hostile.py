"""MCP with clients that keep to no rule: none approves by accident, waits for ever, or breaks the server."""

from __future__ import annotations

import base64
import contextlib
import json
import tempfile

import mcp_types as types
import pytest
from tests.doors.test_mcp import META, STRIKES, TASKED, connected, modern, rpc, sessions, turns
from tests.server.conftest import Served

from roost.doors.mcp import resources
from roost.doors.mcp.turn_call import ask_of, to_do
from roost.log.events import Danger
from roost.log.session_views import WaitingCall
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

ASKS = {"capabilities": {"elicitation": {}}}
LATEST = "2025-11-25"


def legacy(method: str, **params) -> dict:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def opened(served: Served) -> str:
    return rpc(served, legacy("initialize", **ASKS)).headers["mcp-session-id"]


def newest(method: str, client: dict, **params) -> dict:
    meta = META | {"io.modelcontextprotocol/clientCapabilities": client}
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}


def headers_of(method: str, name: str = "") -> dict[str, str]:
    return {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": method, "Mcp_Name": name}


def waiting(arguments: str) -> WaitingCall:
    dangers = (Danger(text="rm -rf /", why="deletes all"),)
    return WaitingCall(
        call="c",
        tool="shell",
        arguments=arguments,
        reason="it deletes",
        dangers=dangers,
        session="ses_x",
        agent="clerk",
    )


def test_a_form_chooses_nothing_by_itself_and_shows_all_of_the_call():
    ask = ask_of(waiting('{"command":"rm -rf /"}'))
    assert ask is not None
    assert "default" not in json.dumps(ask.params)
    assert "deletes all" in ask.params["message"]
    assert "<U+202E>" in str(ask_of(waiting("\u202e")))
    assert ask_of(waiting("x" * 2000)) is None
    assert "deletes all" in to_do(waiting("x" * 2000))


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_call_that_a_form_cannot_show_whole_is_not_asked_about(serve, mode):
    long = Answer(text="I strike.", calls=(Call("strike", {"what": "x" * 3000}),))
    served = serve(ScriptedModel(by_step([long, "struck"])))
    asked: list[str] = []

    async def elicit(context, params):
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"decision": "approve"})

    async with connected(served, mode, elicitation_callback=elicit) as client:
        done = await client.call_tool("ask_clerk", {"message": "strike"})
    assert done.structured_content["status"] == "waiting"
    assert "roost approve" in done.structured_content["reason"]
    assert not asked
    found = done.structured_content
    task = f"{found['session']}~{found['input']}~1"
    told = modern(served, "tasks/get", task, TASKED, taskId=task)
    assert (told["status"], "roost approve" in told["statusMessage"]) == ("working", True)


@pytest.mark.parametrize("takes", ["application/json", "*/*"])
def test_a_client_that_takes_no_stream_is_not_asked(serve, takes):
    served = serve(ScriptedModel(by_step(STRIKES)))
    call = legacy("tools/call", name="ask_clerk", arguments={"message": "strike"})
    answer = rpc(served, call, Accept=takes, Mcp_Session_Id=opened(served))
    assert answer.json["result"]["structuredContent"]["status"] == "waiting"


def test_a_seal_is_good_for_its_purpose_only(shared):
    session = opened(shared)
    call = legacy("tools/call", name="ask_clerk", arguments={"message": "hello"})
    accept = "application/json, text/event-stream"
    streamed = rpc(shared, call, Accept=accept, Mcp_Session_Id=session, MCP_Protocol_Version=LATEST)
    event = streamed.body.decode().partition("id: ")[2].partition("\n")[0]
    assert "." in event
    for seal in (session, event):
        again = newest("tools/call", {}, name="ask_clerk", arguments={"message": "x"}, requestState=seal)
        answer = rpc(shared, again, **headers_of("tools/call", "ask_clerk"))
        assert (answer.status, answer.json["error"]["code"]) == (400, -32602)
    assert rpc(shared, legacy("ping"), Mcp_Session_Id=event).status == 404
    resumed = shared.request("GET", "/mcp", Mcp_Session_Id=session, Last_Event_Id=session)
    assert (resumed.status, resumed.json["error"]["data"]["code"]) == (400, "unknown_mcp_event")


@pytest.mark.parametrize("tail", ["1~999999999999999", "1~²", "²~1", "999999999999999~1"])
def test_a_task_of_a_false_number_is_refused(shared, tail):
    session = shared.session()
    shared.say(session, "hello")
    id = f"{session}~{tail}"
    wrapped = id if id.isascii() else f"=?base64?{base64.b64encode(id.encode()).decode()}?="
    answer = rpc(shared, newest("tasks/get", TASKED, taskId=id), **headers_of("tasks/get", wrapped))
    assert (answer.status, answer.json["error"]["code"]) == (400, -32602)


@pytest.mark.parametrize("cursor", ["²:", "0" * 5000 + ":", "99999:", ":"])
def test_a_false_cursor_is_refused(shared, cursor):
    answer = rpc(shared, legacy("resources/list", cursor=cursor))
    assert answer.json["error"]["code"] == -32602


def test_only_what_can_be_watched_is_watched(shared):
    headers = {"Mcp_Session_Id": opened(shared)}
    good = f"roost://sessions/{shared.session()}"
    assert rpc(shared, legacy("resources/subscribe", uri=good), **headers).json["result"] == {}
    for uri in ("nonsense", good + "?" + "x" * 2000, 7, [], {}):
        answer = rpc(shared, legacy("resources/subscribe", uri=uri), **headers)
        assert "error" in answer.json, uri
        assert answer.json["error"]["code"] != -32603
        assert rpc(shared, legacy("resources/unsubscribe", uri=uri), **headers).json["result"] == {}
    assert rpc(shared, legacy("resources/subscribe", uri=good), **headers).json["result"] == {}


def test_a_session_that_is_missing_ends_no_other_watch(serve):
    served = serve()
    session = served.session()
    uris = ["roost://sessions/ses_missing", f"roost://sessions/{session}"]
    body = newest("subscriptions/listen", {}, notifications={"resourceSubscriptions": uris})
    with contextlib.closing(served.connect()) as connection:
        more = served.headers(Content_Type="application/json", **headers_of("subscriptions/listen"))
        connection.request("POST", "/mcp", json.dumps(body).encode(), more)
        with connection.getresponse() as stream:
            while b"acknowledged" not in (line := stream.readline()):
                assert line
            served.say(session, "hello")
            while b"resources/updated" not in (line := stream.readline()):
                assert line, "the stream ended"
                assert b'"error"' not in line
                served.say(session, "hello")


def test_the_stream_of_a_session_ends_with_the_session(shared):
    headers = {"Mcp_Session_Id": opened(shared)}
    with shared.stream("GET", "/mcp", **headers) as stream:
        assert stream.response.readline().startswith(b":")
        assert shared.request("DELETE", "/mcp", **headers).status == 204
        stream.response.read()  # up to its end


def test_a_call_with_a_key_outlives_its_client_also_after_a_question(serve, wait):
    slow = Answer(text="slow " * 60, pace=0.03, piece=5)
    served = serve(ScriptedModel(by_step([STRIKES[0], slow]), deltas=True))
    given = {"name": "ask_clerk", "arguments": {"message": "strike", "key": "k"}}
    asked = modern(served, "tools/call", "ask_clerk", {"elicitation": {}}, **given)
    accept = {"action": "accept", "content": {"decision": "approve"}}
    answers = dict.fromkeys(asked["inputRequests"], accept)
    again = newest(
        "tools/call", {"elicitation": {}}, **given, inputResponses=answers, requestState=asked["requestState"]
    )
    session = sessions(served)[0]["id"]

    def struck() -> bool:
        return any(one["event"]["type"] == "tool.completed" for one in served.history(session))

    connection = served.connect()
    more = served.headers(Content_Type="application/json", **headers_of("tools/call", "ask_clerk"))
    connection.request("POST", "/mcp", json.dumps(again).encode(), more)
    wait(struck)
    connection.close()
    wait(lambda: turns(served, session))
    assert turns(served, session)[0]["outcome"] == "answered"


def test_a_long_transcript_is_refused_and_leaves_no_file(serve, monkeypatch, tmp_path):
    served = serve()
    session = served.session()
    served.say(session, "hello")
    monkeypatch.setattr(resources, "_TRANSCRIPT_BYTES", 10)
    (folder := tmp_path / "made").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    answer = rpc(served, legacy("resources/read", uri=f"roost://sessions/{session}/transcript"))
    assert (answer.json["error"]["code"], answer.json["error"]["data"]["code"]) == (-32602, "too_large")
    assert "session_read" in answer.json["error"]["message"]
    assert not list(folder.iterdir())


def test_errors_hold_no_secret_and_are_short(serve, monkeypatch):
    secret = "tok-4f9a8b7c6d5e4f3a2b1c"
    monkeypatch.setenv("DEPLOY_TOKEN", secret)
    served = serve()
    masked = "[secret:DEPLOY_TOKEN]"
    for method, params in (
        ("tools/call", {"name": secret}),
        ("tools/call", {"name": "session_read", "arguments": {"session": secret}}),
        ("tools/call", {"name": "session_start", "arguments": {"agent": secret}}),
        ("resources/read", {"uri": secret}),
        (secret, {}),
    ):
        answer = rpc(served, legacy(method, **params)).body.decode()
        assert masked in answer, answer
        assert secret not in answer
        huge = json.loads(json.dumps(legacy(method, **params)).replace(secret, "x" * 1_000_000))
        assert len(rpc(served, huge).body) < 10_000
    asked = newest("x", {})
    asked["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = secret
    refused = rpc(served, asked, MCP_Protocol_Version=secret, Mcp_Method="x").body.decode()
    assert masked in refused
    assert secret not in refused
