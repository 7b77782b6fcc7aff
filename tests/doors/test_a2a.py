"""A2A 1.0: by its official Python library on both bindings, and what wrong and repeated requests get."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.doors.support import again_asking, cut_off, log
from tests.doors.test_openai_killed import LONG, node
from tests.server.conftest import look, strike

from roost.agent.definition import Agent
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

__all__ = ["node"]
client_library = pytest.importorskip("a2a.client")
httpx = pytest.importorskip("httpx")
a2a_pb2 = pytest.importorskip("a2a.types.a2a_pb2")
a2a_errors = pytest.importorskip("a2a.utils.errors")
CLIENTS = os.environ.get("ROOST_TEST_CLIENTS", "")
BINDINGS = ["JSONRPC", "HTTP+JSON"]


def echo(request: Any) -> Answer:
    return Answer(text=f"You said: {request.messages[-1].parts[-1].text}")


def asking(request: Any) -> Answer:
    results = [part.text for m in request.messages if hasattr(m, "call") for part in m.parts]
    return Answer(text=results[0]) if results else Answer(text="I ask.", calls=(Call("strike", {"what": "it"}),))


@asynccontextmanager
async def connected(served: Any, agent: str, binding: str, *, streaming: bool) -> AsyncIterator[Any]:
    async with httpx.AsyncClient(headers=served.headers(), timeout=60) as http:
        config = client_library.ClientConfig(
            httpx_client=http, streaming=streaming, supported_protocol_bindings=[binding]
        )
        yield await client_library.create_client(f"{served.url}/a2a/{agent}", client_config=config)


async def send(client: Any, text: str, **names: str) -> list[Any]:
    """The updates that a message gets."""
    names.setdefault("message_id", f"m-{text}")
    message = a2a_pb2.Message(role="ROLE_USER", parts=[a2a_pb2.Part(text=text)], **names)
    return [one async for one in client.send_message(a2a_pb2.SendMessageRequest(message=message))]


def last(updates: list[Any]) -> str:
    """The state that the updates end with."""
    found = updates[-1]
    status = found.status_update.status if found.HasField("status_update") else found.task.status
    return a2a_pb2.TaskState.Name(status.state).removeprefix("TASK_STATE_")


def text_of(updates: list[Any]) -> str:
    pieces = [one.artifact_update.artifact for one in updates if one.HasField("artifact_update")]
    if updates[-1].HasField("task"):
        pieces = list(updates[-1].task.artifacts)
    return "".join(part.text for piece in pieces for part in piece.parts)


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("streaming", [True, False])
async def test_a_context_is_a_session_and_a_task_a_turn(serve: Any, binding: str, streaming: bool) -> None:
    served = serve(ScriptedModel(echo))
    async with connected(served, "clerk", binding, streaming=streaming) as client:
        first = await send(client, "hello")
        assert (last(first), text_of(first)) == ("COMPLETED", "You said: hello")
        context = first[0].task.context_id
        second = await send(client, "again", context_id=context)
        assert (text_of(second), second[0].task.context_id) == ("You said: again", context)
        third = await send(client, "again", context_id=context)
        assert third[0].task.id == second[0].task.id, "a message that is sent again is the same task"
        got = await client.get_task(a2a_pb2.GetTaskRequest(id=second[0].task.id))
        assert [part.text for part in got.artifacts[0].parts] == ["You said: again"]
        assert [part.text for part in got.history[0].parts] == ["again"]
        listed = await client.list_tasks(a2a_pb2.ListTasksRequest(context_id=context))
        assert [task.id for task in listed.tasks] == [second[0].task.id, first[0].task.id]
        page = await client.list_tasks(a2a_pb2.ListTasksRequest(page_size=1))
        rest = await client.list_tasks(a2a_pb2.ListTasksRequest(page_size=1, page_token=page.next_page_token))
        assert [page.tasks[0].id, rest.tasks[0].id] == [second[0].task.id, first[0].task.id]
        assert rest.next_page_token == ""
        with pytest.raises(a2a_errors.A2AError):
            await client.cancel_task(a2a_pb2.CancelTaskRequest(id=second[0].task.id))
    (session,) = served.get("/sessions")["sessions"]
    kinds = [one["event"]["type"] for one in served.history(session["id"])]
    assert kinds.count("turn.completed") == 2


@pytest.mark.parametrize("binding", BINDINGS)
async def test_an_approval_is_input_that_the_task_requires(serve: Any, binding: str) -> None:
    served = serve(agents=[Agent("striker", model=ScriptedModel(asking), tools=[strike])])
    async with connected(served, "striker", binding, streaming=True) as client:
        first = await send(client, "go")
        assert last(first) == "INPUT_REQUIRED"
        task = first[0].task.id
        waiting = await client.get_task(a2a_pb2.GetTaskRequest(id=task))
        assert "strike" in waiting.status.message.parts[0].text
        with pytest.raises(a2a_errors.A2AError):
            await send(client, "perhaps", task_id=task)
        for _ in range(2):
            done = await send(client, "yes", task_id=task)
            assert last(done) == "COMPLETED"
        got = await client.get_task(a2a_pb2.GetTaskRequest(id=task))
        assert got.artifacts[0].parts[0].text == "I ask.\n\nstruck it"


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_task_is_followed_again_and_cancelled(serve: Any, binding: str) -> None:
    served = serve(ScriptedModel(by_step([Answer(text="slow " * 500, pace=0.05, piece=5)])))
    async with connected(served, "clerk", binding, streaming=True) as client:
        message = a2a_pb2.Message(message_id="m", role="ROLE_USER", parts=[a2a_pb2.Part(text="go")])
        stream = client.send_message(a2a_pb2.SendMessageRequest(message=message))
        first = await anext(stream)
        async for update in stream:
            if update.HasField("artifact_update"):
                break
        await stream.aclose()
        again = client.subscribe(a2a_pb2.SubscribeToTaskRequest(id=first.task.id))
        seen = [await anext(again), await anext(again)]
        assert seen[0].task.status.state == a2a_pb2.TASK_STATE_WORKING
        assert seen[1].artifact_update.artifact.parts[0].text.startswith("slow ")
        cancelled = await client.cancel_task(a2a_pb2.CancelTaskRequest(id=first.task.id))
        assert cancelled.status.state == a2a_pb2.TASK_STATE_CANCELED
        rest = [one async for one in again]
        assert last(rest) == "CANCELED"


def rpc(served: Any, method: str, params: Any = None, **headers: str) -> Any:
    answer = served.post("/a2a/clerk", {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, **headers)
    assert answer.status == 200, answer
    return answer.json


@pytest.mark.parametrize(
    ("method", "params", "number"),
    [
        ("message/send", {}, -32601),
        ("SendMessage", {}, -32602),
        ("SendMessage", [], -32602),
        ("SendMessage", {"message": {"messageId": "", "parts": [{"text": "x"}]}}, -32602),
        ("SendMessage", {"message": {"messageId": "m", "parts": []}}, -32602),
        ("SendMessage", {"message": {"messageId": "m", "parts": [{}]}}, -32602),
        ("SendMessage", {"message": {"messageId": "m", "parts": [{"raw": "?"}]}}, -32602),
        ("SendMessage", {"message": {"messageId": "m", "parts": [{"text": "x"}], "taskId": "no.1"}}, -32001),
        ("GetTask", {"id": "nothing"}, -32001),
        ("GetTask", {"id": "nothing.1"}, -32001),
        ("GetTask", {"id": "nothing." + "9" * 40}, -32001),
        ("CancelTask", {"id": "nothing.1"}, -32001),
        ("SubscribeToTask", {"id": "nothing.1"}, -32001),
        ("ListTasks", {"pageSize": 0}, -32602),
        ("ListTasks", {"pageToken": "x"}, -32602),
        ("ListTasks", {"pageToken": "i.x"}, -32602),
        ("ListTasks", {"changedSince": "2026-11-23T10:00:00Z"}, -32602),
        ("ListTasks", {"statusTimestampAfter": "yesterday"}, -32602),
        ("ListTasks", {"status": "completed"}, -32602),
        ("CreateTaskPushNotificationConfig", {}, -32602),
        ("GetTaskPushNotificationConfig", {"taskId": "nothing.1", "id": "x"}, -32001),
    ],
)
def test_wrong_calls_get_errors_of_json_rpc(serve: Any, method: str, params: Any, number: int) -> None:
    served = serve()
    assert rpc(served, method, params)["error"]["code"] == number
    assert served.get("/sessions")["sessions"] == []


def test_wrong_requests_and_versions(serve: Any) -> None:
    served = serve()
    assert served.request("POST", "/a2a/clerk", raw=b"{").json["error"]["code"] == -32700
    assert served.request("POST", "/a2a/clerk", raw=b"[]").json["error"]["code"] == -32600
    assert rpc(served, "GetTask", {"id": "x"}, A2A_Version="0.3")["error"]["code"] == -32009
    answer = served.get("/a2a/clerk/.well-known/agent-card.json")
    assert answer["supportedInterfaces"][0]["url"] == f"{served.url}/a2a/clerk"
    for method, path, status in (
        ("GET", "/a2a/nobody/.well-known/agent-card.json", 404),
        ("GET", "/a2a/clerk/tasks/x.1", 404),
        ("GET", "/a2a/clerk/tasks/x.1:cancel", 404),
        ("POST", "/a2a/clerk/tasks/x.1:cancel", 404),
        ("GET", "/a2a/clerk/tasks?pageSize=many", 400),
        ("POST", "/a2a/clerk/message:send", 400),
        ("GET", "/a2a/clerk/tasks/x.1/pushNotificationConfigs", 404),
        ("POST", "/a2a/clerk/tasks/x.1/pushNotificationConfigs", 404),
        ("GET", "/a2a/clerk/tasks/x.1/pushNotificationConfigs/c", 404),
        ("DELETE", "/a2a/clerk/tasks/x.1/pushNotificationConfigs/c", 404),
        ("PUT", "/a2a/clerk/tasks/x.1/pushNotificationConfigs/c", 405),
    ):
        refused = served.request(method, path)
        assert (refused.status, refused.json["error"]["code"]) == (status, status), (path, refused)
        assert refused.json["error"]["details"][0]["domain"] == "a2a-protocol.org"
    refused = served.request("GET", "/a2a", Authorization="Bearer wrong")
    assert (refused.status, json.loads(refused.body)["error"]["status"]) == (401, "UNAUTHENTICATED")


async def test_a_task_is_of_its_agent_alone(serve: Any) -> None:
    other = Agent("other", model=ScriptedModel(echo), tools=[look])
    served = serve(agents=[Agent("clerk", model=ScriptedModel(echo)), other])
    async with connected(served, "clerk", "JSONRPC", streaming=False) as client:
        task = (await send(client, "mine"))[0].task.id
    async with connected(served, "other", "JSONRPC", streaming=False) as client:
        with pytest.raises(a2a_errors.A2AError):
            await client.get_task(a2a_pb2.GetTaskRequest(id=task))
    served.session("clerk", id="plain")
    served.say("plain", "hello")
    assert rpc(served, "GetTask", {"id": "plain.1"})["error"]["code"] == -32001, "no task of this protocol"


@pytest.mark.skipif(
    not (Path(CLIENTS) / "node_modules/@a2a-js/sdk").is_dir() or shutil.which("node") is None,
    reason="the JavaScript client of A2A is not in $ROOST_TEST_CLIENTS",
)
@pytest.mark.parametrize("binding", BINDINGS)
def test_the_javascript_client(serve: Any, binding: str) -> None:
    served = serve(ScriptedModel(echo))
    command = ["node", str(Path(__file__).parent / "a2a_client.mjs"), served.url, served.token, binding, "clerk", "hi"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [one["payload"]["$case"] for one in told["updates"]] == ["task", "artifactUpdate", "statusUpdate"]
    assert "You said: hi" in json.dumps(told["task"]["artifacts"])
    assert told["again"]["id"] == told["task"]["id"]
    assert len(served.get("/sessions")["sessions"]) == 1


async def test_a_task_goes_on_where_its_node_was_killed(node: Any) -> None:
    url = f"http://127.0.0.1:{node.port}"
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {node.token}"}, timeout=60) as http:
        config = client_library.ClientConfig(httpx_client=http, streaming=True)
        client = await client_library.create_client(f"{url}/a2a/marker", client_config=config)
        message = a2a_pb2.Message(message_id="m", role="ROLE_USER", parts=[a2a_pb2.Part(text="mark it")])
        tasks: list[str] = []

        async def listen() -> None:
            heard = ""
            async for update in client.send_message(a2a_pb2.SendMessageRequest(message=message)):
                tasks.append(update.task.id)
                heard += "".join(part.text for part in update.artifact_update.artifact.parts)
                if len(heard) > 60 and node.process.returncode is None:
                    node.kill()

        with pytest.raises((a2a_errors.A2AError, client_library.A2AClientError, httpx.HTTPError)):
            await listen()
        node.up()
        updates = [one async for one in client.subscribe(a2a_pb2.SubscribeToTaskRequest(id=tasks[0]))]
        assert (last(updates), text_of(updates)) == ("COMPLETED", f"I mark.\n\n{LONG}")
        again = await send(client, "mark it", message_id="m")
        assert again[0].task.id == tasks[0]
    assert node.marks.read_text() == "x"
    (session,) = node.get("/sessions")["sessions"]
    kinds = [one["event"]["type"] for one in node.get(f"/sessions/{session['id']}/events?limit=500")["events"]]
    assert (kinds.count("input.received"), kinds.count("turn.completed")) == (1, 1)


def tell(served: Any, id: str, *parts: Any, agent: str = "striker", **names: Any) -> Any:
    message = {"messageId": id, "role": "ROLE_USER", "parts": list(parts), **names}
    return served.post(f"/a2a/{agent}/message:send", {"message": message})


def test_a_late_yes_does_not_answer_a_newer_question(serve: Any, wait: Any) -> None:
    served = serve(agents=[again_asking()])
    task = tell(served, "m", {"text": "go"}, contextId="t").json["task"]
    (first,) = task["status"]["message"]["parts"][1]["data"]["approvals"]
    thread = threading.Thread(target=lambda: tell(served, "yes1", {"text": "yes"}, taskId=task["id"]))
    thread.start()
    cut_off(served, "t", wait)
    thread.join()
    repeated = tell(served, "yes1", {"text": "yes"}, taskId=task["id"]).json["task"]
    (second,) = repeated["status"]["message"]["parts"][1]["data"]["approvals"]
    assert (second["call"], second["asked"] > first["asked"]) == (first["call"], True)
    for late in ({"text": "yes"}, {"data": {"approved": True}}):
        refused = tell(served, "yes2", late, taskId=task["id"])
        assert refused.json["error"]["details"][0]["reason"] == "UNCLEAR_ANSWER"
    old = {"data": {"approvals": [{"call": first["call"], "asked": first["asked"], "approved": True}]}}
    assert tell(served, "yes3", old, taskId=task["id"]).json["task"]["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    assert log(served, "t").count("approval.resolved") == 1
    new = {"data": {"approvals": [{"call": second["call"], "asked": second["asked"], "approved": True}]}}
    assert tell(served, "yes4", {"text": "no"}, new, taskId=task["id"]).status == 400, "they contradict each other"
    assert tell(served, "yes4", new, taskId=task["id"]).json["task"]["status"]["state"] == "TASK_STATE_COMPLETED"


def test_an_item_that_is_no_message_of_this_door_is_no_task(serve: Any, wait: Any) -> None:
    served = serve(ScriptedModel(by_step([Answer(text="slow " * 2000, pace=0.05, piece=5)])))
    body: dict[str, Any] = {"message": {"messageId": "m", "contextId": "t", "parts": [{"text": "go"}]}}
    body["configuration"] = {"returnImmediately": True}
    first = served.post("/a2a/clerk/message:send", body).json["task"]
    wait(lambda: "turn.started" in log(served, "t"))
    console = served.post("/sessions/t/messages", {"text": "from the console"}).json["input"]
    body["message"]["messageId"] = "n"
    queued = served.post("/a2a/clerk/message:send", body).json["task"]
    for id in (f"t.{console}", "t.999999", "t/x.1"):
        for method in ("GetTask", "SubscribeToTask"):
            assert rpc(served, method, {"id": id})["error"]["code"] == -32001, id
    got = rpc(served, "GetTask", {"id": queued["id"]})["result"]
    assert (got["status"]["state"], got["history"][0]["parts"]) == ("TASK_STATE_SUBMITTED", [{"text": "go"}])
    assert rpc(served, "GetTask", {"id": first["id"]})["result"]["status"]["state"] == "TASK_STATE_WORKING"


def test_pages_of_tasks_are_bounded_and_go_on(serve: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("roost.doors.a2a.task_list._CONTEXTS", 2)
    monkeypatch.setattr("roost.doors.a2a.task_list._EVENTS", 12)
    monkeypatch.setattr("roost.doors.a2a.task_list._WINDOW", 5)
    served = serve(ScriptedModel(echo))
    made = [
        tell(served, f"m{number}", {"text": "x"}, agent="clerk", contextId=f"t{number % 3}").json["task"]["id"]
        for number in range(6)
    ]
    found: list[str] = []
    token, pages = "", 0
    while token or not pages:
        page = rpc(served, "ListTasks", {"pageToken": token})["result"]
        found += [task["id"] for task in page["tasks"]]
        token, pages = page["nextPageToken"], pages + 1
    assert sorted(found) == sorted(made)
    assert pages > 2
    gone = rpc(served, "ListTasks", {"pageSize": 1})["result"]["nextPageToken"]
    assert served.request("DELETE", f"/sessions/{gone.partition('.')[2]}").status in (200, 204)
    assert rpc(served, "ListTasks", {"pageToken": gone})["error"]["code"] == -32602


def test_filters_of_tasks_hold_and_waiting_ones_are_listed(serve: Any, wait: Any) -> None:
    served = serve(agents=[Agent("clerk", model=ScriptedModel(asking), tools=[strike])])

    def listed(**asked: Any) -> Any:
        return rpc(served, "ListTasks", asked)["result"]

    first = tell(served, "m0", {"text": "go"}, agent="clerk", contextId="c").json["task"]
    for number in (1, 2, 3):
        message = {"messageId": f"m{number}", "role": "ROLE_USER", "contextId": "c", "parts": [{"text": "go"}]}
        served.post("/a2a/clerk/message:send", {"message": message, "configuration": {"returnImmediately": True}})
    whole = listed()
    states = [one["status"]["state"].removeprefix("TASK_STATE_") for one in whole["tasks"]]
    assert (states, whole["totalSize"]) == (["SUBMITTED"] * 3 + ["INPUT_REQUIRED"], 4)
    ids = [one["id"] for one in whole["tasks"]]
    assert [one["id"] for one in listed(status="TASK_STATE_SUBMITTED")["tasks"]] == ids[:3]
    found, token = list[str](), ""
    while token or not found:
        page = listed(pageSize=1, pageToken=token)
        assert (len(page["tasks"]), "totalSize" in page) == (1, False)
        found, token = [*found, page["tasks"][0]["id"]], page["nextPageToken"]
    assert found == ids
    changed = whole["tasks"][-1]["status"]["timestamp"]
    assert len(listed(statusTimestampAfter=changed)["tasks"]) == 4
    assert listed(statusTimestampAfter="2999-01-01T00:00:00Z")["tasks"] == []
    assert rpc(served, "CancelTask", {"id": first["id"]})["result"]


def test_a_reply_has_as_much_history_as_asked(serve: Any) -> None:
    served = serve(ScriptedModel(echo))
    message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hello"}]}
    for length, told in ((0, False), (1, True)):
        body = {"message": message, "configuration": {"historyLength": length}}
        assert ("history" in served.post("/a2a/clerk/message:send", body).json["task"]) is told


def test_an_empty_message_makes_no_session_and_cards_are_not_kept(serve: Any) -> None:
    served = serve()
    assert tell(served, "m", {"text": " "}, agent="clerk").status == 400
    assert served.get("/sessions")["sessions"] == []
    card = served.request("GET", "/a2a/clerk/.well-known/agent-card.json")
    assert card.headers["cache-control"] == "no-store"
