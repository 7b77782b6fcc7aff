"""The door on two nodes of one PostgreSQL store: no node remembers what another one was told."""

from __future__ import annotations

import threading

from tests.doors.test_openai_agent_mode import SLOW, echo, say, session_of, sessions, text, turns

from roost.agent.definition import Agent
from roost.testing.scripted import ScriptedModel


def at_once(clients, *messages):
    """Let all clients send the same request at once."""
    answers = []
    threads = [threading.Thread(target=lambda c=c: answers.append(say(c, *messages))) for c in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


async def test_a_conversation_goes_on_at_any_node_and_nothing_is_doubled(
    serve, client, database, tmp_path, monkeypatch
):
    def answer(request):
        return SLOW if "slowly" in request.messages[-1].parts[0].text else echo(request)

    model = ScriptedModel(answer, deltas=True)
    one, two = (
        serve(agents=[Agent("clerk", model=model)], home=tmp_path / name, store=database) for name in ("one", "two")
    )
    here, there = client(one), client(two)
    first = say(here, "hello")
    second = say(there, "hello", text(first), "and then?")
    third = say(here, "hello", text(first), "and then?", text(second), "after that?")
    assert {session_of(second), session_of(third)} == {session_of(first)}
    left = say(there, "hello", text(first), "left")
    assert session_of(left) != session_of(first)
    assert text(left) == "hello | hello | left"
    assert session_of(say(here, "hello", text(first), "left", text(left), "on")) == session_of(left)

    monkeypatch.setattr("roost.doors.request_inbox.LOST_SECONDS", 0.0)
    assert session_of(say(there, "hello")) != session_of(first)  # the first node runs, so its answer has come
    monkeypatch.undo()

    for history in ((), ("hello", text(first), "and then?", text(second), "after that?", text(third))):
        answers = at_once((here, there, here, there), *history, "slowly")
        assert len({done.id for done in answers}) == 1
        assert {text(done) for done in answers} == {SLOW.text}
    assert len(sessions(one)) == 4
    assert len(turns(one, session_of(first))) == 4
