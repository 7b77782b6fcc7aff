"""AG-UI over bare HTTP: what clients send, wrong or twice, and how runs end."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from tests.server.conftest import look

from roost.agent.definition import Agent
from roost.log.content import ErrorData
from roost.models.profile import Profile
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def said(text: Any = "hi", **more: Any) -> dict[str, Any]:
    return {"threadId": "t", "runId": "r", "messages": [{"id": "m", "role": "user", "content": text}], **more}


def run(served: Any, body: Any, agent: str = "clerk") -> Any:
    """The events of a run, or its error before it began."""
    answer = served.post(f"/ag-ui/{agent}", body)
    if answer.status != 200:
        return answer.status, answer.json
    return [json.loads(line[6:]) for line in answer.body.decode().splitlines() if line.startswith("data: ")]


def kinds(events):
    return [event["type"] for event in events]


def system(request):
    """Say what the system text ends with, and which media came."""
    last = request.messages[-1]
    media = [part.media_type for part in last.parts if hasattr(part, "media_type")]
    return Answer(text=" ".join([request.instruction[-90:], *media]))


def test_agents_are_listed_and_a_token_is_needed(serve):
    served = serve()
    assert served.get("/ag-ui")["agents"][0]["path"] == "/ag-ui/clerk"
    for path in ("/ag-ui", "/ag-ui/clerk"):
        refused = served.request("GET", path, Authorization="Bearer wrong")
        assert (refused.status, refused.json["code"]) == (401, "unauthorized")
    assert served.request("GET", "/ag-ui/clerk").status == 405
    assert served.request("GET", "/ag-ui/clerk/more").status == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        (said(threadId=""), 422),
        (said(runId="r" * 300), 422),
        (said(messages=[]), 422),
        (said(messages=[{"id": "a", "role": "assistant", "content": "x"}]), 422),
        (said(messages=[{"role": "wizard", "content": "x"}]), 422),
        (said(messages=["text"]), 422),
        (said(messages=[{"role": "user", "content": {"no": "text"}}]), 422),
        (said(messages=[{"role": "user", "content": [{"type": "image"}]}]), 422),
        (
            said(messages=[{"role": "user", "content": [{"type": "image", "source": {"type": "data", "value": "?"}}]}]),
            422,
        ),
        (said(messages=[{"role": "tool", "content": "x"}]), 422),
        (said(messages=[{"role": "tool", "toolCallId": "made/up", "content": "x"}]), 422),
        (said(messages=[{"role": "tool", "toolCallId": "t/1/made-up", "content": "x"}]), 422),
        (said(tools=[{"name": "look"}]), 422),
        (said(tools=[{"name": "a b"}]), 422),
        (said(tools=[{"name": "a"}, {"name": "a"}]), 422),
        (said(resume=[{"interruptId": "x", "status": "resolved"}]), 422),
        (said(resume=[{"interruptId": "t/1/x", "status": "resolved", "payload": True}]), 404),
        (said(resume=[{"interruptId": "t/1/x", "status": "perhaps"}]), 422),
        (said(resume=[{"interruptId": "t/1/x", "status": "resolved", "payload": {"approved": "yes"}}]), 422),
    ],
)
def test_wrong_input_is_refused_and_nothing_is_made(serve, body, status):
    served = serve()
    got, problem = run(served, body)
    assert (got, set(problem)) == (status, {"message", "code"}), problem
    assert served.get("/sessions")["sessions"] == []


def test_what_the_application_tells(serve):
    served = serve(ScriptedModel(system, profile=Profile(images=True)))
    image = {"type": "image", "source": {"type": "data", "value": PIXEL, "mimeType": "image/png"}}
    body = said(
        [{"type": "text", "text": "look"}, image],
        threadId="a thread / with any name",
        context=[{"description": "Page", "value": "the cart"}],
        state={"items": 3},
        forwardedProps={"anything": 1},
    )
    events = run(served, body)
    text = "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT")
    assert "Page:\nthe cart" in text
    assert '{"items":3}' in text
    assert text.endswith("image/png")
    (info,) = served.get("/sessions")["sessions"]
    assert info["id"].startswith("thread_")


def test_a_run_that_comes_twice_at_once_is_one_turn(serve):
    served = serve(ScriptedModel(by_step([Answer(text="once " * 20, pace=0.01, piece=5)])))
    told: list[Any] = []
    both = [threading.Thread(target=lambda: told.append(run(served, said()))) for _ in range(4)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert {"".join(e.get("delta", "") for e in events) for events in told} == {"once " * 20}
    assert [e["event"]["type"] for e in served.history("t")].count("turn.completed") == 1


def test_how_a_run_ends(serve):
    failing = Agent("failing", model=ScriptedModel(by_step([Answer(error=ErrorData("auth", "no key"))])), tools=[look])
    served = serve(agents=[failing])
    events = run(served, said(), "failing")
    assert kinds(events) == ["RUN_STARTED", "RUN_ERROR"]
    assert (events[-1]["code"], "no key" in events[-1]["message"]) == ("auth", True)


def test_a_cancelled_run_says_so(serve):
    served = serve(ScriptedModel(by_step([Answer(text="slow " * 100, pace=0.05, piece=5)])))
    with served.stream("POST", "/ag-ui/clerk", said()) as stream:
        lines = iter(stream.response.readline, b"")
        for line in lines:
            if b"TEXT_MESSAGE_CONTENT" in line:
                assert served.post("/sessions/t/cancel").status in (200, 202)
                break
        rest = [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]
    assert rest[-1]["outcome"] == {"type": "cancelled"}
    assert kinds(rest)[-2:] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]


def test_a_deleted_thread_ends_its_run(serve):
    served = serve(
        ScriptedModel(by_step([Answer(calls=(Call("look", {"what": "x"}),)), Answer(text="s " * 200, pace=0.05)]))
    )
    with served.stream("POST", "/ag-ui/clerk", said()) as stream:
        lines = iter(stream.response.readline, b"")
        next(line for line in lines if b"TOOL_CALL_RESULT" in line)
        assert served.request("DELETE", "/sessions/t").status in (200, 204)
        rest = [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]
    assert (rest[-1]["type"], rest[-1]["code"]) in (("RUN_ERROR", "session_deleted"), ("RUN_ERROR", "session_stopped"))
