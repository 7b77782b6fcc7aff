"""What clients of OpenAI's Agents API may not do: widen an agent, lose files, and be taken for one another."""

from __future__ import annotations

import time

import httpx2
import openai
import pytest
from openai._streaming import SSEDecoder
from tests.server.accounts import tenant

from roost.agent.default_agent import default_agent
from roost.agent.definition import Agent, Limits
from roost.doors import requested
from roost.doors.openai_agents.event_stream import PING
from roost.errors import Forbidden, StoreFailed
from roost.features.schedules.service import Schedules
from roost.kernel import session_creation
from roost.sandbox.choose import Isolation
from roost.testing.scripted import Answer, ScriptedModel

NONE = {"type": "none"}
TELLER = {"model": "teller"}
AGAIN = {"x-stainless-retry-count": "1"}


@pytest.fixture
def served(serve):
    def reply(request):
        words = request.messages[-1].parts[0].text
        return Answer(text=words * 50, pace=0.05) if "slow" in words else Answer(text="done")

    model = ScriptedModel(reply, deltas=True)
    inside = Isolation(hosts=("*.internal",))
    clerk = Agent("clerk", model=model, isolation=inside, limits=Limits(session_money=2.0))
    return serve(agents=[clerk, Agent("teller", model=model), default_agent()])


def beta_of(served, token=None):
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key=token or served.token, max_retries=0).beta.agents


@pytest.fixture
def beta(served):
    return beta_of(served)


def hosted(**network):
    return {"type": "openai_hosted", **({"network": network} if network else {})}


def test_a_request_gives_no_agent_more_network(served, beta):
    for network in ({"access": "enabled"}, {"access": "restricted", "allowed_domains": ["a.internal", "b.example"]}):
        with pytest.raises(openai.BadRequestError, match="may not reach") as refused:
            beta.sessions.create(agent={"model": "clerk"}, environment=hosted(**network))
        assert refused.value.code == "unsupported"
    ann = beta_of(served, tenant(served, "ann", role="user").token)
    kept = ann.create(model="clerk")
    with pytest.raises(openai.BadRequestError, match="may not reach"):
        ann.sessions.create(agent_id=kept.id, environment=hosted(access="enabled"))
    with pytest.raises(openai.BadRequestError, match="may not reach"):
        ann.sessions.create(agent={"model": "assistant"}, environment=hosted(access="enabled"))
    session = beta.sessions.create(agent={"model": "assistant"}, environment=hosted(access="enabled"))
    assert session.environment.network.access == "enabled"


def test_a_request_gives_no_agent_tools(served, beta):
    web = {"model": "clerk", "tools": [{"type": "web_search"}]}
    with pytest.raises(openai.BadRequestError, match="web_search"):
        beta.create(**web)
    with pytest.raises(openai.BadRequestError, match="web_search"):
        beta.sessions.create(agent=web, environment=NONE, input="x")
    ann = beta_of(served, tenant(served, "ann", role="user").token)
    several = {"model": "clerk", "multi_agent": {"enabled": True}}
    with pytest.raises(openai.BadRequestError, match="multi_agent"):
        ann.sessions.create(agent=several, environment=NONE, input="x")


def test_a_session_shows_the_network_that_holds(beta):
    def network(session):
        return session.environment.network.access, session.environment.network.allowed_domains

    unsaid = beta.sessions.create(agent={"model": "clerk"}, environment=hosted())
    assert network(unsaid) == ("enabled", [])  # a machine without a sandbox enforces no list
    part = hosted(access="restricted", allowed_domains=["a.internal"])
    session = beta.sessions.create(agent={"model": "clerk"}, environment=part)
    assert network(session) == ("restricted", ["a.internal"])
    off = beta.sessions.create(agent={"model": "clerk"}, environment=hosted(access="disabled"))
    assert network(off) == ("disabled", [])


def test_the_smaller_budget_holds(beta, wait):
    session = beta.sessions.create(agent={"model": "clerk"}, environment=hosted(), spend_control={"limit": 1_000_000})
    assert session.spend_control.limit == 200
    changed = beta.sessions.update(session.id, spend_control={"limit": 100})
    assert changed.spend_control.limit == 100
    beta.sessions.update(session.id, spend_control={"limit": 10**9})
    wait(lambda: beta.sessions.retrieve(session.id).spend_control.limit == 200)


def test_a_stream_goes_on_from_an_earlier_turn(beta, wait):
    heard = []
    with beta.sessions.create(agent=TELLER, environment=NONE, input="one", stream=True) as stream:
        for event in stream:
            heard.append(event)
            if event.type == "agent.session.turn.item.added":
                break
    session = heard[0].session.id
    for word in ("two", "three"):
        wait(lambda: beta.sessions.retrieve(session).status == "idle")
        beta.sessions.events.create(session, events=[said(word)])
    wait(lambda: beta.sessions.retrieve(session).status == "idle")
    turns = [one.id for one in beta.sessions.turns.list(session, order="asc")]
    for last in (heard[0], heard[-1]):
        rest = []
        with beta.sessions.events.stream(session, extra_headers={"Last-Event-ID": last.event_id}) as again:
            for event in again:
                rest.append(event)
                if event.type == "agent.session.idle":
                    break
        assert [one.turn.id for one in rest if one.type == "agent.session.turn.completed"] == turns
        ids = [one.event_id for one in rest]
        assert len(set(ids)) == len(ids)
        assert last is heard[0] or not {one.event_id for one in heard} & set(ids)


def test_a_repeated_interruption_spares_its_own_message(beta, wait):
    session = beta.sessions.create(agent=TELLER, environment=NONE, input="slow one").id
    wait(lambda: [one.status for one in beta.sessions.turns.list(session)] == ["in_progress"])
    instead = [{"type": "agent.session.input.cancel"}, said("slow two"), said("three"), said("three")]
    beta.sessions.events.create(session, events=instead)
    wait(lambda: len(list(beta.sessions.turns.list(session))) == 2)
    beta.sessions.events.create(session, events=instead, extra_headers=AGAIN)
    wait(lambda: beta.sessions.retrieve(session).status == "idle")
    turns = [one.status for one in beta.sessions.turns.list(session, order="asc")]
    assert turns == ["cancelled", *["completed"] * 3]


def test_the_same_words_said_later_are_another_message(beta, wait, monkeypatch):
    session = beta.sessions.create(agent=TELLER, environment=NONE, input="one").id
    beta.sessions.events.create(session, events=[said("go on")])
    beta.sessions.events.create(session, events=[said("go on")], extra_headers=AGAIN)
    monkeypatch.setattr(requested, "LOST_SECONDS", 0)  # the answer is not lost any more
    beta.sessions.events.create(session, events=[said("go on")], extra_headers=AGAIN)
    wait(lambda: beta.sessions.retrieve(session).status == "idle")
    assert len(list(beta.sessions.turns.list(session))) == 3


def test_a_session_in_use_is_not_given_to_another_client(beta):
    def make(**more):
        return beta.sessions.create(agent=TELLER, environment=hosted(), **more).id

    first = make()
    assert make(extra_headers=AGAIN) == first
    beta.sessions.retrieve(first)  # its client has the answer
    second = make(extra_headers=AGAIN)
    assert second != first
    assert make(extra_headers=AGAIN) == second


def test_a_refused_session_leaves_the_environment(beta, wait, monkeypatch):
    def refuse(*_args, **_more):
        raise Forbidden("not this agent")

    file = {"type": "inline", "path": "/workspace/a.txt", "data": "YQ=="}
    env = beta.environments.create(environment={"type": "openai_hosted", "files": [file]})
    attached = {"type": "openai_hosted", "environment_id": env.id}
    with monkeypatch.context() as patch:
        patch.setattr(session_creation, "owned_labels", refuse)
        with pytest.raises(openai.PermissionDeniedError):
            beta.sessions.create(agent=TELLER, environment=attached)
    assert beta.environments.retrieve(env.id).status == "ready"
    assert list(beta.sessions.list()) == []
    made = beta.sessions.create(agent=TELLER, environment=attached, input="go")
    assert made.environment.id == env.id
    wait(lambda: [one.path for one in beta.environments.files.list(env.id)] == ["/workspace/a.txt"])


def test_an_automation_is_made_once_and_kept(served, beta, wait, monkeypatch):
    session = beta.sessions.create(agent=TELLER, environment=hosted()).id
    given = {
        "type": "periodic",
        "name": "n",
        "expression": "0 9 * * 1",
        "timezone": "UTC",
        "target": {"type": "existing_session", "session_id": session, "instructions": "go"},
    }
    first = beta.automations.create(**given)
    assert beta.automations.create(**given, extra_headers=AGAIN).id == first.id
    keyed = [beta.automations.create(**given, extra_headers={"Idempotency-Key": "k"}).id for _ in range(2)]
    assert keyed[0] == keyed[1] != first.id

    async def fail(*_args, **_more):
        raise StoreFailed("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(Schedules, "set", fail)
        with pytest.raises(openai.InternalServerError):
            beta.automations.update(first.id, expression="0 8 * * 1")
        with pytest.raises(openai.InternalServerError):
            beta.automations.create(**{**given, "name": "other"})
    assert len(list(beta.automations.list())) == 3  # the order of the last one may be there
    beta.automations.update(first.id, expression="0 8 * * 1")

    def crons():
        known = served.request("GET", f"/sessions/{session}/schedules").json["schedules"]
        return {one["name"]: one["spec"]["cron"] for one in known}

    wait(lambda: crons()[first.id] == "0 8 * * 1")
    with pytest.raises(openai.APIStatusError):
        beta.automations.update(first.id, expression="never")
    assert beta.automations.retrieve(first.id).expression == "0 8 * * 1"


def test_a_completed_automation_is_renamed_and_not_run_again(beta, wait):
    session = beta.sessions.create(agent=TELLER, environment=hosted()).id
    target = {"type": "existing_session", "session_id": session, "instructions": "go"}
    made = beta.automations.create(type="once", name="n", run_at=int(time.time()) + 3, target=target)
    wait(lambda: beta.automations.retrieve(made.id).status == "completed")
    changed = beta.automations.update(made.id, name="m")
    assert (changed.name, changed.status) == ("m", "completed")
    wait(lambda: beta.sessions.retrieve(session).status == "idle")
    assert len(list(beta.automations.invocations.list(made.id))) == 1


def test_a_time_that_no_list_can_show_is_refused(served):
    head = {"x-api-key": served.token, "anthropic-version": "2023-06-01"}

    def send(seconds):
        form = {"data": {"expires_in_seconds": seconds}, "files": {"file": ("a.txt", b"x")}}
        return httpx2.post(f"{served.url}/v1/files", headers=head, **form)

    assert send("000000000001999999999999").status_code == 400
    assert send("3600").status_code == 200
    assert len(httpx2.get(f"{served.url}/v1/files", headers=head).json()["data"]) == 1


def said(text):
    message = {"role": "user", "content": [{"type": "input_text", "text": text}]}
    return {"type": "agent.session.input.message", "input": [message]}


def test_a_quiet_stream_tells_the_library_no_empty_event() -> None:
    """A comment behind an event with an id."""
    said = b'id: 1\nevent: a\ndata: {"a": 1}\n\n' + PING + PING + b'id: 2\nevent: a\ndata: {"a": 2}\n\n'
    heard = [one.json() for one in SSEDecoder().iter_bytes(iter([said]))]
    assert heard == [{"a": 1}, {"a": 2}]
