"""An account that attacks another through each door: what is another's answers as what does not exist."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.doors.managed_support import TOML, provider
from tests.server.accounts import Tenant, tenant
from tests.server.conftest import Served

from roost.agent.definition import Agent
from roost.sandbox.choose import Isolation
from roost.testing.scripted import ScriptedModel

__all__ = ["provider"]
_MCP = {"Accept": "application/json, text/event-stream", "MCP_Protocol_Version": "2025-11-25"}


@pytest.fixture
def two(serve: Any) -> tuple[Served, Tenant, Tenant]:
    served = serve()
    return served, tenant(served, "alice"), tenant(served, "bob")


def mcp(who: Tenant, method: str, **params: Any) -> Any:
    """Ask by the revision 2025-11-25, each time on a connection of its own."""
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "attacker", "version": "1"},
    }
    begun = who.post("/mcp", {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}, **_MCP)
    assert begun.status == 200, begun
    session = begun.headers.get("mcp-session-id", "")
    asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = who.post("/mcp", asked, Mcp_Session_Id=session, **_MCP)
    text = answer.body.decode()
    if "event-stream" in answer.headers.get("content-type", ""):
        lines = [line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:")]
        return json.loads([line for line in lines if line][-1])
    return json.loads(text)


def without(text: str, *names: str) -> str:
    for name in names:
        text = text.replace(name, "NAME")
    return text


def test_mcp(two: tuple[Served, Tenant, Tenant]) -> None:
    _, alice, bob = two
    session = alice.session(id="plan", title="secret plan")
    alice.say(session, "the code is 1234")
    listed = mcp(bob, "tools/call", name="sessions_list", arguments={})
    assert "alice" not in json.dumps(listed)
    assert "alice" not in json.dumps(mcp(bob, "resources/list"))
    tools = [one["name"] for one in mcp(bob, "tools/list")["result"]["tools"]]
    for name, more in (("session_read", {}), ("session_send", {"message": "x"}), ("session_cancel", {})):
        assert name in tools
        theirs, gone = (
            mcp(bob, "tools/call", name=name, arguments={"session": one, **more}) for one in (session, "alice.none")
        )
        assert without(json.dumps(theirs), session) == without(json.dumps(gone), "alice.none"), name
        assert "1234" not in json.dumps(theirs)
    theirs, gone = (
        mcp(bob, "resources/read", uri=f"roost://sessions/{one}/transcript") for one in (session, "alice.none")
    )
    assert without(json.dumps(theirs), session) == without(json.dumps(gone), "alice.none")
    mine = mcp(alice, "tools/call", name="sessions_list", arguments={})
    assert session in json.dumps(mine)
    heard = [one["event"] for one in alice.get(f"/sessions/{session}/events")["events"]]
    assert sum(one["type"] == "input.received" for one in heard) == 1


def test_a2a(two: tuple[Served, Tenant, Tenant]) -> None:
    _, alice, bob = two

    def say(who: Tenant, **more: Any) -> Any:
        message = {"messageId": "1", "role": "ROLE_USER", "parts": [{"text": "the code is 1234"}], **more}
        return who.post("/a2a/clerk/message:send", {"message": message}, A2A_Version="1.0")

    task = say(alice, contextId="ours").json["task"]
    same = say(bob, contextId="ours").json["task"]
    assert same["id"] != task["id"], "one name of a context is two conversations"
    missing = task["id"].replace(task["id"][-1], "9") if task["id"][-1] != "9" else task["id"][:-1] + "8"
    for verb, path in (("GET", ""), ("POST", ":cancel"), ("POST", ":subscribe"), ("GET", "/pushNotificationConfigs")):
        theirs, gone = (
            bob.request(verb, f"/a2a/clerk/tasks/{one}{path}", {} if verb == "POST" else None, A2A_Version="1.0")
            for one in (task["id"], missing)
        )
        assert theirs.status == gone.status == 404, (path, theirs, gone)
        assert "1234" not in theirs.body.decode()
    assert say(bob, taskId=task["id"]).status == 404
    listed = bob.request("GET", "/a2a/clerk/tasks", A2A_Version="1.0").json["tasks"]
    assert [one["id"] for one in listed] == [same["id"]]
    assert alice.request("GET", f"/a2a/clerk/tasks/{task['id']}", A2A_Version="1.0").status == 200


def test_ag_ui(two: tuple[Served, Tenant, Tenant]) -> None:
    served, alice, bob = two
    run = {
        "threadId": "ours",
        "runId": "1",
        "messages": [{"id": "1", "role": "user", "content": "hi"}],
        "state": {},
        "tools": [],
        "context": [],
        "forwardedProps": {},
    }
    for who in (alice, bob):
        answer = who.post("/ag-ui/clerk", run, Accept="text/event-stream")
        assert answer.status == 200, answer
        assert "RUN_FINISHED" in answer.body.decode()
    assert sorted(one["id"] for one in served.get("/sessions")["sessions"]) == ["alice.ours", "bob.ours"]


def test_anthropic(two: tuple[Served, Tenant, Tenant]) -> None:
    served, alice, bob = two
    said = {"model": "clerk", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
    for who in (alice, bob):
        for _ in range(2):
            answer = who.post("/v1/messages", said, Anthropic_Version="2023-06-01")
            assert answer.status == 200, answer
    owners = {one["id"].partition(".")[0] for one in served.get("/sessions")["sessions"]}
    assert owners == {"alice", "bob"}


def test_responses_and_conversations(two: tuple[Served, Tenant, Tenant]) -> None:
    _, alice, bob = two
    keyed = [who.post("/v1/conversations", {}, Idempotency_Key="k").json["id"] for who in (alice, bob)]
    assert keyed[0] != keyed[1]
    said = {"model": "clerk", "input": "the code is 1234", "conversation": keyed[0]}
    assert alice.post("/v1/responses", said).status == 200
    for path in ("", "/items"):
        assert bob.request("GET", f"/v1/conversations/{keyed[0]}{path}").status == 404
    assert bob.post("/v1/responses", {**said, "input": "what is it?"}).status == 404
    assert bob.request("DELETE", f"/v1/conversations/{keyed[0]}").status == 404


def test_openai_agents_widen_no_agent_of_the_home(serve: Any) -> None:
    isolation = Isolation(hosts=("*.example.com", "one.example.org"))
    agents = [Agent("clerk", model=ScriptedModel(lambda _: "yes")), Agent("web", isolation=isolation)]
    alice = tenant(serve(agents=agents), "alice")

    def begin(agent: dict[str, Any], **network: Any) -> int:
        hosted = {"type": "openai_hosted", **({"network": network} if network else {})}
        answer = alice.post("/v1/agents/sessions", {"agent": agent, "environment": hosted})
        assert answer.status in (200, 400), answer
        return answer.status

    assert begin({"model": "clerk"}) == 200
    assert begin({"model": "clerk"}, access="disabled") == 200
    assert begin({"model": "clerk"}, access="enabled") == 400
    assert begin({"model": "web"}, access="enabled") == 400
    for hosts, status in (
        (["a.example.com"], 200),
        (["*.example.com", "one.example.org"], 200),
        (["*.com"], 400),
        (["*example.com"], 400),
        (["a.example.com", "evil.test"], 400),
    ):
        assert begin({"model": "web"}, access="restricted", allowed_domains=hosts) == status, hosts
    assert begin({"model": "clerk", "tools": [{"type": "web_search"}]}) == 400
    assert begin({"model": "clerk", "multi_agent": {"enabled": True}}) == 400
    made = alice.post("/v1/agents", {"model": "clerk", "tools": [{"type": "web_search"}]})
    assert made.status == 400, made


def test_a_connection_of_mcp_is_its_accounts(two: tuple[Served, Tenant, Tenant]) -> None:
    _, alice, bob = two
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    begun = alice.post("/mcp", {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}, **_MCP)
    session = begun.headers["mcp-session-id"]
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    for who, status in ((bob, 404), (alice, 200)):
        assert who.post("/mcp", ping, Mcp_Session_Id=session, **_MCP).status == status
    assert bob.request("DELETE", "/mcp", Mcp_Session_Id=session, **_MCP).status == 404
    assert alice.post("/mcp", ping, Mcp_Session_Id=session, **_MCP).status == 200


_MANAGED = {"Anthropic_Version": "2023-06-01"}


@pytest.fixture
def labs(serve: Any, provider: Any, tmp_path: Any) -> tuple[Served, Tenant, Tenant]:
    """A daemon whose models a definition can name, with an agent of a file that reaches one host."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "models.toml").write_text(TOML.format(url=provider.url))
    web = Agent("web", model=ScriptedModel(lambda _: "yes"), isolation=Isolation(hosts=("*.example.com",)))
    served = serve(home=home, agents=[web])
    return served, tenant(served, "alice"), tenant(served, "bob")


def managed(who: Any, path: str, body: Any = None, *, verb: str = "") -> Any:
    verb = verb or ("GET" if body is None else "POST")
    return who.request(verb, f"/v1/{path}", body, **_MANAGED)


def made(who: Any, room: str, **body: Any) -> str:
    answer = managed(who, room, body)
    assert answer.status == 200, answer
    return answer.json["id"]


def hosts_of(served: Served, session: str) -> list[str]:
    """Return the hosts of the definition that a session pins."""
    events = served.get(f"/sessions/{session}/events")["events"]
    (spec,) = (one["event"]["spec"] for one in events if one["event"]["type"] == "session.created")
    return spec.get("isolation", {}).get("hosts", [])


def test_managed_agents_of_another_do_not_exist(labs: tuple[Served, Tenant, Tenant]) -> None:
    served, alice, bob = labs
    agent = made(alice, "agents", name="a", model="one/m", system="the code is 1234")
    environment = made(alice, "environments", name="e")
    vault = made(alice, "vaults", display_name="v")
    store = made(alice, "memory_stores", name="m")
    memory = made(alice, f"memory_stores/{store}/memories", path="/a", content="the code is 1234")
    message = {"type": "user.message", "content": [{"type": "text", "text": "the code is 1234"}]}
    session = made(alice, "sessions", agent=agent, environment_id=environment, initial_events=[message])
    assert session.startswith("alice.")
    order = {"agent": agent, "environment_id": environment, "initial_events": [message]}
    deployment = made(alice, "deployments", name="d", **order)
    run = made(alice, f"deployments/{deployment}/run")
    one = f"sessions/{session}"
    named = (session, agent, environment, vault, store, memory, deployment, run)
    for verb, path, body in (
        ("GET", f"agents/{agent}", None),
        ("POST", f"agents/{agent}", {"name": "b"}),
        ("POST", f"agents/{agent}/archive", {}),
        ("GET", f"agents/{agent}/versions", None),
        ("GET", f"environments/{environment}", None),
        ("POST", f"environments/{environment}", {"name": "b"}),
        ("DELETE", f"environments/{environment}", None),
        ("GET", f"vaults/{vault}", None),
        ("DELETE", f"vaults/{vault}", None),
        ("GET", f"vaults/{vault}/credentials", None),
        ("GET", f"memory_stores/{store}", None),
        ("DELETE", f"memory_stores/{store}", None),
        ("GET", f"memory_stores/{store}/memories", None),
        ("GET", f"memory_stores/{store}/memories/{memory}", None),
        ("POST", f"memory_stores/{store}/memories", {"path": "/b"}),
        ("GET", f"memory_stores/{store}/memory_versions", None),
        ("GET", one, None),
        ("POST", one, {"title": "mine"}),
        ("POST", f"{one}/archive", {}),
        ("DELETE", one, None),
        ("GET", f"{one}/events", None),
        ("POST", f"{one}/events", {"events": [message]}),
        ("GET", f"{one}/events/stream", None),
        ("GET", f"{one}/threads", None),
        ("GET", f"{one}/threads/{session}/events", None),
        ("GET", f"{one}/resources", None),
        ("GET", f"deployments/{deployment}", None),
        ("POST", f"deployments/{deployment}", {"name": "b"}),
        ("POST", f"deployments/{deployment}/run", {}),
        ("POST", f"deployments/{deployment}/archive", {}),
        ("GET", f"deployment_runs/{run}", None),
    ):
        theirs = managed(bob, path, body, verb=verb)
        nowhere = path
        for name in named:
            nowhere = nowhere.replace(name, "none")
        gone = managed(bob, nowhere, body, verb=verb)
        assert theirs.status == gone.status == 404, (verb, path, theirs, gone)
        said = [without(each.json["error"]["message"], *named, "none") for each in (theirs, gone)]
        assert said[0] == said[1], (verb, path)
        assert "1234" not in theirs.body.decode()
    for room in ("agents", "environments", "vaults", "memory_stores", "sessions", "deployments", "deployment_runs"):
        assert managed(bob, room).json["data"] == [], room
        assert len(managed(alice, room).json["data"]) == (2 if room == "sessions" else 1), room
    for order in (
        {"agent": agent, "environment_id": made(bob, "environments", name="e")},
        {"agent": "web", "environment_id": environment},
        {"agent": "web", "environment_id": made(bob, "environments", name="e"), "vault_ids": [vault]},
    ):
        assert managed(bob, "sessions", order).status == 404, order
    assert managed(served, f"deployments/{deployment}/run", {}).status == 400, "its session would be the home's"


def test_managed_agents_of_an_account_reach_no_further(labs: tuple[Served, Tenant, Tenant]) -> None:
    served, alice, _ = labs
    agent = made(alice, "agents", name="a", model="one/m", tools=[{"type": "agent_toolset_20260401"}])
    web = {"type": "cloud", "networking": {"type": "limited", "allowed_hosts": ["a.example.com"]}}
    everything = {"type": "cloud", "networking": {"type": "unrestricted"}}
    environments = [made(alice, "environments", name="e", config=one) for one in (web, everything, None)]
    theirs = [managed(alice, "sessions", {"agent": agent, "environment_id": one}) for one in environments]
    assert [one.status for one in theirs] == [400, 200, 200]
    assert "may not reach 'a.example.com'" in theirs[0].json["error"]["message"]
    for one in theirs[1:]:
        assert hosts_of(served, one.json["id"]) == []
    ours = [managed(alice, "sessions", {"agent": "web", "environment_id": one}) for one in environments]
    assert [hosts_of(served, one.json["id"]) for one in ours] == [
        ["a.example.com"],
        ["*.example.com"],
        ["*.example.com"],
    ]
    assert [one["id"] for one in managed(alice, "sessions").json["data"]] == [
        one.json["id"] for one in reversed([*theirs[1:], *ours])
    ], "a refused session leaves no record"


def test_managed_agents_within_the_scope_of_a_token(labs: tuple[Served, Tenant, Tenant]) -> None:
    served, alice, _ = labs
    agent = made(alice, "agents", name="a", model="one/m")
    environment = made(alice, "environments", name="e")
    order = {"agent": agent, "environment_id": environment}
    web = tenant(served, "alice", token={"agents": ["web"]})
    assert managed(web, "agents", {"name": "b", "model": "one/m"}).status == 403
    assert managed(web, "sessions", order).status == 403
    assert managed(web, "sessions", {**order, "agent": "web"}).status == 200
    own = tenant(served, "alice", token={"agents": ["agent_*"]})
    assert managed(own, "agents", {"name": "b", "model": "one/m"}).status == 403, "it may not choose a model"
    assert managed(own, "sessions", order).status == 403
    assert managed(own, "sessions", {**order, "agent": "web"}).status == 404
    reader = tenant(served, "alice", token={"role": "viewer"})
    assert managed(reader, f"agents/{agent}").status == 200
    for path, body in (("agents", {"name": "b", "model": "one/m"}), ("sessions", order), ("environments", {})):
        assert managed(reader, path, body).status == 403, path
    assert len(managed(alice, "sessions").json["data"]) == 1


def test_agents_outside_the_scope_of_a_token_do_not_exist_for_it(labs: tuple[Served, Tenant, Tenant]) -> None:
    """It could read their instructions, rewrite them, and delete them."""
    served, alice, _ = labs
    mine, theirs = (made(alice, "agents", name=name, model="one/m", system="secret") for name in ("a", "b"))
    ours = alice.post("/v1/agents", {"model": "one/m", "instructions": "secret"}).json["id"]
    web = alice.post("/v1/agents", {"model": "web"}).json["id"]
    token = tenant(served, "alice", token={"agents": [mine, "web", "model:*"]})
    assert managed(token, f"agents/{mine}").status == 200
    for path, body in (("", None), ("/versions", None), ("", {"system": "x"}), ("/archive", {})):
        assert managed(token, f"agents/{theirs}{path}", body).status == 404, path
    roster = {"multiagent": {"type": "coordinator", "agents": [theirs]}}
    assert managed(token, f"agents/{mine}", roster).status == 404
    assert [one["id"] for one in managed(token, "agents").json["data"]] == [mine]
    for verb, body in (("GET", None), ("POST", {"instructions": "x"}), ("DELETE", None)):
        assert token.request(verb, f"/v1/agents/{ours}", body).status == 404, verb
    assert token.request("POST", f"/v1/agents/{web}", {"name": "the web's"}).status == 200, "it is used as web"
    assert [one["id"] for one in token.get("/v1/agents")["data"]] == [web]
    assert token.post("/v1/agents", {"model": "one/m"}).status == 403
    assert managed(alice, f"agents/{theirs}").json["version"] == 1
    assert alice.get(f"/v1/agents/{ours}")["instructions"] == "secret"
