"""The Managed Agents API: requests that come twice, at the same time, or that stop half-way."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import pytest
from tests.doors.managed_support import TOML, provider
from tests.doors.test_managed import ASKS, begun, kinds, managed, say, until_idle

from roost.doors.managed.session_making import SessionMaking
from roost.features.schedules.service import Schedules

__all__ = ["managed", "provider"]
AGAIN = {"x-stainless-retry-count": "1"}
FIRST = [{"type": "user.message", "content": [{"type": "text", "text": "report"}]}]
CRON: Any = {"type": "cron", "expression": "0 9 * * 1-5", "timezone": "UTC"}


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is lost behind this process."""
    monkeypatch.setattr("roost.doors.requested.LOST_SECONDS", 0.0)


def deployed(client: Any, **more: Any) -> Any:
    environment = client.beta.environments.create(name="e").id
    agent = client.beta.agents.create(name="a", model="claude-sonnet-5").id
    given: Any = {"agent": agent, "environment_id": environment, "initial_events": FIRST, "name": "d", **more}
    return client.beta.deployments.create(**given), given


def test_a_repeated_interrupt_leaves_the_turn_of_its_message_alone(managed: Any, wait: Any) -> None:
    client = managed()
    session = begun(client, tools=[ASKS]).id

    def events(*types: str) -> list[Any]:
        return list(client.beta.sessions.events.list(session, types=types))

    say(client, session, "make it")
    until_idle(client, session)
    both: Any = [{"type": "user.interrupt"}, {"type": "user.message", "content": [{"type": "text", "text": "make it"}]}]
    sent = client.beta.sessions.events.send(session, events=both)
    wait(lambda: len(events("agent.tool_use")) == 2)
    for _ in range(2):
        again = client.beta.sessions.events.send(session, events=both, extra_headers=AGAIN)
        assert [one.id for one in again.data] == [one.id for one in sent.data]
    (_, use) = events("agent.tool_use")
    allow: Any = {"type": "user.tool_confirmation", "tool_use_id": use.id, "result": "allow"}
    client.beta.sessions.events.send(session, events=[allow])
    wait(lambda: events("agent.message"))
    assert "made" in events("agent.message")[-1].content[0].text
    assert len(events("user.interrupt")) == 1


def test_a_stream_behind_a_repeated_message_begins_there(managed: Any) -> None:
    """The answer to the first attempt was lost, with the stream that was to follow it."""
    client = managed()
    session = begun(client).id
    message: Any = {"type": "user.message", "content": [{"type": "text", "text": "report"}]}
    sent = client.beta.sessions.events.send(session, events=[message])
    first = until_idle(client, session)
    again = client.beta.sessions.events.send(session, events=[message], extra_headers=AGAIN)
    assert again.data[0].id == sent.data[0].id
    assert [one.id for one in until_idle(client, session)] == [one.id for one in first]


def test_what_was_answered_is_not_taken_for_another_request(managed: Any, answered: None) -> None:
    client = managed()
    session = begun(client)
    for extra in ({}, AGAIN):
        message: Any = {"type": "user.message", "content": [{"type": "text", "text": "continue"}]}
        client.beta.sessions.events.send(session.id, events=[message], extra_headers=extra)
        until_idle(client, session.id)
    assert kinds(list(client.beta.sessions.events.list(session.id))).count("user.message") == 2
    given: Any = {"agent": session.agent.id, "environment_id": session.environment_id}
    workers = [client.beta.sessions.create(**given, extra_headers=extra).id for extra in ({}, AGAIN)]
    assert workers[0] != workers[1]
    made, _ = deployed(client)
    runs = [client.beta.deployments.run(made.id, extra_headers=extra).id for extra in ({}, AGAIN)]
    assert runs[0] != runs[1]


def test_a_deployment_whose_answer_is_lost_is_made_once(managed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client, put, deaths = managed(), Schedules.set, ["the process dies here"]

    async def failing(self: Schedules, *given: Any, **more: Any) -> Any:
        if deaths:
            raise RuntimeError(deaths.pop())
        return await put(self, *given, **more)

    monkeypatch.setattr(Schedules, "set", failing)
    with pytest.raises(anthropic.InternalServerError):
        deployed(client, schedule=CRON)
    (left,) = client.beta.deployments.list()
    given = {"agent": left.agent.id, "environment_id": left.environment_id, "initial_events": FIRST, "name": "d"}
    made = client.beta.deployments.create(**given, schedule=CRON, extra_headers=AGAIN)
    assert (made.id, made.schedule.expression) == (left.id, CRON["expression"])
    assert len(list(client.beta.sessions.list(deployment_id=made.id))) == 1

    later, _ = deployed(client)
    deaths.append("and here")
    with pytest.raises(anthropic.InternalServerError):
        client.beta.deployments.update(later.id, schedule=CRON)
    assert client.beta.deployments.update(later.id, schedule=CRON).schedule.upcoming_runs_at
    assert len(list(client.beta.sessions.list(deployment_id=later.id))) == 1, "one session runs on a schedule, not two"


@pytest.mark.parametrize("meanwhile", ["archive", "pause"])
def test_a_change_undoes_nothing_that_happens_meanwhile(
    managed: Any, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    client, check = managed(), SessionMaking.check
    made, _ = deployed(client, schedule=CRON)

    async def late(self: SessionMaking, *given: Any) -> None:
        await check(self, *given)
        await asyncio.to_thread(getattr(client.beta.deployments, meanwhile), made.id)

    monkeypatch.setattr(SessionMaking, "check", late)
    if meanwhile == "archive":
        with pytest.raises(anthropic.BadRequestError, match="archived"):
            client.beta.deployments.update(made.id, name="other")
        assert client.beta.deployments.retrieve(made.id).archived_at is not None
    else:
        assert client.beta.deployments.update(made.id, name="other").status == "paused"


def test_a_paused_deployment_gets_a_paused_schedule(serve: Any, provider: Any, managed: Any, tmp_path: Any) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "models.toml").write_text(TOML.format(url=provider.url))
    served = serve()
    client = managed(served)
    made, _ = deployed(client)
    client.beta.deployments.pause(made.id)
    timed = client.beta.deployments.update(made.id, schedule=CRON)
    assert (timed.status, timed.schedule.upcoming_runs_at) == ("paused", [])
    (clock,) = client.beta.sessions.list(deployment_id=made.id)

    def states() -> list[str]:
        return [one["state"] for one in served.get(f"/sessions/{clock.id}/schedules")["schedules"]]

    assert states() == ["paused"]
    assert client.beta.deployments.unpause(made.id).schedule.upcoming_runs_at
    assert states() == ["active"]
    client.beta.deployments.archive(made.id)
    assert states() == []
