"""Credentials of vaults and MCP servers of definitions, by the libraries of both labs: a token is used where it
belongs, is kept sealed, and is never shown again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import uvicorn
from tests.doors.test_managed import say, until_idle
from tests.mcp_servers.test_sign_in import Guarded
from tests.server.accounts import tenant
from tests.server.conftest import Served

from roost.features.credentials import credentials
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

READ = (Reply(calls=(Call("files__read", {}),)), Reply(text="{result}"))
SHOW = (Reply(calls=(Call("shell", {"command": "echo =$SERVICE_KEY="}),)), Reply(text="{result}"))
SCRIPT = Script(rules=(Rule(when="read it", answers=READ), Rule(when="show it", answers=SHOW)))


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    """An MCP server that wants a token, and repeats it."""
    made = Guarded()
    server = uvicorn.Server(uvicorn.Config(made.app, port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    made.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield made
    server.should_exit = True
    thread.join()


@pytest.fixture
def managed(served: Served) -> Iterator[Any]:
    with anthropic.Anthropic(base_url=served.url, api_key=served.token, max_retries=0) as client:
        yield client


@pytest.fixture
def agents(served: Served) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=served.token, max_retries=0) as client:
        yield client.beta.agents


def defined(client: Any, url: str, **toolset: Any) -> Any:
    tools = [{"type": "mcp_toolset", "mcp_server_name": "files", **toolset}]
    servers = [{"type": "url", "name": "files", "url": url}]
    return client.beta.agents.create(name="a", model="one/m", mcp_servers=servers, tools=tools)


def stored(served: Served, secret: str) -> bool:
    """Whether a file of the home holds a text."""
    files = [one for one in Path(served.home).rglob("*") if one.is_file()]
    return any(secret.encode() in one.read_bytes() for one in files)


ALWAYS = {"default_config": {"permission_policy": {"type": "always_allow"}}}


def test_a_token_of_a_vault_opens_an_mcp_server(served: Served, managed: Any, guarded: Guarded) -> None:
    guarded.valid.add("access-token-of-alice")
    vault = managed.beta.vaults.create(display_name="v")
    auth = {"type": "static_bearer", "mcp_server_url": f"{guarded.url}/mcp/", "token": "access-token-of-alice"}
    made = managed.beta.vaults.credentials.create(vault.id, auth=auth, display_name="files")
    assert made.auth.type == "static_bearer"
    agent = defined(managed, f"{guarded.url}/mcp", **ALWAYS)
    assert agent.mcp_servers[0].name == "files"
    environment = managed.beta.environments.create(name="e")
    session = managed.beta.sessions.create(agent=agent.id, environment_id=environment.id, vault_ids=[vault.id])
    say(managed, session.id, "read it")
    heard = until_idle(managed, session.id)
    (used,) = (one for one in heard if one.type == "agent.mcp_tool_use")
    assert (used.mcp_server_name, used.name, used.evaluated_permission) == ("files", "read", "allow")
    (result,) = (one for one in heard if one.type == "agent.mcp_tool_result")
    assert result.mcp_tool_use_id == used.id
    assert result.content[0].text == "you sent Bearer [token:files]"
    without = managed.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    say(managed, without.id, "read it")
    heard = until_idle(managed, without.id)
    assert [one.is_error for one in heard if one.type == "agent.mcp_tool_result"] == [True], "it is offered nothing"
    (error,) = (one.error for one in heard if one.type == "session.error")
    assert error.mcp_server_name == "files"
    managed.beta.vaults.credentials.archive(made.id, vault_id=vault.id)
    say(managed, session.id, "read it")
    again = [one for one in until_idle(managed, session.id) if one.type == "agent.mcp_tool_result"]
    assert all(one.is_error for one in again), "from its next turn on it lacks what was archived"
    shown = [made, managed.beta.vaults.credentials.retrieve(made.id, vault_id=vault.id)]
    shown += managed.beta.vaults.credentials.list(vault.id, include_archived=True)
    assert not any("access-token-of-alice" in one.to_json() for one in shown)
    assert not stored(served, "access-token-of-alice")


def test_each_policy_of_a_server_tool(managed: Any, guarded: Guarded) -> None:
    guarded.valid.add("access-token-0")
    vault = managed.beta.vaults.create(display_name="v")
    auth = {"type": "static_bearer", "mcp_server_url": f"{guarded.url}/mcp", "token": "access-token-0"}
    managed.beta.vaults.credentials.create(vault.id, auth=auth)
    environment = managed.beta.environments.create(name="e")
    allow, ask = ({"permission_policy": {"type": how}} for how in ("always_allow", "always_ask"))
    for toolset, outcome in (
        ({}, "requires_action"),
        ({"configs": [{"name": "read", **allow}]}, "end_turn"),
        ({"default_config": allow, "configs": [{"name": "read", **ask}]}, "requires_action"),
        ({"default_config": {"enabled": False, **allow}, "configs": [{"name": "read", "enabled": True}]}, "end_turn"),
        ({"configs": [{"name": "read", "enabled": False}]}, "unknown"),
    ):
        agent = defined(managed, f"{guarded.url}/mcp", **toolset)
        session = managed.beta.sessions.create(agent=agent.id, environment_id=environment.id, vault_ids=[vault.id])
        say(managed, session.id, "read it")
        heard = until_idle(managed, session.id)
        results = [one for one in heard if one.type == "agent.mcp_tool_result"]
        if outcome == "unknown":
            assert [one.is_error for one in results] != [False], toolset
            continue
        assert heard[-1].stop_reason.type == outcome, (toolset, heard)
        assert len(results) == (outcome == "end_turn"), toolset
        if outcome == "requires_action":
            (asked,) = heard[-1].stop_reason.event_ids
            yes = {"type": "user.tool_confirmation", "tool_use_id": asked, "result": "allow"}
            managed.beta.sessions.events.send(session.id, events=[yes])
            (result,) = (one for one in until_idle(managed, session.id) if one.type == "agent.mcp_tool_result")
            assert result.is_error is False


def test_a_limited_environment_admits_servers_that_it_names(managed: Any, guarded: Guarded) -> None:
    agent = defined(managed, f"{guarded.url}/mcp")
    for network, fits in (
        ({"type": "limited"}, False),
        ({"type": "limited", "allow_mcp_servers": True}, True),
        ({"type": "limited", "allowed_hosts": ["127.0.0.1"]}, True),
        ({"type": "unrestricted"}, True),
    ):
        environment = managed.beta.environments.create(name="e", config={"type": "cloud", "networking": network})
        if fits:
            managed.beta.sessions.create(agent=agent.id, environment_id=environment.id)
            continue
        with pytest.raises(anthropic.BadRequestError, match="allow_mcp_servers"):
            managed.beta.sessions.create(agent=agent.id, environment_id=environment.id)


def test_an_expired_token_is_renewed_and_kept(served: Served, managed: Any, guarded: Guarded) -> None:
    vault = managed.beta.vaults.create(display_name="v")
    refresh = {
        "client_id": "roost-1",
        "refresh_token": "refresh-token-0",
        "token_endpoint": f"{guarded.url}/token",
        "token_endpoint_auth": {"type": "client_secret_post", "client_secret": "client-secret-0"},
    }
    auth = {"type": "mcp_oauth", "mcp_server_url": f"{guarded.url}/mcp", "access_token": "expired-token-0"}
    made = managed.beta.vaults.credentials.create(vault.id, auth={**auth, "refresh": refresh})
    checked = managed.beta.vaults.credentials.mcp_oauth_validate(made.id, vault_id=vault.id)
    assert (checked.status, checked.has_refresh_token) == ("valid", True)
    assert guarded.renewed == 1
    kept = managed.beta.vaults.credentials.retrieve(made.id, vault_id=vault.id)
    assert kept.auth.expires_at is not None, "the new token has an end"
    assert managed.beta.vaults.credentials.mcp_oauth_validate(made.id, vault_id=vault.id).status == "valid"
    assert guarded.renewed == 1, "the new token was kept"
    later = {"type": "mcp_oauth", "access_token": "wrong-token-0", "refresh": {"refresh_token": "refresh-token-1"}}
    changed = managed.beta.vaults.credentials.update(made.id, vault_id=vault.id, auth=later)
    assert changed.auth.refresh.token_endpoint == f"{guarded.url}/token"
    for secret in ("expired-token-0", "refresh-token-", "client-secret-0", "access-token-1", "wrong-token-0"):
        assert secret not in changed.to_json()
        assert not stored(served, secret), secret
    other = {"type": "static_bearer", "token": "x"}
    with pytest.raises(anthropic.BadRequestError, match="keeps it"):
        managed.beta.vaults.credentials.update(made.id, vault_id=vault.id, auth=other)
    with pytest.raises(anthropic.ConflictError, match="already"):
        managed.beta.vaults.credentials.create(vault.id, auth=auth)


def test_a_command_sees_a_handle(served: Served, managed: Any) -> None:
    vault = managed.beta.vaults.create(display_name="v")
    secret = {
        "type": "environment_variable",
        "secret_name": "SERVICE_KEY",
        "secret_value": "the-service-key-0",
        "networking": {"type": "limited", "allowed_hosts": ["api.example.com"]},
        "injection_location": {"header": True, "body": False},
    }
    made = managed.beta.vaults.credentials.create(vault.id, auth=secret)
    assert made.auth.networking.allowed_hosts == ["api.example.com"]
    for name in ("PATH", "LD_PRELOAD", "https_proxy", "A B", "1A"):
        with pytest.raises(anthropic.BadRequestError, match="secret_name"):
            managed.beta.vaults.credentials.create(vault.id, auth={**secret, "secret_name": name})
    tools = [{"type": "agent_toolset_20260401"}]
    agent = managed.beta.agents.create(name="a", model="one/m", tools=tools)
    config = {"type": "cloud", "networking": {"type": "limited", "allowed_hosts": ["api.example.com"]}}
    environment = managed.beta.environments.create(name="e", config=config)
    session = managed.beta.sessions.create(agent=agent.id, environment_id=environment.id, vault_ids=[vault.id])
    say(managed, session.id, "show it")
    said = [one.content[0].text for one in until_idle(managed, session.id) if one.type == "agent.message"]
    assert "={{secret:vault.SERVICE_KEY}}=" in said[-1]
    managed.beta.vaults.delete(vault.id)
    assert not stored(served, "the-service-key-0")
    say(managed, session.id, "show it")
    said = [one.content[0].text for one in until_idle(managed, session.id) if one.type == "agent.message"]
    assert "==" in said[-1], "a vault that is gone gives nothing to the next turn"


def test_the_agents_api_has_the_same_credentials(served: Served, agents: Any, guarded: Guarded) -> None:
    guarded.valid.add("access-token-of-bob")
    vault = agents.vaults.create(name="v")
    auth = {"type": "static_bearer", "mcp_server_url": f"{guarded.url}/mcp", "token": "access-token-of-bob"}
    made = agents.vaults.credentials.create(vault.id, name="files", auth=auth, metadata={"a": "b"})
    assert made.metadata == {"a": "b"}
    transport = {"type": "http", "server_url": f"{guarded.url}/mcp"}
    server = {"type": "mcp", "server_label": "files", "transport": transport, "credential_id": made.id}
    agent = agents.create(model="one/m", tools=[server])
    assert agent.tools[0].server_label == "files"
    with pytest.raises(openai.BadRequestError, match="not the first credential"):
        agents.sessions.create(agent_id=agent.id, environment={"type": "none"}, input="read it")
    with agents.sessions.create(
        agent_id=agent.id, environment={"type": "none"}, input="read it", vault_ids=[vault.id], stream=True
    ) as stream:
        session = next(one.session for one in stream if one.type == "agent.session.requires_action")
    (action,) = session.required_actions
    assert (action.request.server_label, action.request.name) == ("files", "read")
    yes = {
        "type": "agent.session.input.mcp_approval_request_result",
        "request_id": action.request_id,
        "response": {"type": "mcp_tool_call", "decision": "approve"},
    }
    agents.sessions.events.create(session.id, events=[yes])
    while (now := agents.sessions.retrieve(session.id)).status != "idle":
        time.sleep(0.05)
    assert now.vault_ids == [vault.id]
    (call,) = (one for one in agents.sessions.items.list(session.id) if one.type == "mcp_call")
    assert (call.server_label, call.name, call.output) == ("files", "read", "you sent Bearer [token:files]")
    rotated = agents.vaults.credentials.update(
        made.id, vault_id=vault.id, auth={"type": "static_bearer", "token": "access-token-new"}
    )
    assert rotated.updated_at >= made.created_at
    assert [one.id for one in agents.vaults.credentials.list(vault.id)] == [made.id]
    assert not stored(served, "access-token-of-bob")
    assert agents.vaults.credentials.delete(made.id, vault_id=vault.id).deleted
    with pytest.raises(openai.NotFoundError):
        agents.vaults.credentials.retrieve(made.id, vault_id=vault.id)
    for headers in ({"Authorization": "x"}, {"X-Api-Key": "y"}):
        with pytest.raises(openai.BadRequestError, match="keep it in a vault"):
            agents.create(model="one/m", tools=[{**server, "transport": {**transport, "headers": headers}}])


def test_no_account_uses_what_is_another_ones(served: Served, guarded: Guarded) -> None:
    """Neither a token, nor a sign-in of the home, nor its secrets, nor an address of the daemon's own network."""
    alice, bob = tenant(served, "alice"), tenant(served, "bob")
    asked = {"Anthropic_Version": "2023-06-01"}

    def post(who: Any, path: str, body: Any, status: int = 200) -> Any:
        answer = who.request("POST", f"/v1/{path}", body, **asked)
        assert answer.status == status, answer
        return answer.json

    vault = post(alice, "vaults", {"display_name": "v"})["id"]
    auth = {"type": "static_bearer", "mcp_server_url": f"{guarded.url}/mcp", "token": "access-token-0"}
    credential = post(alice, f"vaults/{vault}/credentials", {"auth": auth})["id"]
    for verb, path in (
        ("GET", ""),
        ("POST", ""),
        ("DELETE", ""),
        ("POST", "/archive"),
        ("POST", "/mcp_oauth_validate"),
    ):
        theirs = bob.request(verb, f"/v1/vaults/{vault}/credentials/{credential}{path}", {}, **asked)
        assert theirs.status == 404, (verb, path)
    own = post(bob, "vaults", {"display_name": "v"})["id"]
    assert bob.request("GET", f"/v1/vaults/{own}/credentials/{credential}", **asked).status == 404
    agent = post(
        bob,
        "agents",
        {
            "name": "a",
            "model": "one/m",
            "mcp_servers": [{"type": "url", "name": "files", "url": f"{guarded.url}/mcp"}],
            "tools": [{"type": "mcp_toolset", "mcp_server_name": "files", **ALWAYS}],
        },
    )["id"]
    environment = post(bob, "environments", {"name": "e"})["id"]
    order = {"agent": agent, "environment_id": environment}
    post(bob, "sessions", {**order, "vault_ids": [vault]}, 404)
    session = post(bob, "sessions", order)["id"]
    message = {"type": "user.message", "content": [{"type": "text", "text": "read it"}]}
    post(bob, f"sessions/{session}/events", {"events": [message]})
    while bob.request("GET", f"/v1/sessions/{session}", **asked).json["status"] != "idle":
        time.sleep(0.05)
    events = bob.request("GET", f"/v1/sessions/{session}/events", **asked).json["data"]
    (error,) = (one["error"] for one in events if one["type"] == "session.error")
    assert "not a public address" in error["message"]


def test_what_no_session_could_read_is_refused(managed: Any, agents: Any) -> None:
    """A port that is none ended each session of the vault, and a date behind all dates its lists."""
    theirs, ours = managed.beta.vaults.create(display_name="v"), agents.vaults.create(name="v")
    for url in ("https://files.example:99999/", "https://files.example:x/", "https://files.example:0/", "https://[/"):
        auth = {"type": "static_bearer", "mcp_server_url": url, "token": "access-token-0"}
        with pytest.raises(anthropic.BadRequestError, match="mcp_server_url"):
            managed.beta.vaults.credentials.create(theirs.id, auth=auth)
        with pytest.raises(openai.BadRequestError, match="mcp_server_url"):
            agents.vaults.credentials.create(ours.id, auth=auth, name="files")
        with pytest.raises(anthropic.BadRequestError, match="url"):
            defined(managed, url)
    auth = {"type": "mcp_oauth", "mcp_server_url": "https://files.example", "access_token": "access-token-0"}
    for ends in ("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.9999999Z"):
        with pytest.raises(anthropic.BadRequestError, match="expires_at"):
            managed.beta.vaults.credentials.create(theirs.id, auth={**auth, "expires_at": ends})
        with pytest.raises(openai.BadRequestError, match="expires_at"):
            agents.vaults.credentials.create(ours.id, auth={**auth, "expires_at": ends}, name="files")
    transport = {"type": "http", "server_url": "https://files.example/mcp"}
    servers = [{"type": "mcp", "server_label": f"s{at}", "transport": transport} for at in range(21)]
    with pytest.raises(openai.BadRequestError, match="at most 20 MCP servers"):
        agents.create(model="one/m", tools=servers)
    assert not list(managed.beta.vaults.credentials.list(theirs.id))
    assert not list(agents.vaults.credentials.list(ours.id))


def test_a_key_makes_one_vault_and_one_credential(agents: Any) -> None:
    """A request for something else with the same key was answered as if it had been done."""
    key = {"Idempotency-Key": "k"}
    vault = agents.vaults.create(name="v", extra_headers=key)
    assert agents.vaults.create(name="v", extra_headers=key).id == vault.id
    with pytest.raises(openai.ConflictError, match="another vault"):
        agents.vaults.create(name="w", extra_headers=key)
    auth = {"type": "static_bearer", "mcp_server_url": "https://files.example/mcp", "token": "access-token-0"}
    made = agents.vaults.credentials.create(vault.id, name="files", auth=auth, extra_headers=key)
    assert agents.vaults.credentials.create(vault.id, name="files", auth=auth, extra_headers=key).id == made.id
    for other in ({"auth": {**auth, "token": "access-token-1"}, "name": "files"}, {"auth": auth, "name": "others"}):
        with pytest.raises(openai.ConflictError, match="another credential"):
            agents.vaults.credentials.create(vault.id, extra_headers=key, **other)
    assert [one.id for one in agents.vaults.credentials.list(vault.id)] == [made.id]


def test_a_server_that_fails_repeats_no_token_into_the_log(served: Served, managed: Any, guarded: Guarded) -> None:
    guarded.valid.add("access-token-of-alice")
    guarded.says = "out of order for"
    vault = managed.beta.vaults.create(display_name="v")
    auth = {"type": "static_bearer", "mcp_server_url": f"{guarded.url}/mcp", "token": "access-token-of-alice"}
    managed.beta.vaults.credentials.create(vault.id, auth=auth)
    agent = defined(managed, f"{guarded.url}/mcp", **ALWAYS)
    environment = managed.beta.environments.create(name="e")
    session = managed.beta.sessions.create(agent=agent.id, environment_id=environment.id, vault_ids=[vault.id])
    say(managed, session.id, "hello")
    (error,) = (one.error for one in until_idle(managed, session.id) if one.type == "session.error")
    assert "out of order for Bearer [token:files]" in error.message
    assert not stored(served, "access-token-of-alice")


def test_a_token_that_is_good_for_ever_has_a_date(managed: Any, guarded: Guarded) -> None:
    """Milliseconds in the place of seconds made each list of the vault a 500."""
    guarded.seconds = 10**15
    vault = managed.beta.vaults.create(display_name="v")
    refresh = {
        "client_id": "roost-1",
        "refresh_token": "refresh-token-0",
        "token_endpoint": f"{guarded.url}/token",
        "token_endpoint_auth": {"type": "none"},
    }
    auth = {"type": "mcp_oauth", "mcp_server_url": f"{guarded.url}/mcp", "access_token": "expired-token-0"}
    made = managed.beta.vaults.credentials.create(vault.id, auth={**auth, "refresh": refresh})
    assert managed.beta.vaults.credentials.mcp_oauth_validate(made.id, vault_id=vault.id).status == "valid"
    (kept,) = managed.beta.vaults.credentials.list(vault.id)
    assert kept.auth.expires_at.year < 9999


def test_an_account_keeps_so_many_credentials(
    served: Served, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "ACCOUNT_MOST", 1)
    alice = tenant(served, "alice")
    asked = {"Anthropic_Version": "2023-06-01"}
    vault = alice.request("POST", "/v1/vaults", {"display_name": "v"}, **asked).json["id"]
    made = []
    for number in range(2):
        auth = {"type": "static_bearer", "mcp_server_url": f"{guarded.url}/{number}", "token": "t"}
        made.append(alice.request("POST", f"/v1/vaults/{vault}/credentials", {"auth": auth}, **asked))
    assert [one.status for one in made] == [200, 413]
    assert "delete some first" in made[1].json["error"]["message"]
