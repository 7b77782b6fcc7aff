"""AG-UI over bare HTTP: what clients send, wrong or twice, and how runs end."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from tests.doors.support import again_asking, cut_off, log
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


def heard(request):
    """Say what the message says, which media came, and what the system text ends with."""
    parts = request.messages[-1].parts
    said = [part.media_type if hasattr(part, "media_type") else part.text for part in parts]
    return Answer(text="|".join([*said, request.instruction[-90:]]))


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
        (said(messages=[], resume=[{"interruptId": "t/1/x", "status": "resolved", "payload": True}]), 422),
        (said(messages=[], resume=[{"interruptId": "t/1/x@5", "status": "resolved", "payload": True}]), 404),
        (said(messages=[], resume=[{"interruptId": "u/1/x@5", "status": "resolved", "payload": True}]), 422),
        (said(messages=[], resume=[{"interruptId": "t/1/x@5", "status": "cancelled"}] * 2), 422),
        (said(resume=[{"interruptId": "t/1/x@5", "status": "resolved", "payload": True}]), 422),
        (said(messages=[], resume=[{"interruptId": "t/1/x@5", "status": "perhaps"}]), 422),
        (
            (
                said(
                    messages=[], resume=[{"interruptId": "t/1/x@5", "status": "resolved", "payload": {"approved": 1}}]
                ),
                422,
            ),
            422,
        ),
        (said(messages=[{"role": "tool", "toolCallId": "x", "content": "x"}, {"role": "user", "content": "y"}]), 422),
        (said(messages=[{"role": "tool", "toolCallId": "u/1/x", "content": "x"}]), 422),
        (said(context=[{"description": "much", "value": "x" * 70_000}]), 413),
        (said(state=["x" * 70_000]), 413),
    ],
)
def test_wrong_input_is_refused_and_nothing_is_made(serve, body, status):
    served = serve()
    got, problem = run(served, body)
    assert (got, set(problem)) == (status, {"message", "code"}), problem
    assert served.get("/sessions")["sessions"] == []


def test_what_the_application_tells(serve):
    served = serve(ScriptedModel(heard, profile=Profile(images=True)))
    image = {"type": "image", "source": {"type": "data", "value": PIXEL, "mimeType": "image/png"}}
    rules = {"id": "s", "role": "system", "content": "Be brief."}
    message = {"id": "m", "role": "user", "content": [{"type": "text", "text": "look"}, image]}
    body = said(
        threadId="a thread / with any name",
        messages=[rules, message],
        context=[{"description": "Page", "value": "the cart"}],
        state={"items": 3},
        forwardedProps={"anything": 1},
    )
    events = run(served, body)
    text = "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT")
    told, *_, media, instructions = text.split("|")
    assert told.startswith("[Told by the application]\n\nPage:\nthe cart")
    assert '{"items":3}' in told
    assert media == "image/png"
    assert instructions.endswith("Be brief.")
    assert "the cart" not in instructions, "the application's surroundings have not the rank of instructions"
    again = run(served, {**body, "state": {"items": 4}})
    assert "".join(event["delta"] for event in again if event["type"] == "TEXT_MESSAGE_CONTENT") == text
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


def resumed(served, interrupt, run_id, agent="striker", thread="t"):
    entry = {"interruptId": interrupt, "status": "resolved", "payload": {"approved": True}}
    return run(served, {"threadId": thread, "runId": run_id, "messages": [], "resume": [entry]}, agent)


def test_a_repeated_approval_does_not_answer_a_newer_question(serve, wait):
    """A pause cuts the call off, so it is asked about again."""
    striking = serve(agents=[again_asking()])
    (first,) = run(striking, said(), "striker")[-1]["outcome"]["interrupts"]
    thread = threading.Thread(target=lambda: resumed(striking, first["id"], "r2"))
    thread.start()
    cut_off(striking, "t", wait)
    thread.join()
    (second,) = resumed(striking, first["id"], "r2")[-1]["outcome"]["interrupts"]
    assert (second["toolCallId"], second["id"] != first["id"]) == (first["toolCallId"], True)
    (same,) = resumed(striking, first["id"], "r3")[-1]["outcome"]["interrupts"]
    assert same["id"] == second["id"], "the id of the first question is no answer to the second"
    assert resumed(striking, second["id"], "r2")[0] == 409
    kinds = [one["event"]["type"] for one in striking.history("t")]
    assert kinds.count("approval.resolved") == 1
    assert resumed(striking, second["id"], "r4")[-1]["outcome"] == {"type": "success"}


def test_a_thread_is_of_its_agent_alone(serve):
    served = serve(agents=[again_asking(), Agent("other", model=ScriptedModel(by_step(["no"])))])
    (interrupt,) = run(served, said(), "striker")[-1]["outcome"]["interrupts"]
    assert resumed(served, interrupt["id"], "r2", "other")[0] == 422
    assert len(served.get("/sessions/t/approvals")["approvals"]) == 1


def by_word(answers):
    """A model that answers by the newest text."""
    return ScriptedModel(lambda request: answers[request.messages[-1].parts[-1].text])


WEATHER = {"name": "weather", "description": "Ask for the weather.", "parameters": {"type": "object"}}


def test_stale_results_beside_a_message_begin_a_turn_that_is_read_whole(serve):
    asks = Answer(calls=(Call("weather", {}),))
    served = serve(by_word({"hi": asks, "rain": Answer(text="It rains."), "and now?": Answer(text="Fine.")}))
    (pending,) = run(served, said(tools=[WEATHER]))[-1]["outcome"]["pendingToolCallIds"]
    result = {"id": "x", "role": "tool", "toolCallId": pending, "content": "rain"}
    assert run(served, said(runId="r2", messages=[result]))[-1]["outcome"] == {"type": "success"}
    body = said(runId="r3", messages=[result, {"id": "y", "role": "user", "content": "and now?"}])
    for _ in range(2):
        events = run(served, body)
        assert "".join(one.get("delta", "") for one in events if one["type"] == "TEXT_MESSAGE_CONTENT") == "Fine."
        assert events[-1]["outcome"] == {"type": "success"}


def test_a_message_beside_results_is_heard_in_their_turn(serve):
    asks = Answer(text="I ask.", calls=(Call("weather", {}),))
    served = serve(by_word({"hi": asks, "well?": Answer(text="It rains.")}))
    (pending,) = run(served, said(tools=[WEATHER]))[-1]["outcome"]["pendingToolCallIds"]
    result = {"id": "x", "role": "tool", "toolCallId": pending, "content": "rain"}
    body = said(runId="r2", messages=[result, {"id": "y", "role": "user", "content": "well?"}], tools=[WEATHER])
    for _ in range(2):
        events = run(served, body)
        assert "".join(one.get("delta", "") for one in events if one["type"] == "TEXT_MESSAGE_CONTENT") == "It rains."
        assert "TOOL_CALL_START" not in kinds(events), "that call is of the run before"


def test_a_queued_run_tells_nothing_of_the_turn_before_it(serve, wait):
    slow = Answer(text="slow " * 60, pace=0.05, piece=5, calls=(Call("look", {"what": "x"}),))
    served = serve(by_word({"hi": slow, "seen x": Answer(text="One."), "next": Answer(text="Two.")}))
    told: list[Any] = []
    first = threading.Thread(target=lambda: told.append(run(served, said())))
    first.start()
    wait(lambda: served.get("/sessions")["sessions"] and "turn.started" in log(served, "t"))
    events = run(served, said("next", runId="r2"))
    first.join()
    assert "TOOL_CALL_START" in kinds(told[0])
    assert "TOOL_CALL_START" not in kinds(events)
    assert "".join(one.get("delta", "") for one in events if one["type"] == "TEXT_MESSAGE_CONTENT") == "Two."
