"""Signed webhooks, in and out, against a program on loopback."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent
from roost.doors.bots.webhook import key_of, signature
from roost.testing.scripted import ScriptedModel
from tests.bots.conftest import echo

SECRET = "whsec_plJ3nmyCDGBKInavdOK15jsl"


class Receiver:
    """A program that gets messages. answers: the statuses to give, then 200."""

    def __init__(self) -> None:
        self.tried: list[tuple[str, Any]] = []
        self.took: list[Any] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                id, stamp = self.headers["webhook-id"], self.headers["webhook-timestamp"]
                assert self.headers["webhook-signature"] == signature(key_of(SECRET), id, stamp, body)
                assert abs(time.time() - int(stamp)) < 60
                receiver.tried.append((id, json.loads(body)))
                status = receiver.answers.pop(0) if receiver.answers else 200
                if status == 200:
                    receiver.took.append(json.loads(body))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/in"
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()

    @property
    def texts(self) -> list[str]:
        return [one["text"] for one in self.took]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


@pytest.fixture
def hook(serve: Any, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    home = tmp_path / "home"
    home.mkdir()
    (home / "policy.toml").write_text('[secrets.hook]\nfrom = "env:HOOK_SECRET"\n')
    (home / "bots.toml").write_text(
        f'[bots.mine]\nplatform = "webhook"\nagent = "clerk"\ntoken = "{{{{secret:hook}}}}"\nurl = "{receiver.url}"\n'
        'allow = ["*"]\n'
    )
    return serve(agents=[Agent("clerk", model=ScriptedModel(echo))], home=home)


def post(served: Any, id: str, *, stamp: str | None = None, signed: str | None = None, **more: Any) -> int:
    body = {"chat": "c1", "sender": {"id": "ada"}, "at": 1, **more}
    raw, stamp = json.dumps(body).encode(), stamp or str(int(time.time()))
    given = {
        "webhook-id": id,
        "webhook-timestamp": stamp,
        "webhook-signature": signed or f"v1,AAAA {signature(key_of(SECRET), id, stamp, raw)}",
    }
    connection = served.connect()
    connection.request("POST", "/hooks/mine", raw, {"content-type": "application/json", **given})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


def test_the_signature_is_that_of_the_official_library() -> None:
    """What `standardwebhooks` 1.1.0 makes of the example of the specification."""
    body = b'{"event_type":"ping"}'
    wanted = "v1,iLrWodj6H2QrNRSvdASdRo1DzSXYKqa36og0kGXkcTs="
    assert signature(key_of(SECRET), "msg_loFOjxBNrRLzqYUf", "1731705121", body) == wanted


def test_a_conversation(hook: Any, receiver: Receiver, wait: Any) -> None:
    assert post(hook, "m1", text="Hello") == 200
    wait(lambda: receiver.texts == ["You said: Hello"])
    assert post(hook, "m1", text="Hello") == 200, "it comes again, and is taken once"
    receiver.answers = [500, 429]
    assert post(hook, "m2", text="Again", at=2) == 200
    wait(lambda: receiver.texts[1:] == ["You said: Again"])
    ids = [id for id, _ in receiver.tried]
    assert len(ids) == 4
    assert len(set(ids)) == 2, "each try has the id of its message"
    assert post(hook, "m3", text="/new", at=3) == 200
    wait(lambda: len(receiver.texts) == 3)
    assert post(hook, "m2", text="Again", at=2) == 200, "it went to the session before"
    receiver.answers = [404]
    assert post(hook, "m4", text="Refused", at=4) == 200
    wait(lambda: hook.get("/bots/mine/letters")["letters"])
    assert hook.get("/bots/mine/letters")["letters"][0]["text"] == "You said: Refused"
    assert len(receiver.texts) == 3


def test_what_is_not_from_the_program_is_refused(hook: Any, receiver: Receiver, wait: Any) -> None:
    wait(lambda: hook.get("/bots")["bots"][0]["title"])
    assert post(hook, "m1", text="x", stamp=str(int(time.time()) - 3600)) == 403
    assert post(hook, "m1", text="x", stamp="-1") == 403
    assert post(hook, "m1", text="x", signed="v1,AAAA") == 403
    assert post(hook, "", text="x") == 403
    assert post(hook, "m1", at="soon") == 403
    assert hook.get("/sessions")["sessions"] == []


def test_names_of_any_length_keep_messages_apart(hook: Any, receiver: Receiver, wait: Any) -> None:
    for number, id in enumerate(("m1", "m2"), 1):
        assert post(hook, id, text=id, at=number, chat="c" * 300) == 200
    wait(lambda: receiver.texts == ["You said: m1", "You said: m2"])


def test_events_of_sessions_are_sent_once_over_restarts(
    serve: Any, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: Any
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    home = tmp_path / "home"
    home.mkdir()
    (home / "policy.toml").write_text('[secrets.hook]\nfrom = "env:HOOK_SECRET"\n')

    def start() -> Any:
        return serve(agents=[Agent(name, model=ScriptedModel(echo)) for name in ("clerk", "other")], home=home)

    served = start()
    served.post("/sessions", {"id": "old", "agent": "clerk"})
    served.post("/sessions/old/messages", {"text": "before"})
    wait(lambda: "turn.completed" in json.dumps(served.get("/sessions/old/events")))
    (home / "bots.toml").write_text(
        f'[bots.told]\nplatform = "events"\ntoken = "{{{{secret:hook}}}}"\nurl = "{receiver.url}"\n'
        'events = ["turn.completed", "input.received"]\nonly_agent = "clerk"\n'
    )
    wait(lambda: served.get("/bots")["bots"] and served.get("/bots")["bots"][0]["title"])
    receiver.answers = [500, 404]
    served.post("/sessions", {"id": "new", "agent": "clerk"})
    served.post("/sessions", {"id": "others", "agent": "other"})
    for session in ("others", "new", "old"):
        served.post(f"/sessions/{session}/messages", {"text": session})
    wait(lambda: len(receiver.took) == 4)
    served.stop()
    served = start()
    served.post("/sessions/new/messages", {"text": "again"})
    wait(lambda: len(receiver.took) == 6)
    told = [(one["data"]["session"], one["type"], one["data"]["seq"]) for one in receiver.took]
    assert len(set(told)) == 6, "nothing is sent again"
    of_new = [one for one in told if one[0] == "new"]
    assert [kind for _, kind, _ in of_new] == ["input.received", "turn.completed"] * 2
    assert [seq for *_, seq in of_new] == sorted(seq for *_, seq in of_new)
    assert receiver.took[0]["data"]["event"]["type"] == receiver.took[0]["type"]
    assert "before" not in json.dumps(receiver.took)
