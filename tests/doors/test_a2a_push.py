"""Push notifications of A2A: in order, at least once, over failures of the receiver and kills of the node."""

from __future__ import annotations

import contextlib
import http.server
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.doors.test_a2a import asking, connected, echo, last, send, tell
from tests.doors.test_openai_killed import LONG, node
from tests.server.conftest import strike

from roost.agent.definition import Agent
from roost.doors.a2a.push_configs import KIND, PushConfig, PushConfigs, read_config
from roost.doors.a2a.tasks import TaskId
from roost.log.documents import DocumentQuery
from roost.policy.sealing import VARIABLE, Sealing, SealingKeyMissing
from roost.stores.open import open_store
from roost.testing.scripted import Answer, ScriptedModel, by_step

__all__ = ["node"]
httpx = pytest.importorskip("httpx")
a2a_pb2 = pytest.importorskip("a2a.types.a2a_pb2")
a2a_errors = pytest.importorskip("a2a.utils.errors")
json_format = pytest.importorskip("google.protobuf.json_format")


class Receiver:
    """Takes notifications. answers: the statuses to give, then 200. before: called for each request first."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.tries: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[int] = []
        self.before: Callable[[], None] = lambda: None
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver.tries.append(body)
                receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
                status = receiver.answers.pop(0) if receiver.answers else 200
                if status == 200:
                    receiver.told.append(body)
                receiver.before()
                self.send_response(status)
                if status == 302:
                    self.send_header("location", receiver.url)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.place = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.place}/hook"
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()

    @property
    def states(self) -> list[str]:
        """What it was told, in short."""
        for one in self.told:
            json_format.ParseDict(one, a2a_pb2.StreamResponse())  # the official shape
        return [
            one["statusUpdate"]["status"]["state"].removeprefix("TASK_STATE_") if "statusUpdate" in one else "artifact"
            for one in self.told
        ]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    found = Receiver()
    monkeypatch.setenv("ROOST_AGENTS_ALLOW", found.place)
    monkeypatch.setattr("roost.doors.a2a.pusher._FIRST_PAUSE", 0.01)
    monkeypatch.setattr("roost.doors.a2a.pusher._LONGEST_PAUSE", 0.05)
    yield found
    found.close()


def push(receiver: Receiver, **more: Any) -> dict[str, Any]:
    return {"configuration": {"taskPushNotificationConfig": {"url": receiver.url, **more}}}


def rpc(served: Any, method: str, params: Any, agent: str = "clerk") -> Any:
    return served.post(f"/a2a/{agent}", {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).json


def start(served: Any, agent: str, text: str, **more: Any) -> Any:
    message = {"messageId": f"m-{text}", "role": "ROLE_USER", "parts": [{"text": text}]}
    body = {"message": message, **more}
    body.setdefault("configuration", {})["returnImmediately"] = True
    answer = served.post(f"/a2a/{agent}/message:send", body)
    assert answer.status == 200, answer
    return answer.json["task"]


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_a_client_manages_its_configs(serve: Any, receiver: Receiver, wait: Any, binding: str) -> None:
    served = serve(agents=[Agent("striker", model=ScriptedModel(asking), tools=[strike])])
    async with connected(served, "striker", binding, streaming=True) as client:
        card = served.get("/a2a/striker/.well-known/agent-card.json")
        assert card["capabilities"]["pushNotifications"] is True
        task = (await send(client, "go"))[0].task.id
        auth = a2a_pb2.AuthenticationInfo(scheme="Bearer", credentials="sesame")
        given = a2a_pb2.TaskPushNotificationConfig(
            task_id=task, id="mine", url=receiver.url, token="t0k", authentication=auth
        )
        made = await client.create_task_push_notification_config(given)
        assert (made.id, made.task_id, made.url, made.token) == ("mine", task, receiver.url, "t0k")
        assert made.authentication.credentials == "", "the receiver's secret is not given back"
        second = await client.create_task_push_notification_config(
            a2a_pb2.TaskPushNotificationConfig(task_id=task, url=receiver.url)
        )
        got = await client.get_task_push_notification_config(
            a2a_pb2.GetTaskPushNotificationConfigRequest(task_id=task, id="mine")
        )
        assert got == made
        listing = a2a_pb2.ListTaskPushNotificationConfigsRequest(task_id=task)
        listed = await client.list_task_push_notification_configs(listing)
        assert {one.id for one in listed.configs} == {"mine", second.id}
        await client.delete_task_push_notification_config(
            a2a_pb2.DeleteTaskPushNotificationConfigRequest(task_id=task, id=second.id)
        )
        with pytest.raises(a2a_errors.A2AError):
            await client.get_task_push_notification_config(
                a2a_pb2.GetTaskPushNotificationConfigRequest(task_id=task, id=second.id)
            )
        wait(lambda: receiver.states[:2] == ["WORKING", "INPUT_REQUIRED"])
        headers = receiver.headers[0]
        assert (headers["x-a2a-notification-token"], headers["authorization"]) == ("t0k", "Bearer sesame")
        assert headers["content-type"] == "application/a2a+json"
        assert last(await send(client, "yes", task_id=task)) == "COMPLETED"
        wait(lambda: receiver.states[-1] == "COMPLETED")
        assert [one for one in receiver.states if one != "WORKING"] == ["INPUT_REQUIRED", "artifact", "COMPLETED"]
        wait(lambda: not _configs(served, "striker", task))


def _configs(served: Any, agent: str, task: str) -> list[Any]:
    return served.get(f"/a2a/{agent}/tasks/{task}/pushNotificationConfigs")["configs"]


def test_a_receiver_that_fails_gets_all_in_order(serve: Any, receiver: Receiver, wait: Any) -> None:
    served = serve(ScriptedModel(echo))
    receiver.answers = [500, 302, 503, 200, 404, 200, 429]
    task = start(served, "clerk", "hello", **push(receiver))
    wait(lambda: not _configs(served, "clerk", task["id"]))
    assert receiver.states == ["WORKING", "artifact", "COMPLETED"]
    assert receiver.told[1]["artifactUpdate"]["artifact"]["parts"] == [{"text": "You said: hello"}]
    assert len(receiver.tries) == 8, "a redirect is not followed"
    numbers = [int(one["a2a-notification-id"].rpartition("/")[2]) for one in receiver.headers]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 3


def test_a_receiver_that_is_gone_is_left_and_the_log_says_so(serve: Any, receiver: Receiver, wait: Any) -> None:
    served = serve(ScriptedModel(by_step([Answer(text="slow " * 200, pace=0.02, piece=5)])))
    receiver.answers = [410]
    task = start(served, "clerk", "go", **push(receiver, id="mine"))
    session = task["contextId"]
    wait(lambda: not _configs(served, "clerk", task["id"]))
    wait(lambda: [one for one in served.history(session) if one["event"].get("name") == "a2a.push_failed"])
    (failed,) = [one["event"] for one in served.history(session) if one["event"]["type"] == "emitted"]
    assert (failed["data"]["task"], failed["data"]["config"], failed["data"]["why"]) == (task["id"], "mine", "410")
    assert len(receiver.tries) == 1


def test_it_gives_up_in_the_end(serve: Any, receiver: Receiver, wait: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("roost.doors.a2a.pusher.GIVE_UP_SECONDS", 0.3)
    served = serve(ScriptedModel(echo))
    receiver.answers = [500] * 1000
    task = start(served, "clerk", "go", **push(receiver))
    wait(lambda: any(one["event"].get("name") == "a2a.push_failed" for one in served.history(task["contextId"])))
    wait(lambda: not _configs(served, "clerk", task["id"]))
    assert receiver.told == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/hook",
        "http://localhost/hook",
        "http://[::1]/hook",
        "http://169.254.169.254/latest",
        "http://10.0.0.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://[::ffff:127.0.0.1]/",
        "file:///etc/passwd",
        "ftp://example.com/",
        "http://user:pw@example.com/",
        "nonsense",
        "",
        "http://no-such-host.invalid/",
    ],
)
def test_no_address_of_the_own_network(serve: Any, receiver: Receiver, url: str) -> None:
    served = serve(ScriptedModel(echo))
    bad = {"configuration": {"taskPushNotificationConfig": {"url": url}, "returnImmediately": True}}
    message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]}
    assert served.post("/a2a/clerk/message:send", {"message": message, **bad}).status == 400
    assert served.get("/sessions")["sessions"] == [], "refused before the message is accepted"
    task = tell(served, "m", {"text": "hi"}, agent="clerk").json["task"]["id"]
    assert rpc(served, "CreateTaskPushNotificationConfig", {"taskId": task, "url": url})["error"]


def test_malformed_configs_are_refused(serve: Any, receiver: Receiver, wait: Any) -> None:
    served = serve(agents=[Agent("striker", model=ScriptedModel(asking), tools=[strike])])
    task = tell(served, "m", {"text": "go"}).json["task"]["id"]
    good = {"taskId": task, "url": receiver.url}
    for bad in (
        {"id": "x" * 65},
        {"id": "a/b"},
        {"id": 7},
        {"token": "line\nbreak"},
        {"token": "x" * 2001},
        {"authentication": {"scheme": "Bearer", "credentials": "a\r\nX-Evil: 1"}},
        {"authentication": "Bearer x"},
        {"url": 7},
        {"url": receiver.url + "x" * 4000},
        {"taskId": "none.1"},
        {"taskId": ""},
    ):
        told = rpc(served, "CreateTaskPushNotificationConfig", {**good, **bad}, agent="striker")
        assert told["error"]["code"] in (-32602, -32001), bad
    for number in range(10):
        assert rpc(served, "CreateTaskPushNotificationConfig", {**good, "id": f"c{number}"}, agent="striker")["result"]
    again = rpc(served, "CreateTaskPushNotificationConfig", {**good, "id": "c3"}, agent="striker")
    assert again["result"]["id"] == "c3"
    more = rpc(served, "CreateTaskPushNotificationConfig", {**good, "id": "c10"}, agent="striker")
    assert more["error"]["data"][0]["reason"] == "TOO_MANY_CONFIGS"
    wait(lambda: receiver.states.count("INPUT_REQUIRED") >= 10)
    assert served.request("DELETE", f"/sessions/{task.partition('.')[0]}").status in (200, 204)


def test_a_slow_receiver_holds_up_nobody_else(serve: Any, receiver: Receiver, wait: Any) -> None:
    held = threading.Event()
    receiver.before = lambda: held.wait(60) and None
    other = Receiver()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ROOST_AGENTS_ALLOW", f"{receiver.place},{other.place}")
            served = serve(ScriptedModel(echo))
            for number in range(40):
                start(served, "clerk", f"slow {number}", **push(receiver))
            task = start(served, "clerk", "quick", **push(other))
            wait(lambda: not _configs(served, "clerk", task["id"]))
            assert other.states == ["WORKING", "artifact", "COMPLETED"]
            wait(lambda: len(receiver.tries) == 16)
    finally:
        held.set()
        other.close()


def test_a_kill_between_delivery_and_note_repeats_and_loses_nothing(receiver: Receiver, node: Any) -> None:
    """The receiver kills the node as it takes the first update, and again as it takes the last one."""
    kills = iter((1, 3))
    at = next(kills)

    def kill() -> None:
        nonlocal at
        if len(receiver.tries) == at and node.process.returncode is None:
            node.kill()
            at = next(kills, 0)

    receiver.before = kill
    message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "mark it"}]}
    body = {"message": message, "configuration": {**push(receiver)["configuration"], "returnImmediately": True}}
    url = f"http://127.0.0.1:{node.port}/a2a/marker/message:send"
    task = httpx.post(url, json=body, headers={"authorization": f"Bearer {node.token}"}).json()["task"]
    for count in (1, 3):
        _until(lambda count=count: len(receiver.tries) >= count and node.process.returncode is not None)
        node.up()
    _until(lambda: receiver.states[-1] == "COMPLETED")
    _until(lambda: not node.get(f"/a2a/marker/tasks/{task['id']}/pushNotificationConfigs")["configs"])
    names = [one["a2a-notification-id"] for one in receiver.headers]
    first = [one for at, one in enumerate(names) if one not in names[:at]]
    assert len(first) == 3, "each update has one number, however often it comes"
    order = [first.index(one) for one in names]
    assert order == sorted(order)
    assert len(names) > 3
    by_name = dict(zip(names, receiver.told, strict=True))
    assert by_name[first[1]]["artifactUpdate"]["artifact"]["parts"] == [{"text": f"I mark.\n\n{LONG}"}]
    # The first kill may fall between the intent of the call and its effect: then the model is told that it is unknown.
    assert not node.marks.exists() or node.marks.read_text() in ("", "x")


def _until(check: Callable[[], Any]) -> None:
    end = time.monotonic() + 120
    while not check():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_another_node_goes_on_when_the_one_that_pushes_stops(
    serve: Any, database: str, tmp_path: Any, receiver: Receiver, wait: Any
) -> None:
    """The config comes through either node, and the task ends after the first node has gone."""
    agents = [Agent("striker", model=ScriptedModel(asking), tools=[strike])]
    first, second = (serve(agents=agents, home=tmp_path / name, store=database) for name in ("one", "two"))
    tasks = [start(node, "striker", f"go {at}", **push(receiver)) for at, node in enumerate((first, second))]
    wait(lambda: receiver.states.count("INPUT_REQUIRED") == 2)
    first.stop()
    for task in tasks:
        assert tell(second, f"yes-{task['id']}", {"text": "yes"}, taskId=task["id"]).status == 200
    wait(lambda: receiver.states.count("COMPLETED") == 2)
    for task in tasks:
        wait(lambda task=task: not _configs(second, "striker", task["id"]))
        states = [
            one["statusUpdate"]["status"]["state"].removeprefix("TASK_STATE_")
            for one in receiver.told
            if one.get("statusUpdate", {}).get("taskId") == task["id"]
        ]
        once = [state for at, state in enumerate(states) if state not in states[:at]]
        assert once == ["WORKING", "INPUT_REQUIRED", "COMPLETED"]


def test_a_message_that_waits_behind_another_turn_is_told_of_when_it_begins(
    serve: Any, receiver: Receiver, wait: Any
) -> None:
    def model(request: Any) -> Answer:
        slow = request.messages[-1].parts[-1].text == "one"
        return Answer(text="slow " * 100, pace=0.02, piece=5) if slow else Answer(text="quick")

    served = serve(ScriptedModel(model))
    first = start(served, "clerk", "one")
    context = first["contextId"]
    message = {"messageId": "n", "role": "ROLE_USER", "contextId": context, "parts": [{"text": "two"}]}
    body = {"message": message, "configuration": {**push(receiver)["configuration"], "returnImmediately": True}}
    second = served.post("/a2a/clerk/message:send", body).json["task"]
    assert second["status"]["state"] == "TASK_STATE_SUBMITTED"
    wait(lambda: not _configs(served, "clerk", second["id"]))
    assert receiver.states == ["WORKING", "artifact", "COMPLETED"]
    assert receiver.told[1]["artifactUpdate"]["artifact"]["parts"] == [{"text": "quick"}]


def test_a_message_that_is_sent_again_has_one_config(serve: Any, receiver: Receiver, wait: Any) -> None:
    served = serve(agents=[Agent("striker", model=ScriptedModel(asking), tools=[strike])])
    for _ in range(2):
        task = start(served, "striker", "go", **push(receiver))
        rpc(served, "CreateTaskPushNotificationConfig", {"taskId": task["id"], "url": receiver.url}, agent="striker")
    assert len(_configs(served, "striker", task["id"])) == 1
    wait(lambda: "INPUT_REQUIRED" in receiver.states)
    assert tell(served, "yes", {"text": "yes"}, taskId=task["id"]).status == 200
    wait(lambda: not _configs(served, "striker", task["id"]))
    names = [one["a2a-notification-id"] for one in receiver.headers]
    assert len(set(names)) == len(names)


async def test_a_config_of_another_key_can_be_seen_and_replaced_and_is_not_told(tmp_path: Path) -> None:
    store = await open_store(str(tmp_path / "roost.db"))
    try:

        def configs(key: str) -> tuple[PushConfigs, Sealing]:
            environ = {VARIABLE: key * 32}
            sealing = Sealing(store.coordination, tmp_path, own_store=lambda: True, environ=environ)
            return PushConfigs(store.documents, sealing), sealing

        task, (mine, _), (others, other) = TaskId("s", 1), configs("a"), configs("b")
        config = PushConfig("one", str(task), "c", "clerk", "https://a.example", "t0k", "Bearer", "sesame")
        await mine.put(task, config)
        assert await mine.of(task) == [config]
        (seen,) = await others.of(task)
        assert (seen.id, seen.url, seen.token, seen.credentials) == ("one", config.url, "", "")
        (document,) = await store.documents.find(DocumentQuery(kind=KIND))
        with pytest.raises(SealingKeyMissing):
            await read_config(document, other)
        await others.put(task, config)
        assert await others.get(task, "one") == config
    finally:
        await store.close()


def test_secrets_of_a_config_are_sealed_and_old_ones_still_work(serve: Any, receiver: Receiver, wait: Any) -> None:
    """An older version kept them as they are."""
    served = serve(agents=[Agent("striker", model=ScriptedModel(asking), tools=[strike])])
    task = start(served, "striker", "go")
    given = {"taskId": task["id"], "url": receiver.url, "token": "tok-3n"}
    auth = {"scheme": "Bearer", "credentials": "open sesame"}
    made = rpc(served, "CreateTaskPushNotificationConfig", {**given, "id": "new", "authentication": auth}, "striker")
    assert (made["result"]["token"], made["result"]["id"]) == ("tok-3n", "new")
    wait(lambda: "INPUT_REQUIRED" in receiver.states)
    database = served.home / "roost.db"
    with contextlib.closing(sqlite3.connect(database)) as rows:
        ((kept,),) = rows.execute("select body from documents where kind = 'a2a.push'").fetchall()
    assert b"sesame" not in kept
    assert b"tok-3n" not in kept
    before = len(receiver.headers)
    shown = json.loads(kept)
    assert shown.pop("sealed")
    old = json.dumps({**shown, "id": "new", "token": "old-1", "scheme": "Bearer", "credentials": "a word"}).encode()
    with contextlib.closing(sqlite3.connect(database)) as rows:
        rows.execute("update documents set body = ?, revision = revision + 1 where kind = 'a2a.push'", [old])
        rows.commit()
    (listed,) = _configs(served, "striker", task["id"])
    assert listed["token"] == "old-1"
    assert rpc(served, "CreateTaskPushNotificationConfig", {**given, "id": "other"}, "striker")["result"]  # a look
    wait(lambda: any(one.get("authorization") == "Bearer a word" for one in receiver.headers[before:]))
    told = [one["x-a2a-notification-token"] for one in receiver.headers]
    assert set(told) == {"tok-3n", "old-1"}


@pytest.mark.parametrize("status", [410, 200])
def test_a_config_that_is_replaced_under_way_is_told_everything(
    serve: Any, receiver: Receiver, wait: Any, status: int
) -> None:
    other = Receiver()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ROOST_AGENTS_ALLOW", f"{receiver.place},{other.place}")
            served = serve(agents=[Agent("striker", model=ScriptedModel(asking), tools=[strike])])
            receiver.answers, replaced = [status], list[Any]()

            def replace() -> None:
                if not replaced:
                    task = receiver.told or receiver.tries
                    given = {"taskId": task[0]["statusUpdate"]["taskId"], "id": "mine", "url": other.url}
                    replaced.append(rpc(served, "CreateTaskPushNotificationConfig", given, agent="striker"))

            receiver.before = replace
            task = start(served, "striker", "go", **push(receiver, id="mine"))
            wait(lambda: other.states[:2] == ["WORKING", "INPUT_REQUIRED"])
            assert tell(served, "yes", {"text": "yes"}, taskId=task["id"]).status == 200
            wait(lambda: "COMPLETED" in other.states)
            wait(lambda: not _configs(served, "striker", task["id"]))
    finally:
        other.close()
