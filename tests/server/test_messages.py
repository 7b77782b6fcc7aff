"""Messages: accepted once, answered once, and followed to the end of their turn whatever happens to the client."""

from __future__ import annotations

import threading

import pytest

from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

SLOW = Answer(text="slow answer " * 20, pace=0.02, piece=10)


def inputs(served, session):
    """(numbers of the inputs taken in, outcomes of turns)"""
    events = [entry["event"] for entry in served.history(session)]
    taken = [event["input"] for event in events if event["type"] == "input.received"]
    return taken, [event["outcome"] for event in events if event["type"] == "turn.completed"]


def test_a_turn_as_a_stream_begins_at_acceptance_and_ends_with_the_turn(serve):
    look = Answer(text="I look.", calls=(Call("look", {"what": "it"}),), delay=0.3)  # the reader is there before it
    served = serve(ScriptedModel(by_step([look, "done"]), deltas=True))
    session = served.session()
    for turn in (1, 2):
        head = served.get(f"/sessions/{session}")["info"]["head"]
        events = served.say(session, f"hello {turn}")
        ids = [event.id for event in events if event.id is not None]
        assert ids == list(range(head + 1, ids[-1] + 1))
        assert events[-1].kind == "turn.completed"
        assert events[-1].data["turn"] == turn
        assert [e.kind for e in events if e.kind.startswith("tool")] == ["tool.started", "tool.completed"]
        said = [e.data for e in events if e.kind == "delta" and e.data["kind"] == "text"]
        assert "".join(delta["text"] for delta in said) == "I look.done"


def test_acceptance_alone(serve, wait):
    served = serve()
    session = served.session()
    answer = served.post(f"/sessions/{session}/messages", {"text": "hello"})
    assert (answer.status, answer.json["duplicate"], answer.json["head"]) == (202, False, 1)
    with served.events(session, answer.json["head"]) as stream:
        taken = next(event for event in stream.until("turn.completed") if event.kind == "input.received")
    assert taken.data["input"] == answer.json["input"]


def test_a_key_is_answered_once_however_often_and_at_once_it_is_sent(serve):
    served = serve(ScriptedModel(lambda _: SLOW))
    session = served.session()
    streams: list[list] = []
    threads = [
        threading.Thread(target=lambda: streams.append(served.say(session, "hello", Idempotency_Key="k")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(streams) == 8
    for events in streams:
        assert events[-1].kind == "turn.completed"
        assert [event.kind for event in events].count("input.received") == 1
    assert inputs(served, session) == ([1], ["answered"])


def test_a_key_that_was_answered_long_ago_replays_its_own_turn(serve):
    served = serve()
    session = served.session()
    first = served.say(session, "first", Idempotency_Key="k")
    for number in range(130):
        served.say(session, f"other {number}")
    again = served.say(session, "first", Idempotency_Key="k")
    assert again == [event for event in first if event.kind not in ("session.state", "delta")]
    repeated = served.post(f"/sessions/{session}/messages", {"text": "first"}, Idempotency_Key="k").json
    assert (repeated["input"], repeated["duplicate"]) == (1, True)


def test_a_key_that_was_answered_replays_its_turn_though_the_session_is_stopped(serve):
    served = serve()
    session = served.session()
    first = served.say(session, "first", Idempotency_Key="k")
    served.post(f"/sessions/{session}/stop")
    again = served.say(session, "first", Idempotency_Key="k")
    assert again == [event for event in first if event.kind not in ("session.state", "delta")]


def test_a_key_with_another_body_is_refused(serve):
    served = serve()
    session = served.session()
    served.say(session, "one", Idempotency_Key="k")
    for accept in ("*/*", "text/event-stream"):
        answer = served.post(f"/sessions/{session}/messages", {"text": "two"}, Idempotency_Key="k", Accept=accept)
        assert (answer.status, answer.code) == (409, "idempotency_mismatch")


def test_a_message_that_steers_is_followed_to_the_end_of_the_turn_it_was_put_into(serve):
    served = serve(ScriptedModel([SLOW, "both"]))
    session = served.session()
    served.post(f"/sessions/{session}/messages", {"text": "first"})
    with served.events(session) as stream:
        stream.until("delta")
    steer = {"text": "also this", "mode": "steer"}
    path = f"/sessions/{session}/messages"
    with served.stream("POST", path, steer, Idempotency_Key="s") as stream:
        events = list(stream)
    assert (events[-1].kind, events[-1].data["turn"]) == ("turn.completed", 1)
    assert [event.data["mode"] for event in events if event.kind == "input.received"] == ["steer"]
    with served.stream("POST", path, steer, Idempotency_Key="s") as stream:
        replay = list(stream)
    assert [e.data["input"] for e in replay if e.kind == "input.received"] == [1, 2]
    assert replay[-1] == events[-1]


def test_a_second_message_is_followed_to_its_own_turn(serve):
    served = serve(ScriptedModel([SLOW, "second"]))
    session = served.session()
    served.post(f"/sessions/{session}/messages", {"text": "first"})
    events = served.say(session, "second")
    assert [e.data["turn"] for e in events if e.kind == "turn.completed"] == [1, 2]
    assert events[-1].data["turn"] == 2


def test_a_turn_goes_on_without_its_client(serve, wait):
    served = serve(ScriptedModel(lambda _: SLOW))
    session = served.session()
    stream = served.stream("POST", f"/sessions/{session}/messages", {"text": "hello"})
    stream.until("delta")
    stream.response.close()
    stream.connection.close()
    wait(lambda: inputs(served, session)[1])
    assert inputs(served, session) == ([1], ["answered"])


def test_only_a_cancel_ends_the_turn(serve):
    served = serve(ScriptedModel(lambda _: SLOW))
    session = served.session()
    with served.stream("POST", f"/sessions/{session}/messages", {"text": "hello"}) as stream:
        stream.until("delta")
        assert served.post(f"/sessions/{session}/cancel").status == 200
        events = list(stream)
    assert (events[-1].kind, events[-1].data["outcome"]) == ("turn.completed", "cancelled")


def test_a_session_that_stops_ends_the_wait_for_a_later_turn(serve):
    served = serve(ScriptedModel(lambda _: SLOW))
    session = served.session()
    served.post(f"/sessions/{session}/messages", {"text": "first"})
    with served.stream("POST", f"/sessions/{session}/messages", {"text": "second"}) as stream:
        stream.until("delta")
        served.post(f"/sessions/{session}/stop")
        events = list(stream)
    assert [event.kind for event in events[-2:]] == ["session.state", "problem"]
    assert (events[-1].data["code"], events[-1].data["status"], events[-1].id) == ("session_stopped", 409, None)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_session_that_is_deleted_ends_its_streams(serve, method):
    served = serve(ScriptedModel(lambda _: SLOW))
    session = served.session()
    if method == "POST":
        opened = served.stream("POST", f"/sessions/{session}/messages", {"text": "hello"})
    else:
        served.post(f"/sessions/{session}/messages", {"text": "hello"})
        opened = served.events(session)
    with opened as stream:
        stream.until("delta")
        assert served.request("DELETE", f"/sessions/{session}").status == 204
        events = list(stream)
    assert (events[-1].kind, events[-1].data["code"]) == ("problem", "session_deleted")


@pytest.mark.long
def test_a_full_inbox_refuses_and_says_when_to_try_again(serve, caplog):
    served = serve(durability="relaxed")
    session = served.session()
    served.post(f"/sessions/{session}/pause")
    connection = served.connect()
    for _ in range(1001):
        connection.request(
            "POST",
            f"/sessions/{session}/messages",
            b'{"text":"x"}',
            served.headers(Content_Type="application/json"),
        )
        response = connection.getresponse()
        body = response.read()
        if response.status != 202:
            break
    connection.close()
    assert (response.status, response.headers["retry-after"]) == (503, "1")
    assert b'"code":"inbox_full"' in body
    assert "inputs waiting" not in caplog.text  # a client that comes too often does not fill the operator's log


def test_names_and_texts_that_say_nothing(shared):
    session = shared.session()
    for body in ({"name": "two\n"}, {"name": ""}, {"name": "a b"}):
        assert shared.post(f"/sessions/{session}/emit", body).code == "invalid"
    blank = shared.request("PUT", f"/sessions/{session}/timers/t", {"text": " \n", "in": 0})
    assert blank.code == "empty_message"
