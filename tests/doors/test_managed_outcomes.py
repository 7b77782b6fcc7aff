"""The Managed Agents API: outcomes, which are goals of sessions."""

from __future__ import annotations

from typing import Any

import pytest
from tests.doors.managed_support import provider
from tests.doors.test_managed import begun, kinds, managed, until_idle

__all__ = ["managed", "provider"]
RUBRIC = {"type": "text", "content": "The answer names a city."}
OUTCOME: Any = {"type": "user.define_outcome", "description": "name the city", "rubric": RUBRIC}


def spans(client: Any, session: str) -> list[Any]:
    types = ["span.outcome_evaluation_start", "span.outcome_evaluation_end"]
    return list(client.beta.sessions.events.list(session, types=types))


@pytest.mark.parametrize("first", [False, True], ids=["sent", "first"])
def test_an_agent_works_until_its_outcome_is_met(managed: Any, first: bool) -> None:
    client = managed()
    sent: Any = None
    if first:
        environment = client.beta.environments.create(name="env")
        agent = client.beta.agents.create(name="clerk", model="claude-sonnet-5")
        made = client.beta.sessions.create(agent=agent.id, environment_id=environment.id, initial_events=[OUTCOME])
        session = made.id
    else:
        session = begun(client).id
        (sent,) = client.beta.sessions.events.send(session, events=[OUTCOME]).data
        assert (sent.type, sent.description, sent.max_iterations) == ("user.define_outcome", "name the city", 3)
    until_idle(client, session)
    events = list(client.beta.sessions.events.list(session))
    (defined,) = [one for one in events if one.type == "user.define_outcome"]
    assert (defined.rubric.type, defined.rubric.content) == ("text", RUBRIC["content"])
    if sent is not None:
        assert (defined.id, defined.outcome_id) == (sent.id, sent.outcome_id)
    assert not [one for one in events if one.type == "user.message"]
    said = [one.content[0].text for one in events if one.type == "agent.message"]
    assert said == ["A draft.", "It is Ghent."]
    begin, draft, again, met = spans(client, session)
    assert [one.iteration for one in (begin, draft, again, met)] == [0, 0, 1, 1]
    assert {one.outcome_id for one in (begin, draft, again, met)} == {defined.outcome_id}
    assert (draft.outcome_evaluation_start_id, met.outcome_evaluation_start_id) == (begin.id, again.id)
    assert (draft.result, met.result) == ("needs_revision", "satisfied")
    assert "none is named" in draft.explanation
    assert draft.usage.input_tokens > 0
    assert events[-1].stop_reason.type == "end_turn"
    (state,) = client.beta.sessions.retrieve(session).outcome_evaluations
    assert (state.outcome_id, state.result, state.iteration) == (defined.outcome_id, "satisfied", 1)
    assert state.completed_at == met.processed_at


def test_an_outcome_that_is_not_met_ends_after_its_attempts(managed: Any) -> None:
    client = managed()
    session = begun(client).id
    assert client.beta.sessions.retrieve(session).outcome_evaluations == []
    client.beta.sessions.events.send(session, events=[{**OUTCOME, "max_iterations": 1}])
    until_idle(client, session)
    assert [one.result for one in spans(client, session) if hasattr(one, "result")] == ["max_iterations_reached"]
    assert "session.error" not in kinds(client.beta.sessions.events.list(session))
    (state,) = client.beta.sessions.retrieve(session).outcome_evaluations
    assert (state.result, state.explanation) == ("max_iterations_reached", "not met: a city: none is named")


def test_a_rubric_may_be_a_file(managed: Any) -> None:
    client = managed()
    file = client.beta.files.upload(file=("rubric.md", b"The answer names a city.", "text/markdown"))
    session = begun(client).id
    sent = client.beta.sessions.events.send(
        session, events=[{**OUTCOME, "rubric": {"type": "file", "file_id": file.id}}]
    )
    assert sent.data[0].rubric.content == "The answer names a city."


def test_a_request_that_is_repeated_defines_one_outcome(managed: Any) -> None:
    client = managed()
    session = begun(client).id
    send = client.beta.sessions.events.send
    (one,) = send(session, events=[OUTCOME]).data
    (two,) = send(session, events=[OUTCOME], extra_headers={"x-stainless-retry-count": "1"}).data
    assert (one.id, one.outcome_id) == (two.id, two.outcome_id)
    until_idle(client, session)
    assert kinds(client.beta.sessions.events.list(session)).count("user.define_outcome") == 1
