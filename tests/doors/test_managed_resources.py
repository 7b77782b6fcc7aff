"""The Managed Agents API, by the official library: resources, pages, errors, and what is refused with its reason."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import anthropic
import pytest
from tests.doors.managed_support import TOML, provider
from tests.doors.test_managed import begun, kinds, managed, say, until_idle

__all__ = ["managed", "provider"]
NOBODY = "nobody_1"


def test_an_agent_has_versions_and_a_session_keeps_its_own(managed: Any) -> None:
    client = managed()
    first = client.beta.agents.create(name="a", model="claude-sonnet-5", system="One.", metadata={"k": "v", "l": "w"})
    assert (first.type, first.version, first.model.id, first.archived_at) == ("agent", 1, "claude-sonnet-5", None)
    second = client.beta.agents.update(first.id, version=1, system="Two.", metadata={"k": None, "m": "x"})
    assert (second.version, second.system, second.name, second.metadata) == (2, "Two.", "a", {"l": "w", "m": "x"})
    assert client.beta.agents.update(first.id, version=2, system="Two.").version == 2
    with pytest.raises(anthropic.ConflictError):
        client.beta.agents.update(first.id, version=1, system="Three.")
    assert client.beta.agents.retrieve(first.id, version=1).system == "One."
    assert [one.version for one in client.beta.agents.versions.list(first.id, limit=1)] == [2, 1]
    environment = client.beta.environments.create(name="e")
    pinned = client.beta.sessions.create(
        agent={"type": "agent", "id": first.id, "version": 1}, environment_id=environment.id
    )
    assert (pinned.agent.version, pinned.agent.system) == (1, "One.")
    own = client.beta.sessions.create(
        agent={"type": "agent_with_overrides", "id": first.id, "system": "Mine."}, environment_id=environment.id
    )
    assert (own.agent.version, own.agent.system) == (2, "Mine.")
    assert client.beta.agents.archive(first.id).archived_at is not None
    assert list(client.beta.agents.list()) == []
    assert [one.id for one in client.beta.agents.list(include_archived=True)] == [first.id]
    for attempt in (
        lambda: client.beta.sessions.create(agent=first.id, environment_id=environment.id),
        lambda: client.beta.agents.update(first.id, version=2, name="b"),
    ):
        with pytest.raises(anthropic.BadRequestError, match="archived"):
            attempt()


def test_lists_come_in_pages(managed: Any) -> None:
    client = managed()
    made = [client.beta.environments.create(name=f"e{number}").id for number in range(5)]
    page = client.beta.environments.list(limit=2)
    assert [one.id for one in page.data] == [made[4], made[3]]
    assert [one.id for one in page] == made[::-1]
    agent = client.beta.agents.create(name="a", model="claude-sonnet-5")
    ids = [client.beta.sessions.create(agent=agent.id, environment_id=made[0]).id for _ in range(5)]
    first = client.beta.sessions.list(limit=2)
    assert ([one.id for one in first.data], first.prev_page) == (ids[:2:-1], None)
    second = first.get_next_page()
    assert [one.id for one in second.data] == [ids[2], ids[1]]
    back = client.beta.sessions.list(limit=2, page=second.prev_page)
    assert [one.id for one in back.data] == [one.id for one in first.data]
    assert [one.id for one in client.beta.sessions.list(order="asc", limit=2)] == ids
    assert list(client.beta.sessions.list(statuses=["running"])) == []
    assert list(client.beta.sessions.list(agent_id="agent_x")) == []
    assert list(client.beta.sessions.list(created_at_gt="2099-01-01T00:00:00Z")) == []
    assert len(list(client.beta.sessions.list(agent_id=agent.id, agent_version=1))) == 5
    for page in ("x", "page_eA", second.next_page[:-3]):
        with pytest.raises(anthropic.BadRequestError, match="page"):
            client.beta.sessions.list(page=page)
    with pytest.raises(anthropic.BadRequestError, match="limit"):
        client.beta.sessions.list(limit=0)


def test_a_session_is_changed_archived_and_deleted(managed: Any) -> None:
    client = managed()
    session = begun(client)
    changed = client.beta.sessions.update(session.id, title="A title", metadata={"k": "v"})
    assert (changed.title, changed.metadata) == ("A title", {"k": "v"})
    budget: Any = {"type": "limit", "max_list_cost": {"amount": "250", "currency": "USD"}}
    tools: Any = {"tools": [{"type": "agent_toolset_20260401"}]}
    changed = client.beta.sessions.update(session.id, budget=budget, agent=tools)
    assert changed.budget.max_list_cost.amount == "250"
    assert changed.agent.tools[0].type == "agent_toolset_20260401"
    say(client, session.id, "make it")
    heard = until_idle(client, session.id)
    assert [one.evaluated_permission for one in heard if one.type == "agent.tool_use"] == ["allow"]
    threads = list(client.beta.sessions.threads.list(session.id))
    assert [one.id for one in threads] == [session.id]
    assert client.beta.sessions.threads.retrieve(session.id, session_id=session.id).status == "idle"
    listed = client.beta.sessions.threads.events.list(session.id, session_id=session.id)
    assert kinds(list(listed)) == kinds(heard)
    archived = client.beta.sessions.archive(session.id)
    assert (archived.status, archived.archived_at is not None) == ("terminated", True)
    with pytest.raises(anthropic.BadRequestError, match="archived"):
        say(client, session.id, "more")
    assert kinds(list(client.beta.sessions.events.list(session.id)))[-1] == "session.status_terminated"
    assert list(client.beta.sessions.list()) == []
    assert client.beta.sessions.delete(session.id).type == "session_deleted"
    for attempt in (client.beta.sessions.retrieve, client.beta.sessions.delete, client.beta.sessions.archive):
        with pytest.raises(anthropic.NotFoundError):
            attempt(session.id)


def test_environments_and_vaults_are_changed_archived_and_deleted(managed: Any) -> None:
    client = managed()
    limited: Any = {"type": "cloud", "networking": {"type": "limited", "allowed_hosts": ["https://example.com"]}}
    made = client.beta.environments.create(name="e", config=limited, metadata={"a": "b"})
    assert made.config.networking.allowed_hosts == ["example.com"]
    changed = client.beta.environments.update(made.id, config={"type": "cloud"}, metadata={"a": None}, name="f")
    assert (changed.name, changed.metadata, changed.config.networking.type) == ("f", {}, "unrestricted")
    assert client.beta.environments.archive(made.id).archived_at is not None
    with pytest.raises(anthropic.BadRequestError, match="archived"):
        client.beta.environments.update(made.id, name="g")
    assert client.beta.environments.delete(made.id).type == "environment_deleted"
    vault = client.beta.vaults.create(display_name="v")
    assert client.beta.vaults.update(vault.id, display_name="w").display_name == "w"
    assert [one.id for one in client.beta.vaults.list()] == [vault.id]
    assert list(client.beta.vaults.credentials.list(vault.id)) == []
    bearer: Any = {"type": "static_bearer", "token": "t", "mcp_server_url": "https://example.com/mcp"}
    kept = client.beta.vaults.credentials.create(vault.id, auth=bearer)
    assert client.beta.vaults.archive(vault.id).archived_at is not None
    assert client.beta.vaults.credentials.retrieve(kept.id, vault_id=vault.id).archived_at is not None
    assert client.beta.vaults.delete(vault.id).type == "vault_deleted"


def refused(client: Any) -> dict[str, Any]:
    """What Roost does not have, each as a call."""
    beta: Any = client.beta
    vault = beta.vaults.create(display_name="v").id
    environment = beta.environments.create(name="e").id
    agent = beta.agents.create(name="a", model="claude-sonnet-5").id
    session = beta.sessions.create(agent=agent, environment_id=environment).id
    work = beta.environments.work
    bearer = {"type": "static_bearer", "token": "t", "mcp_server_url": "https://example.com/mcp"}
    credential = beta.vaults.credentials.create(vault, auth=bearer).id
    outcome = {"type": "user.define_outcome", "description": "d", "rubric": {"type": "text", "content": "r"}}
    return {
        "credential without a line": lambda: beta.vaults.credentials.create(vault, auth={**bearer, "token": "a\nb"}),
        "credential with a password": lambda: beta.vaults.credentials.create(
            vault, auth={**bearer, "mcp_server_url": "https://me:secret@example.com/mcp"}
        ),
        "validation of a bearer": lambda: beta.vaults.credentials.mcp_oauth_validate(credential, vault_id=vault),
        "server of no name": lambda: beta.agents.create(
            name="a", model="claude-sonnet-5", mcp_servers=[{"type": "url", "name": "a b", "url": "https://x.example"}]
        ),
        "toolset of no server": lambda: beta.agents.create(
            name="a", model="claude-sonnet-5", tools=[{"type": "mcp_toolset", "mcp_server_name": "x"}]
        ),
        "work": lambda: work.list(environment),
        "poll": lambda: work.poll(environment),
        "ack": lambda: work.ack("w", environment_id=environment),
        "stats": lambda: work.stats(environment),
        "self_hosted": lambda: beta.environments.create(name="e", config={"type": "self_hosted"}),
        "packages": lambda: beta.environments.create(
            name="e", config={"type": "cloud", "packages": {"pip": ["numpy"]}}
        ),
        "skill without a folder": lambda: beta.skills.create(files=[("SKILL.md", b"x", "text/markdown")]),
        "agent with a skill that is not here": lambda: beta.agents.create(
            name="a", model="claude-sonnet-5", skills=[{"type": "anthropic", "skill_id": "xlsx"}]
        ),
        "advisor": lambda: beta.agents.create(
            name="a", model="claude-sonnet-5", multiagent={"type": "coordinator", "agents": [{"type": "advisor"}]}
        ),
        "fast": lambda: beta.agents.create(name="a", model={"id": "claude-sonnet-5", "speed": "fast"}),
        "outcome of too many attempts": lambda: beta.sessions.events.send(
            session, events=[{**outcome, "max_iterations": 21}]
        ),
        "rubric of spaces": lambda: beta.sessions.events.send(
            session, events=[{**outcome, "rubric": {"type": "text", "content": "  "}}]
        ),
        "system message alone": lambda: beta.sessions.events.send(
            session, events=[{"type": "system.message", "content": [{"type": "text", "text": "x"}]}]
        ),
        "repository": lambda: beta.sessions.create(
            agent=agent,
            environment_id=environment,
            resources=[{"type": "github_repository", "url": "https://example.com/r", "authorization_token": "t"}],
        ),
        "thread": lambda: beta.sessions.threads.archive(session, session_id=session),
        "dreams": lambda: beta.dreams.list(),
        "webhooks of an organization": lambda: beta.organization.webhooks.list(),
    }


def test_what_is_not_there_is_refused_with_the_reason(managed: Any) -> None:
    client = managed()
    for what, attempt in refused(client).items():
        with pytest.raises(anthropic.BadRequestError) as caught:
            attempt()
        body: Any = caught.value.body
        error = body["error"]
        assert (error["type"], len(error["message"]) > 20) == ("invalid_request_error", True), what
        assert caught.value.request_id, what
    assert next(iter(client.beta.sessions.list())).status == "idle"


def test_nothing_of_nobody_is_found(managed: Any) -> None:
    beta: Any = managed().beta
    agent = beta.agents.create(name="a", model="claude-sonnet-5").id
    environment = beta.environments.create(name="e").id
    message = {"type": "user.message", "content": [{"type": "text", "text": "x"}]}
    attempts = [
        lambda: beta.agents.retrieve(NOBODY),
        lambda: beta.agents.retrieve(agent, version=7),
        lambda: beta.agents.update(NOBODY, name="b"),
        lambda: beta.agents.archive(NOBODY),
        lambda: beta.agents.versions.list(NOBODY),
        lambda: beta.agents.create(name="a", model="mistaken-model"),
        lambda: beta.environments.retrieve(NOBODY),
        lambda: beta.environments.update(NOBODY, name="x"),
        lambda: beta.environments.delete(NOBODY),
        lambda: beta.sessions.create(agent=NOBODY, environment_id=environment),
        lambda: beta.sessions.create(agent=agent, environment_id=NOBODY),
        lambda: beta.sessions.create(agent=agent, environment_id=environment, vault_ids=[NOBODY]),
        lambda: beta.sessions.create(
            agent=agent, environment_id=environment, resources=[{"type": "file", "file_id": NOBODY}]
        ),
        lambda: beta.sessions.retrieve(NOBODY),
        lambda: beta.sessions.events.list(NOBODY),
        lambda: beta.sessions.events.send(NOBODY, events=[message]),
        lambda: beta.sessions.events.stream(NOBODY),
        lambda: beta.sessions.resources.list(NOBODY),
        lambda: beta.sessions.threads.list(NOBODY),
        lambda: beta.vaults.retrieve(NOBODY),
        lambda: beta.vaults.delete(NOBODY),
        lambda: beta.files.retrieve_metadata(NOBODY),
        lambda: beta.files.download(NOBODY),
        lambda: beta.files.delete(NOBODY),
    ]
    for number, attempt in enumerate(attempts):
        with pytest.raises(anthropic.NotFoundError) as caught:
            attempt()
        body: Any = caught.value.body
        assert body["error"]["type"] == "not_found_error", number


BAD = [
    ("POST", "/v1/agents", {}),
    ("POST", "/v1/agents", []),
    ("POST", "/v1/agents", {"name": "", "model": "one/m"}),
    ("POST", "/v1/agents", {"name": "x" * 300, "model": "one/m"}),
    ("POST", "/v1/agents", {"name": "a", "model": "one/m", "surprise": 1}),
    ("POST", "/v1/agents", {"name": "a", "model": "one/m", "tools": [{"type": "new"}]}),
    ("POST", "/v1/agents", {"name": "a", "model": "one/m", "tools": [{"type": "custom", "name": "shell"}]}),
    ("POST", "/v1/agents", {"name": "a", "model": "one/m", "metadata": {str(n): "" for n in range(17)}}),
    ("POST", "/v1/agents", {"name": "a", "model": "one/m", "metadata": {"a": 1}}),
    ("POST", "/v1/environments", {"name": None}),
    ("POST", "/v1/environments", {"name": "e", "config": {"type": "other"}}),
    ("POST", "/v1/sessions", {"agent": 1, "environment_id": "e"}),
    ("POST", "/v1/sessions", {"agent": {"type": "agent"}, "environment_id": "e"}),
    ("POST", "/v1/vaults", {"display_name": ["x"]}),
    ("GET", "/v1/agents?limit=many", None),
    ("GET", "/v1/agents?surprise=1", None),
    ("GET", "/v1/agents?page=%00", None),
    ("GET", "/v1/environments?include_archived=perhaps", None),
    ("GET", "/v1/sessions?created_at%5Bgt%5D=yesterday", None),
    ("GET", "/v1/sessions?statuses%5B%5D=tired", None),
    ("GET", "/v1/files?limit=0", None),
    ("POST", "/v1/files", {"file": "x"}),
]


@pytest.mark.parametrize(("method", "path", "body"), BAD)
def test_bad_input_is_an_error_in_the_protocols_shape(shared: Any, method: str, path: str, body: Any) -> None:
    answer = shared.request(method, path, body, anthropic_version="2023-06-01", X_Api_Key=shared.token)
    assert answer.status in (400, 415), answer
    error = json.loads(answer.body)
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert answer.headers["request-id"] == error["request_id"]


def test_bad_events_leave_the_session_as_it_is(managed: Any) -> None:
    client = managed()
    session = begun(client)
    send: Any = client.beta.sessions.events.send
    message = {"type": "user.message", "content": [{"type": "text", "text": "x"}]}
    for events in (
        [],
        [{"type": "user.message", "content": []}],
        [{"type": "user.message", "content": [{"type": "text", "text": "  "}]}],
        [{"type": "user.message", "content": [{"type": "image", "source": {"type": "base64", "data": "?"}}]}],
        [{"type": "user.message", "content": [{"type": "image", "source": {"type": "url", "url": "file:///etc"}}]}],
        [{"type": "user.message", "content": "x"}],
        [{"type": "user.custom_tool_result", "custom_tool_use_id": "sevt_0_0"}],
        [{"type": "user.tool_confirmation", "tool_use_id": "sevt_-1_9", "result": "allow"}],
        [{"type": "user.tool_confirmation", "tool_use_id": "x", "result": "maybe"}],
        [message] * 101,
        [message, {"type": "user.define_outcome", "description": "d", "rubric": {}}],
    ):
        with pytest.raises(anthropic.BadRequestError):
            send(session.id, events=events)
    assert list(client.beta.sessions.events.list(session.id)) == []
    with pytest.raises(anthropic.BadRequestError, match="page"):
        client.beta.sessions.events.list(session.id, page="page_x")


async def test_the_asynchronous_library_passes(serve: Any, provider: Any, tmp_path: Any) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "models.toml").write_text(TOML.format(url=provider.url))
    served = await asyncio.to_thread(serve)
    async with anthropic.AsyncAnthropic(base_url=served.url, api_key=served.token) as typed:
        client: Any = typed
        environment = await client.beta.environments.create(name="e")
        agent = await client.beta.agents.create(name="a", model={"id": "claude-haiku-4-5"})
        session = await client.beta.sessions.create(
            agent=agent.id,
            environment_id=environment.id,
            initial_events=[{"type": "user.message", "content": [{"type": "text", "text": "first"}]}],
        )
        said = []
        async with await client.beta.sessions.events.stream(session.id) as stream:
            async for event in stream:
                if event.type == "agent.message":
                    said.append(event.content[0].text)
                if event.type == "session.status_idle":
                    break
        assert said == ["You said: first"]
        assert [one.id async for one in client.beta.sessions.list()] == [session.id]
        await client.beta.sessions.delete(session.id)


def test_a_deployment_is_run_by_hand_and_on_a_schedule(managed: Any) -> None:
    client = managed()
    environment = client.beta.environments.create(name="e").id
    agent = client.beta.agents.create(name="a", model="claude-sonnet-5")
    first = [{"type": "user.message", "content": [{"type": "text", "text": "report"}]}]
    given: Any = {"agent": agent.id, "environment_id": environment, "initial_events": first}
    made = client.beta.deployments.create(name="d", **given)
    assert (made.status, made.agent.version, made.schedule) == ("active", 1, None)
    run = client.beta.deployments.run(made.id)
    heard = until_idle(client, run.session_id) or []
    assert [one.content[0].text for one in heard if one.type == "agent.message"] == ["You said: report"]
    assert client.beta.sessions.retrieve(run.session_id).deployment_id == made.id
    assert [one.id for one in client.beta.sessions.list(deployment_id=made.id)] == [run.session_id]
    assert [one.id for one in client.beta.deployment_runs.list(deployment_id=made.id)] == [run.id]
    assert client.beta.deployment_runs.retrieve(run.id).session_id == run.session_id
    again = client.beta.deployments.run(made.id, extra_headers={"x-stainless-retry-count": "1"})
    assert again.id == run.id
    changed = client.beta.deployments.update(made.id, name="f", metadata={"k": "v"})
    assert (changed.name, changed.metadata) == ("f", {"k": "v"})

    cron: Any = {"type": "cron", "expression": "0 9 * * 1-5", "timezone": "Europe/Brussels"}
    timed = client.beta.deployments.create(name="t", schedule=cron, **given)
    assert timed.schedule.expression == "0 9 * * 1-5"
    assert len(timed.schedule.upcoming_runs_at) > 1
    paused = client.beta.deployments.pause(timed.id)
    assert (paused.status, paused.paused_reason.type) == ("paused", "manual")
    assert client.beta.deployments.unpause(timed.id).status == "active"
    for bad in ({**cron, "expression": "@daily"}, {**cron, "timezone": "Nowhere/Here"}):
        with pytest.raises(anthropic.BadRequestError):
            client.beta.deployments.create(name="t", schedule=bad, **given)
    (clock,) = client.beta.sessions.list(deployment_id=timed.id)
    client.put(f"/sessions/{clock.id}/schedules/deployment", cast_to=object, body={"text": "tick", "every": 1})
    while len(fired := list(client.beta.deployment_runs.list(deployment_id=timed.id))) < 2:
        time.sleep(0.1)
    client.beta.deployments.pause(timed.id)
    assert {one.trigger_context.type for one in fired} == {"schedule"}
    assert {(one.session_id, one.deployment_id, one.agent.id) for one in fired} == {(clock.id, timed.id, agent.id)}
    assert client.beta.deployment_runs.retrieve(fired[-1].id).trigger_context == fired[-1].trigger_context
    listed = list(client.beta.deployment_runs.list())
    assert listed[-1].id == run.id
    assert [one.created_at for one in listed] == sorted((one.created_at for one in listed), reverse=True)
    assert [one.id for one in client.beta.deployment_runs.list(limit=1)] == [one.id for one in listed]
    assert [one.id for one in client.beta.deployment_runs.list(trigger_type="manual")] == [run.id]
    assert list(client.beta.deployment_runs.list(deployment_id=timed.id, trigger_type="manual", has_error=True)) == []
    gone = f"{fired[0].id.partition('_at')[0]}_at1_{clock.id}"  # an event of another kind
    with pytest.raises(anthropic.NotFoundError):
        client.beta.deployment_runs.retrieve(gone)
    client.beta.deployments.update(timed.id, schedule=None)
    assert list(client.beta.deployment_runs.list(deployment_id=timed.id))[-1].id == fired[-1].id
    client.beta.agents.archive(agent.id)
    assert client.beta.deployments.run(made.id).error.type == "session_creation_rejected_error"
    assert len(list(client.beta.deployment_runs.list(has_error=True))) == 1
    assert client.beta.deployments.archive(timed.id).archived_at is not None
    assert [one.id for one in client.beta.deployments.list()] == [made.id]
    with pytest.raises(anthropic.BadRequestError):
        client.beta.deployments.run(timed.id)


def test_an_agent_of_a_file_is_used_as_it_is(managed: Any, serve: Any) -> None:
    client = managed(serve())
    environment = client.beta.environments.create(name="e").id
    assert client.beta.agents.retrieve("clerk").name == "clerk"
    session = client.beta.sessions.create(agent="clerk", environment_id=environment)
    assert (session.agent.id, session.agent.version) == ("clerk", 1)
    say(client, session.id, "hello")
    heard = until_idle(client, session.id)
    assert [one.content[0].text for one in heard if one.type == "agent.message"] == ["yes"]
    other: Any = {"type": "agent_with_overrides", "id": "clerk", "system": "Mine."}
    for attempt in (
        lambda: client.beta.sessions.create(agent=other, environment_id=environment),
        lambda: client.beta.sessions.update(session.id, agent={"tools": []}),
    ):
        with pytest.raises(anthropic.BadRequestError, match="file"):
            attempt()


def test_memories_have_paths_and_versions(managed: Any) -> None:
    client = managed()
    stores = client.beta.memory_stores
    store = stores.create(name="notes", description="d").id
    assert stores.update(store, name="more").name == "more"
    made = stores.memories.create(store, path="/a/one.md", content="one")
    assert (made.content, made.content_size_bytes) == (None, 3)
    with pytest.raises(anthropic.ConflictError):
        stores.memories.create(store, path="/a/one.md", content="two")
    for path in ("a", "/", "/a/../b", "/a//b", "/" + "x/" * 21 + "y", "/a\u200b"):
        with pytest.raises(anthropic.BadRequestError):
            stores.memories.create(store, path=path, content="")
    with pytest.raises(anthropic.APIStatusError):
        stores.memories.create(store, path="/large", content="x" * 102_401)
    for path in ("/a/b/two.md", "/a/b/three.md", "/top.md"):
        stores.memories.create(store, path=path, content=path)
    assert [one.path for one in stores.memories.list(store, limit=2)] == [
        "/a/b/three.md",
        "/a/b/two.md",
        "/a/one.md",
        "/top.md",
    ]
    grouped = list(stores.memories.list(store, path_prefix="/a/", depth=1))
    assert [(one.type, one.path) for one in grouped] == [("memory_prefix", "/a/b/"), ("memory", "/a/one.md")]
    assert stores.memories.retrieve(made.id, memory_store_id=store).content == "one"
    condition: Any = {"type": "content_sha256", "content_sha256": made.content_sha256}
    given: Any = {"memory_store_id": store, "precondition": condition}
    changed = stores.memories.update(made.id, content="ONE", path="/b/one.md", **given)
    assert (changed.path, changed.id) == ("/b/one.md", made.id)
    with pytest.raises(anthropic.ConflictError):
        stores.memories.update(made.id, content="late", **given)
    with pytest.raises(anthropic.ConflictError):
        stores.memories.update(made.id, path="/top.md", memory_store_id=store)
    assert stores.memories.create(store, path="/a/one.md", content="again").id != made.id
    assert stores.memories.delete(made.id, memory_store_id=store).type == "memory_deleted"
    versions = list(stores.memory_versions.list(store, memory_id=made.id, limit=2))
    assert [one.operation for one in versions] == ["deleted", "modified", "created"]
    first = stores.memory_versions.retrieve(versions[2].id, memory_store_id=store)
    assert first.content == "one"
    redacted = stores.memory_versions.redact(first.id, memory_store_id=store)
    assert (redacted.path, redacted.redacted_at is not None) == (None, True)
    assert stores.memory_versions.retrieve(first.id, memory_store_id=store).content is None
    other = stores.create(name="other").id
    with pytest.raises(anthropic.NotFoundError):
        stores.memories.retrieve(made.id, memory_store_id=other)
    assert stores.archive(other).archived_at is not None
    with pytest.raises(anthropic.BadRequestError, match="archived"):
        stores.memories.create(other, path="/x", content="")
    assert stores.delete(store).type == "memory_store_deleted"
    with pytest.raises(anthropic.NotFoundError):
        stores.memories.list(store)


def test_a_system_message_accompanies_a_message(managed: Any, provider: Any) -> None:
    client = managed()
    session = begun(client)
    said: Any = {"type": "user.message", "content": [{"type": "text", "text": "hello"}]}
    system: Any = {"type": "system.message", "content": [{"type": "text", "text": "Be brief."}]}
    first, second = client.beta.sessions.events.send(session.id, events=[said, system]).data
    assert (first.type, second.type, second.content[0].text) == ("user.message", "system.message", "Be brief.")
    until_idle(client, session.id)
    shown = [one for one in client.beta.sessions.events.list(session.id) if one.type in ("user.message", second.type)]
    assert [(one.id, [part.text for part in one.content]) for one in shown] == [
        (first.id, ["hello"]),
        (second.id, ["Be brief."]),
    ]
    assert all(one.processed_at is not None for one in shown)
    for wrong in ([system, said], [said, system, said]):
        with pytest.raises(anthropic.BadRequestError, match=r"right behind a user\.message"):
            client.beta.sessions.events.send(session.id, events=wrong)
    deployed = client.beta.sessions.create(
        agent=session.agent.id, environment_id=session.environment_id, initial_events=[said, system]
    )
    until_idle(client, deployed.id)
    kept = [one.type for one in client.beta.sessions.events.list(deployed.id)]
    assert kept.count("system.message") == 1
