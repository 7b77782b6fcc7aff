"""Accounts: their tokens, roles, limits, and what one account sees of another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import msgspec
import pytest
from tests.server.accounts import Tenant, tenant
from tests.server.conftest import Serve, Served

from roost import registry
from roost.agent.definition import Agent, Children
from roost.authority import ACCOUNT, RIGHTS, ROLES, Authority, account_of, acting, owned_labels, user_in
from roost.doors.gateway import meta_of
from roost.doors.managed.vaults import Vaults
from roost.errors import NotFound, TooLarge
from roost.features.accounts import directory
from roost.features.accounts.audit import entry_of
from roost.features.accounts.duties import AccountDuties
from roost.features.accounts.records import TokenRecord
from roost.features.memory.duties import MemoryDuties
from roost.features.uploads import uploads
from roost.features.uploads.duties import UploadDuties
from roost.local.embed.base import Embedding
from roost.log.content import Usage
from roost.log.documents import DocumentQuery
from roost.memory.index import Near
from roost.memory.rights import Rights
from roost.models.profile import Price
from roost.models.request import Profile
from roost.policy.vault import SecretSource, Vault
from roost.server import admission, sessions
from roost.server.door import right_of
from roost.testing.scripted import Answer as Said
from roost.testing.scripted import Call, ScriptedModel, by_step
from roost.tools.base import ToolContext
from roost.tools.function import tool


@pytest.fixture
def served(serve: Serve) -> Served:
    return serve()


# Every operation and every route of a door states what it needs


def test_every_operation_states_its_right() -> None:
    modules = [import_module(f"roost.api.{name}") for name in ("configuration", "inputs", "models", "node", "sessions")]
    found = [
        one.operation
        for module in (*modules, *registry.load("api"), import_module("roost.server.metrics"))
        for interface in vars(module).values()
        for one in (vars(interface).values() if isinstance(interface, type) else [interface])
        if hasattr(one, "operation")
    ]
    assert len(found) > 60
    silent = [f"{one.method} {one.path}" for one in found if not one.open and one.right not in RIGHTS]
    assert not silent, f"say what a caller needs (`right=` of the row), or only the owner may call: {silent}"


def test_every_route_of_a_door_states_its_right(serve: Serve) -> None:
    served = serve()
    silent = [
        f"{door.name}: {method} {path}"
        for door in registry.doors()
        for path, methods in door.routes(_Api.of(served)).items()
        for method, handler in methods.items()
        if right_of(handler) is None
    ]
    assert not silent, f"mark the handler with `@needs(...)`, or only the owner may call: {silent}"


def test_a_route_that_states_no_right_answers_only_the_owner(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """No route of a door is silent, so one is made so here."""
    alice = tenant(served, "alice", role="operator")
    asked = {"Anthropic_Version": "2023-06-01"}
    assert alice.request("GET", "/v1/vaults", **asked).status == 200
    monkeypatch.delattr(Vaults.list, "right")
    assert alice.request("GET", "/v1/vaults", **asked).status == 403
    assert served.request("GET", "/v1/vaults", **asked).status == 200


class _Api:
    """The handle of a daemon's application, made again beside it."""

    @staticmethod
    def of(served: Served) -> Any:
        from roost.server.app_state import Api

        async def make() -> Api:
            return Api(served.daemon._runtime, lambda: None)

        return asyncio.run_coroutine_threadsafe(make(), served.loop).result(60)


# Tokens


def test_a_token_is_shown_once_and_stored_as_a_digest(served: Served) -> None:
    alice = tenant(served, "alice")
    assert alice.token.startswith("roost_")
    listed = served.get("/tokens?account=alice")["tokens"]
    assert [one["id"] for one in listed] == [alice.id]
    assert "token" not in listed[0]
    secret = alice.token.rpartition("_")[2].encode()
    for path in filter(Path.is_file, Path(served.home).glob("roost.db*")):
        assert secret not in path.read_bytes(), f"{path.name} holds the secret"


@pytest.mark.parametrize("header", ["Authorization", "X-Api-Key"])
def test_a_token_counts_wherever_a_door_takes_one(served: Served, header: str) -> None:
    alice = tenant(served, "alice")
    sent = {"Authorization": f"Bearer {alice.token}"} if header == "Authorization" else {"X-Api-Key": alice.token}
    connection = served.connect()
    connection.request("GET", "/v1/models", headers=sent)
    answer = connection.getresponse()
    assert answer.status == 200
    answer.read()
    connection.close()


def test_tokens_that_are_none(served: Served) -> None:
    alice = tenant(served, "alice")
    id, secret = alice.token.removeprefix("roost_").split("_")
    for wrong in (
        f"roost_{id}_{'0' * len(secret)}",
        f"roost_{'0' * len(id)}_{secret}",
        f"roost_{id}_{secret}0",
        f"roost_{id}",
        alice.id,
        "roost__",
        "",
        "x" * 10_000,
        "a.b.c",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
    ):
        answer = Tenant(served, wrong).request("GET", "/sessions")
        assert (answer.status, answer.code) == (401, "unauthorized"), wrong


def test_a_revoked_token_is_refused_and_its_stream_ends(served: Served) -> None:
    alice = tenant(served, "alice")
    other = Tenant(served, served.post("/accounts/alice/tokens", {}).json["token"])
    session = alice.session()
    with alice.stream("GET", f"/sessions/{session}/events?after=0") as stream:
        events = iter(stream)
        assert next(events).kind == "session.created"
        assert served.request("DELETE", f"/tokens/{alice.id}").json["state"] == "revoked"
        assert [event.kind for event in events][-1] == "problem"
    assert alice.request("GET", "/sessions").status == 401
    assert [one["id"] for one in other.get("/sessions")["sessions"]] == [session]


def test_a_token_expires_and_its_stream_ends(served: Served) -> None:
    alice = tenant(served, "alice", token={"days": 3.0 / 86_400})
    while alice.request("GET", "/sessions").status == 200:
        time.sleep(0.1)
    assert served.get("/tokens")["tokens"][0]["state"] == "expired"


def test_a_removed_account_takes_its_tokens_along_and_a_new_one_of_its_name_has_none(served: Served) -> None:
    alice = tenant(served, "alice")
    assert served.request("DELETE", "/accounts/alice").status == 204
    assert alice.request("GET", "/me").status == 401
    again = tenant(served, "alice")
    assert alice.request("GET", "/me").status == 401
    assert again.get("/me")["account"] == "alice"
    assert served.request("PUT", "/accounts/alice", {"enabled": False}).status == 200
    assert again.request("GET", "/me").status == 401


# Roles


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_do_what_its_rights_say(served: Served, role: str) -> None:
    who = tenant(served, "alice", role=role)
    may = RIGHTS[: ROLES.index(role) + 1]
    for method, path, body, right in (
        ("GET", "/sessions", None, "read"),
        ("GET", "/agents", None, "read"),
        ("GET", "/costs", None, "read"),
        ("POST", "/sessions", {"agent": "clerk"}, "use"),
        ("POST", "/v1/chat/completions", {"model": "clerk", "messages": [{"role": "user", "content": "hi"}]}, "use"),
        ("POST", "/ag-ui/clerk", {}, "use"),
        ("GET", "/metrics", None, "operate"),
        ("GET", "/nodes", None, "operate"),
        ("GET", "/config", None, "operate"),
        ("POST", "/reload", None, "operate"),
        ("GET", "/accounts", None, "administer"),
        ("GET", "/tokens", None, "administer"),
        ("GET", "/audit", None, "administer"),
        ("PUT", "/accounts/mallory", {"role": "owner"}, "administer"),
    ):
        answer = who.request(method, path, body)
        assert (answer.status == 403) == (right not in may), (method, path, answer)


def test_a_viewer_writes_through_no_door(served: Served) -> None:
    session = tenant(served, "alice").session()
    viewer = Tenant(served, served.post("/accounts/alice/tokens", {"role": "viewer"}).json["token"])
    assert viewer.get(f"/sessions/{session}")["info"]["id"] == session
    a2a = {"message": {"messageId": "1", "role": "ROLE_USER", "parts": [{"text": "hi"}]}}
    assert viewer.request("POST", "/a2a/clerk/message:send", a2a, A2A_Version="1.0").status == 403
    call = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": a2a}
    said = viewer.request("POST", "/a2a/clerk", call, A2A_Version="1.0").json
    assert "error" in said, said
    assert served.get("/sessions")["sessions"][0]["id"] == session
    assert len(served.get("/sessions")["sessions"]) == 1


def test_a_token_has_at_most_the_role_of_its_account(served: Served) -> None:
    alice = tenant(served, "alice", role="operator")
    assert served.post("/accounts/alice/tokens", {"role": "owner"}).status == 422
    assert alice.request("GET", "/nodes").status == 200
    assert served.request("PUT", "/accounts/alice", {"role": "viewer"}).status == 200
    assert alice.request("GET", "/nodes").status == 403


def test_scopes_hide_other_agents(serve: Serve) -> None:

    model = ScriptedModel(lambda _: "yes")
    served = serve(agents=[Agent("clerk", model=model), Agent("boss", model=model)])
    whole = tenant(served, "alice")
    hidden = whole.session("boss")
    one = Tenant(served, served.post("/accounts/alice/tokens", {"agents": ["cl*"]}).json["token"])
    assert [agent["name"] for agent in one.get("/agents")["agents"]] == ["clerk"]
    assert [model["id"] for model in one.get("/v1/models")["data"]] == ["clerk"]
    assert one.request("GET", f"/sessions/{hidden}").status == 404
    assert one.get("/sessions")["sessions"] == []
    refused = one.post("/sessions", {"agent": "boss"})
    assert refused.status == 422
    assert "boss" not in refused.json["detail"].partition("agents are")[2]
    assert one.post(
        "/v1/chat/completions", {"model": "boss", "messages": [{"role": "user", "content": "x"}]}
    ).status in (
        403,
        404,
    )


# One account and another


def test_one_account_finds_nothing_of_another(served: Served) -> None:
    alice, bob = tenant(served, "alice"), tenant(served, "bob")
    session = alice.session(id="notes", labels={"user": "ann", "x": "y"}, title="secret plan")
    assert session == "alice.notes"
    alice.say(session, "hello")
    alice.request("PUT", f"/sessions/{session}/schedules/s", {"text": "go", "every": 3600})
    alice.post("/memory/facts", {"space": "user:@alice", "text": "the code is 1234"})
    assert alice.get("/sessions?label=user:ann")["sessions"][0]["id"] == session
    before = alice.get(f"/sessions/{session}")["info"]["head"]
    for path in (
        "",
        "/messages",
        "/events",
        "/tree",
        "/approvals",
        "/schedules",
        "/outbox",
        "/checkpoints",
        "/export",
        "/files",
        "/diff",
    ):
        gone, theirs = (bob.request("GET", f"/sessions/{name}{path}") for name in ("alice.nothing", session))
        assert (gone.status, gone.code) == (theirs.status, theirs.code) == (404, "not_found"), path
        assert gone.json["detail"].replace("nothing", "notes") == theirs.json["detail"]
    for method, path, body in (
        ("POST", "/messages", {"text": "x"}),
        ("POST", "/emit", {"name": "x"}),
        ("POST", "/cancel", None),
        ("POST", "/stop", None),
        ("POST", "/fork", {}),
        ("POST", "/checkpoints", {}),
        ("POST", "/rollback", {}),
        ("POST", "/compact", None),
        ("POST", "/move", {}),
        ("POST", "/adjust", {}),
        ("PUT", "/pins/k", {"text": "x"}),
        ("DELETE", "", None),
    ):
        assert bob.request(method, f"/sessions/{session}{path}", body).status == 404, path
    for path in ("/sessions", "/schedules", "/memory/facts", "/memory/spaces", "/memory/search?query=code", "/costs"):
        text = bob.request("GET", path).body.decode()
        assert "alice" not in text, path
        assert "1234" not in text, path
    assert bob.get("/sessions?before=alice.notes") == bob.get("/sessions?before=alice.nothing")
    assert bob.get("/sessions?label=user:ann")["sessions"] == []
    assert bob.post("/memory/undo", {"session": session, "since": 0}).status == 404
    assert bob.post("/memory/facts", {"space": "user:@alice", "text": "x"}).status == 403
    assert bob.session(id="notes") == "bob.notes"
    assert alice.get(f"/sessions/{session}")["info"]["head"] == before


def test_one_idempotency_key_makes_a_session_for_each_account(served: Served) -> None:
    alice, bob = tenant(served, "alice"), tenant(served, "bob")
    made = [who.post("/sessions", {"agent": "clerk"}, Idempotency_Key="k").json["id"] for who in (alice, alice, bob)]
    assert made[0] == made[1] != made[2]


def test_the_same_words_through_a_door_are_two_conversations(served: Served) -> None:
    said = [{"role": "user", "content": "hi"}]
    sessions = []
    for name in ("alice", "bob"):
        who = tenant(served, name)
        for messages in (said, [*said, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "go on"}]):
            answer = who.post("/v1/chat/completions", {"model": "clerk", "messages": messages})
            assert answer.status == 200, answer
            sessions.append(answer.headers["roost-session"])
    assert sessions[0] == sessions[1] != sessions[2] == sessions[3]
    assert [one.partition(".")[0] for one in sessions] == ["alice", "alice", "bob", "bob"]


def test_a_door_names_no_session_of_another(served: Served) -> None:
    alice, bob = tenant(served, "alice"), tenant(served, "bob")
    hi = [{"role": "user", "content": "hi"}]
    alice.post("/v1/chat/completions", {"model": "clerk", "messages": hi}, Roost_Session="mine")
    answer = bob.post("/v1/chat/completions", {"model": "clerk", "messages": hi}, Roost_Session="alice.mine")
    assert answer.headers["roost-session"] == "bob.alice.mine"
    response = alice.post("/v1/responses", {"model": "clerk", "input": "hi"}).json["id"]
    nothing = response[:-1] + ("0" if response[-1] != "0" else "1")
    for path in ("", "/input_items"):
        theirs, gone = (bob.request("GET", f"/v1/responses/{id}{path}") for id in (response, nothing))
        assert theirs.status == gone.status == 404
    assert bob.request("DELETE", f"/v1/responses/{response}").status == 404
    assert bob.post("/v1/responses", {"model": "clerk", "input": "x", "previous_response_id": response}).status == 404
    conversation = alice.post("/v1/conversations", {}).json["id"]
    assert bob.request("GET", f"/v1/conversations/{conversation}").status == 404
    assert alice.request("GET", f"/v1/conversations/{conversation}").status == 200


def test_sessions_of_the_home_are_no_accounts(served: Served) -> None:
    own = served.session(id="alice.fake")
    alice = tenant(served, "alice")
    assert alice.request("GET", f"/sessions/{own}").status == 404
    assert alice.get("/sessions")["sessions"] == []
    assert {one["id"] for one in served.get("/sessions")["sessions"]} == {own}


def test_the_default_model_is_a_choice_of_a_model_too(serve: Serve) -> None:
    """But for an agent that has it anyway."""
    said = ScriptedModel(lambda _: "yes")
    served = serve(agents=[Agent("clerk", model=said), Agent("plain")])
    alice = tenant(served, "alice", token={"agents": ["clerk", "plain"]})
    clerk = alice.session()
    for path in ("adjust", "move"):
        assert alice.post(f"/sessions/{clerk}/{path}", {"model": "default"}).status == 403
    own = alice.post("/sessions", {"agent": "plain"})
    if own.status == 201:  # a model is here
        assert alice.post(f"/sessions/{own.json['id']}/adjust", {"model": "default"}).status != 403
    bold = tenant(served, "alice", token={"agents": ["clerk", "model:*"]})
    assert bold.post(f"/sessions/{clerk}/adjust", {"model": "default"}).status != 403


def test_a_page_of_schedules_is_full_though_a_token_may_not_see_some(serve: Serve) -> None:
    said = ScriptedModel(lambda _: "yes")
    served = serve(agents=[Agent("clerk", model=said), Agent("other", model=said)])
    all, few = tenant(served, "alice"), tenant(served, "alice", token={"agents": ["clerk"]})
    made = [all.session("other" if at in (0, 2, 3, 4) else "clerk", id=f"s{at}") for at in range(7)]
    for id in made:
        assert all.request("PUT", f"/sessions/{id}/schedules/s", {"text": "go", "every": 3600}).status == 200
    seen, after = list[str](), ""
    while True:
        page = few.get(f"/schedules?limit=2&after={after}")
        seen += [one["session"] for one in page["schedules"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert seen == [made[at] for at in (1, 5, 6)]


def test_an_account_chooses_no_folder_and_no_definition(served: Served, tmp_path: Path) -> None:
    alice = tenant(served, "alice")
    assert alice.post("/sessions", {"agent": "clerk", "workspace": str(tmp_path)}).status == 403
    assert alice.post("/sessions", {"agent": "x", "definition": {"name": "x"}}).status == 403
    assert alice.post("/sessions", {"agent": "clerk", "model": "http://127.0.0.1:1/x"}).status == 403
    session = alice.session()
    assert alice.post(f"/sessions/{session}/adjust", {"permissions": "all"}).status == 403


# Limits


def test_an_account_asks_so_often_in_a_minute(served: Served) -> None:
    alice, bob = tenant(served, "alice", rate=3), tenant(served, "bob")
    answers = [alice.request("GET", "/me").status for _ in range(8)]
    assert answers[0] == 200
    assert 429 in answers
    assert bob.request("GET", "/me").status == 200


def test_an_account_has_so_many_sessions(served: Served) -> None:
    alice, bob = tenant(served, "alice", sessions=2), tenant(served, "bob")
    first = alice.session()
    again = {"Idempotency-Key": "one"}
    second = alice.post("/sessions", {"agent": "clerk"}, **again).json["id"]
    refused = alice.post("/sessions", {"agent": "clerk"})
    assert (refused.status, refused.code) == (403, "too_many_sessions")
    assert alice.post("/sessions", {"agent": "clerk"}, **again).json["id"] == second  # its answer was lost
    alice.say(first, "go on")
    talk = [{"role": "user", "content": "hi"}]
    chat = alice.post("/v1/chat/completions", {"model": "clerk", "messages": talk})
    assert (chat.status, chat.json["error"]["code"]) == (403, "too_many_sessions")
    claude = alice.post(
        "/v1/messages", {"model": "clerk", "messages": talk, "max_tokens": 9}, anthropic_version="2023-06-01"
    )
    assert (claude.status, claude.json["error"]["type"]) == (403, "permission_error")
    assert "2 sessions" in claude.json["error"]["message"]
    assert bob.session()
    assert alice.request("DELETE", f"/sessions/{second}").status == 204
    assert alice.session()
    assert served.request("PUT", "/accounts/alice", {"unlimited": ["sessions"]}).json["sessions"] is None
    assert alice.session()


def test_each_door_refuses_a_session_too_many_in_its_shape(served: Served) -> None:
    alice = tenant(served, "alice", sessions=1)
    first = alice.session()
    said = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]}
    a2a = alice.post("/a2a/clerk/message:send", {"message": said}, A2A_Version="1.0")
    assert (a2a.status, a2a.json["error"]["status"]) == (403, "PERMISSION_DENIED"), a2a
    assert a2a.json["error"]["details"][0]["reason"] == "TOO_MANY_SESSIONS"
    call = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": said}}
    assert alice.post("/a2a/clerk", call, A2A_Version="1.0").json["error"]["data"][0]["reason"] == "TOO_MANY_SESSIONS"
    talk = {"threadId": "t", "runId": "r", "messages": [{"id": "m", "role": "user", "content": "hi"}]}
    agui = alice.post("/ag-ui/clerk", talk)
    assert (agui.status, agui.json["code"]) == (403, "too_many_sessions"), agui
    asked = {"name": "ask_clerk", "arguments": {"message": "hi"}}
    mcp = alice.post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": asked})
    assert mcp.json["result"]["isError"], mcp
    assert "1 sessions" in mcp.json["result"]["content"][0]["text"]
    claude = {"anthropic_version": "2023-06-01"}
    place = alice.post("/v1/environments", {"name": "e"}, **claude).json["id"]
    for _ in range(2):
        managed = alice.post("/v1/sessions", {"agent": "clerk", "environment_id": place}, **claude)
        assert (managed.status, managed.json["error"]["type"]) == (403, "permission_error"), managed
    documents = served.daemon._runtime.node.store.documents
    left = documents.find(DocumentQuery(kind="managed.session", limit=10))
    assert asyncio.run_coroutine_threadsafe(left, served.loop).result(60) == []
    assert [one["id"] for one in alice.get("/sessions")["sessions"]] == [first]


def test_all_limits_of_an_account_are_lifted_at_once(served: Served) -> None:
    limits = ["rate", "concurrent", "sessions", "budget"]
    tenant(served, "alice", **dict.fromkeys(limits, 9))
    lifted = served.request("PUT", "/accounts/alice", {"unlimited": limits})
    assert (lifted.status, [lifted.json[one] for one in limits]) == (200, [None] * 4)


def test_an_account_is_only_made_where_it_is_new_and_loses_its_subject(served: Served) -> None:
    subject = "https://login.example.com 1"
    made = served.request("PUT", "/accounts/alice", {"new": True, "role": "viewer", "subject": subject})
    assert (made.status, made.json["subject"]) == (200, subject)
    again = served.request("PUT", "/accounts/alice", {"new": True, "role": "owner"})
    assert (again.status, again.code) == (409, "account_exists")
    assert served.request("PUT", "/accounts/bob", {"subject": subject}).code == "subject_taken"
    assert served.request("PUT", "/accounts/alice", {"note": "hers"}).json["subject"] == subject
    free = served.request("PUT", "/accounts/alice", {"subject": ""}).json
    assert (free.get("subject"), free["role"], free["note"]) == (None, "viewer", "hers")
    assert served.request("PUT", "/accounts/bob", {"subject": subject}).json["subject"] == subject


def test_an_account_has_so_much_open(served: Served) -> None:
    alice = tenant(served, "alice", concurrent=2)
    session = alice.session()
    with alice.stream("GET", f"/sessions/{session}/events") as one, alice.stream("GET", f"/sessions/{session}/events"):
        assert next(iter(one)).kind == "session.created"
        refused = alice.request("GET", "/me")
        assert (refused.status, refused.code) == (429, "too_many_requests")
        assert "retry-after" in refused.headers
    while alice.request("GET", "/me").status == 429:
        time.sleep(0.05)


def test_requests_that_are_cut_off_are_open_no_more(served: Served) -> None:
    alice = tenant(served, "alice", concurrent=2)
    for _ in range(4):
        with served.socket() as cut:
            head = f"POST /sessions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {alice.token}\r\n"
            cut.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
            time.sleep(0.05)
    while (answer := alice.request("GET", "/me")).status == 429:
        time.sleep(0.05)
    assert answer.status == 200


# Children


def test_children_belong_to_the_account(serve: Serve, wait: Any) -> None:
    task = Said(calls=(Call("task", {"agent": "helper", "prompt": "do it"}),))
    boss = Agent(
        "boss", model=ScriptedModel(by_step([task, "done"])), tools=["task"], children=Children(agents=("helper",))
    )
    helper = Agent("helper", model=ScriptedModel(lambda _: "did it"), callable_by=("boss",))
    served = serve(agents=[boss, helper])
    alice, bob = tenant(served, "alice"), tenant(served, "bob")
    session = alice.session("boss", id="one")
    assert alice.say(session, "go")[-1].data["outcome"] == "answered"
    [child] = alice.get("/sessions?parent=one")["sessions"]
    assert child["id"].startswith("alice.ses_")
    assert child["labels"] == {"roost:account": "alice", "user": "@alice"}
    assert [one["id"] for one in alice.get("/sessions/one/tree")["sessions"]] == [session, child["id"]]
    assert bob.request("GET", f"/sessions/{child['id']}").status == 404
    assert bob.get(f"/sessions?parent={session}")["sessions"] == []
    fork = alice.post("/sessions/one/fork", {"labels": {"user": "@bob"}}).json
    assert fork["id"].startswith("alice.")
    assert fork["labels"]["user"] == "@alice/@bob"
    assert served.post(f"/sessions/{session}/fork", {}).json["id"].startswith("alice."), "the owner's fork stays hers"


# Who did it


def test_the_log_says_which_account_it_was(served: Served) -> None:
    alice = tenant(served, "alice")
    session = alice.session()
    alice.say(session, "hello")
    heard = [one["event"] for one in served.history(session) if one["event"]["type"] == "input.received"]
    assert [one["account"] for one in heard] == ["alice"]
    own = served.session()
    served.say(own, "hello")
    assert not any("account" in one["event"] for one in served.history(own))


def test_the_audit_trail_has_changes_and_refusals(served: Served, wait: Any) -> None:
    alice = tenant(served, "alice")
    served.request("GET", "/health")  # by nobody: no part of the trail
    alice.request("GET", "/accounts")
    alice.session()
    served.request("DELETE", f"/tokens/{alice.id}")

    def seen() -> set[tuple[str, str]]:
        return {(one["what"], one["outcome"]) for one in served.get("/audit")["entries"]}

    wait(lambda: ("GET /accounts", "forbidden") in seen())
    assert {("account.create", "allowed"), ("token.create", "allowed"), ("token.revoke", "allowed")} <= seen()
    wait(lambda: ("POST /sessions", "allowed") in seen())
    assert not any("/health" in what for what, _ in seen())
    mine = served.get("/audit?account=alice")["entries"]
    assert mine
    assert {one["account"] for one in mine} == {"alice"}


def test_the_agents_are_listed_for_a_user(served: Served, tmp_path: Path) -> None:
    """The faults of files, which only operators see, are left out."""
    alice = tenant(served, "alice")
    environment = {"PATH": os.environ["PATH"], "ROOST_HOME": str(tmp_path / "none")}
    environment |= {"ROOST_URL": served.url, "ROOST_TOKEN": alice.token}
    command = [sys.executable, "-m", "roost", "agents"]
    ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (ran.returncode, "clerk" in ran.stdout) == (0, True), ran.stderr


# Money


def priced(text: str) -> ScriptedModel:
    """A model whose calls cost a dollar and a half at most, and half a dollar when they have ended."""
    usage = Usage(input=100_000, output=100_000)
    profile = Profile(price=Price(input=2500, output=2500), max_output=200_000, window=400_000)
    return ScriptedModel(lambda _: Said(text=text, usage=usage), profile=profile)


def test_an_account_spends_its_share_and_sees_no_other(serve: Serve) -> None:
    served = serve(priced("yes"))
    alice, bob = tenant(served, "alice", budget=2.0), tenant(served, "bob")
    session, other = alice.session(), bob.session(labels={"user": "ann"})
    outcomes = []
    for _ in range(6):
        ended = alice.say(session, "go on")[-1]
        outcomes.append(ended.data["outcome"])
        if outcomes[-1] == "limit":
            assert "user:@alice" in str(ended.data), ended
            break
    assert outcomes[0] == "answered"
    assert outcomes[-1] == "limit"
    assert bob.say(other, "hello")[-1].data["outcome"] == "answered", "another account's budget is its own"
    mine = alice.get("/costs?by=session")
    assert mine["month"]["limit"] == 2_000_000_000
    assert 0 < mine["month"]["spent"] <= 2_000_000_000
    assert [row["name"] for row in mine["rows"]] == [session]
    assert [share["name"] for share in mine["shares"]] == ["@alice"]
    theirs = bob.get("/costs?by=session")
    assert sorted(share["name"] for share in theirs["shares"]) == ["@bob", "@bob/ann"]
    whole = served.get("/costs")
    assert whole["month"]["spent"] == mine["month"]["spent"] + theirs["month"]["spent"]


# What answers requests sees the store as requests may


_RAW = re.compile(r"node\.store\b(?!\.(documents|coordination|dispatch|portable))")
_OF_THE_NODE = {
    "features/budgets/service.py": "reconciles the costs of all, for operators",
    "doors/bots/bot_worker.py": "hears of commits in the sessions of its chats, without a request",
    "doors/a2a/pusher.py": "pushes what was asked for, without a request",
    "server/app_state.py": "counts failed sessions for the health of the node",
}


def test_what_answers_requests_uses_the_view_of_tenants() -> None:
    root = Path(registry.__file__).parent
    found = {
        str(path.relative_to(root)): line.strip()
        for folder in ("doors", "server", "features")
        for path in (root / folder).rglob("*.py")
        for line in path.read_text().splitlines()
        if _RAW.search(line)
    }
    assert found.keys() == _OF_THE_NODE.keys(), (
        f"use `node.tenants`: `node.store` shows every account's sessions: {found}"
    )


# What its commands may do


SECRET = "ghp-0123456789abcdef"


def _with_shell(command: str, **more: Any) -> Agent:
    steps = [Said(calls=(Call("shell", {"command": command}),)), "done"]
    return Agent("runner", model=ScriptedModel(by_step(steps)), tools=["shell"], permissions="auto", **more)


def _policy(home: Path, text: str) -> None:
    home.mkdir(mode=0o700)
    (home / "policy.toml").write_text(text)


def test_commands_of_an_account_run_isolated_or_not_at_all(serve: Serve, tmp_path: Path) -> None:
    _policy(tmp_path / "home", "[sandbox]\nbackends = []\n")
    served = serve(agents=[_with_shell("true")])
    refused = tenant(served, "alice").post("/sessions", {"agent": "runner"})
    assert (refused.status, refused.code) == (409, "isolation_unavailable")
    assert served.session("runner"), "the home's own go on as before"


def test_each_wake_of_an_accounts_session_demands_isolation(serve: Serve, tmp_path: Path) -> None:
    """As a fork or an older session: it was made where level 1 was not asked for."""
    _policy(tmp_path / "home", "[sandbox]\nbackends = []\n")
    served = serve(agents=[_with_shell("touch done")])
    node = served.daemon._runtime.node
    spec = served.daemon._runtime.agents.get("runner").spec
    assert node.resources.isolation(spec, None).required == 0
    assert node.resources.isolation(spec, "alice").required == 1


def test_the_operator_may_let_accounts_run_commands_without_isolation(serve: Serve, tmp_path: Path) -> None:
    _policy(tmp_path / "home", "[sandbox]\nbackends = []\naccounts = 0\n")
    served = serve(agents=[_with_shell("true")])
    assert tenant(served, "alice").session("runner")


def test_secrets_are_the_homes_until_they_name_an_account() -> None:
    source = SecretSource(source="env:A", hosts=("api.example.com",))
    named = SecretSource(source="env:B", hosts=("api.example.com",), accounts=("al*",))
    vault = Vault({"A": SECRET, "B": SECRET[::-1]}, sources={"A": source, "B": named})
    assert vault.of_account(None).names == ("A", "B")
    theirs = vault.of_account("alice")
    assert theirs.names == tuple(theirs.for_egress()) == ("B",)
    assert not theirs.may_go_to("A", "api.example.com", 443)
    with pytest.raises(NotFound):
        theirs.value("A")
    assert theirs.scrub(SECRET) == "[secret:A]", "each is masked for all"
    assert vault.of_account("bob").names == ()


def test_a_tool_gets_no_secret_of_the_home_for_an_account(serve: Serve, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("A_KEY", SECRET)
    _policy(tmp_path / "home", '[secrets.GITHUB]\nfrom = "env:A_KEY"\n')
    got: list[str] = []

    @tool(secrets=["GITHUB"], safety="read_only")
    def ask(context: ToolContext) -> str:
        """Ask."""
        got.append(context.secret("GITHUB"))
        return "ok"

    steps = by_step([Said(calls=(Call("ask", {}),)), "done"])
    served = serve(agents=[Agent("asker", model=ScriptedModel(steps), tools=[ask], permissions="auto")])
    alice = tenant(served, "alice")
    alice.say(alice.session("asker"), "go")
    assert got == []
    served.say(served.session("asker"), "go")
    assert got == [SECRET]


# Accounts that are gone


def test_sessions_of_an_account_that_is_gone_do_nothing_more(serve: Serve) -> None:
    asked: list[int] = []
    served = serve(ScriptedModel(lambda _: asked.append(1) or "yes"))
    alice = tenant(served, "alice")
    session = alice.session()

    def outcome() -> str:
        return served.say(session, "go")[-1].data["outcome"]

    assert outcome() == "answered"
    assert served.request("PUT", "/accounts/alice", {"enabled": False}).status == 200
    assert (outcome(), len(asked)) == ("failed", 1)
    assert served.request("PUT", "/accounts/alice", {"enabled": True}).status == 200
    assert (outcome(), len(asked)) == ("answered", 2)
    assert served.request("DELETE", "/accounts/alice").status in (200, 204)
    assert (outcome(), len(asked)) == ("failed", 2)


def test_an_account_that_is_gone_has_no_budget(served: Served) -> None:
    tenant(served, "alice")
    ledger = served.daemon._runtime.node.model_pool.ledger

    def limit() -> int | None:
        return asyncio.run_coroutine_threadsafe(ledger.account_limit("alice"), served.loop).result(60)

    assert limit() is None
    assert served.request("PUT", "/accounts/alice", {"enabled": False}).status == 200
    assert limit() == 0
    served.request("DELETE", "/accounts/alice")
    assert limit() == 0


# Users of the home are no accounts


def test_a_user_that_a_client_names_is_no_account() -> None:
    assert user_in({"user": "@alice"}) == "@@alice"
    assert user_in({"user": "@@alice"}) == "@@@alice", "two users are never one"
    assert user_in({"user": "alice"}) == "alice"
    assert user_in({"user": "@alice/bob", ACCOUNT: "alice"}) == "@alice/bob"
    assert user_in({"user": "bob", ACCOUNT: "alice"}) == "@alice/bob"
    assert user_in({}) == ""
    for label in ("@alice", "@@alice", "bob"):
        assert owned_labels({"user": user_in({"user": label})}, child=True) == {"user": label}
    assert account_of(user_in({"user": "@alice"})) is None
    assert meta_of("@alice") == {"user": "@@alice"}
    with acting(Authority(account="bob", role="user")):
        assert meta_of("@alice") == {"user": "@bob/@alice"}
        assert meta_of("@bob/x") == {"user": "@bob/x"}


def test_children_of_a_user_called_like_an_account_stay_the_homes(serve: Serve) -> None:
    task = Said(calls=(Call("task", {"agent": "helper", "prompt": "do it"}),))
    boss = Agent(
        "boss", model=ScriptedModel(by_step([task, "done"])), tools=["task"], children=Children(agents=("helper",))
    )
    helper = Agent("helper", model=ScriptedModel(lambda _: "did it"), callable_by=("boss",))
    served = serve(agents=[boss, helper])
    alice = tenant(served, "alice")
    session = served.session("boss", labels={"user": "@alice"})
    served.say(session, "go")
    [child] = served.get(f"/sessions?parent={session}")["sessions"]
    assert child["labels"] == {"user": "@alice"}
    assert not child["id"].startswith("alice.")
    assert alice.get("/sessions")["sessions"] == []
    assert alice.request("GET", f"/sessions/{child['id']}").status == 404


def test_a_fork_by_the_owner_keeps_the_user_of_the_account(served: Served) -> None:
    session = tenant(served, "alice").session()
    fork = served.post(f"/sessions/{session}/fork", {"labels": {"user": "bob"}}).json
    assert fork["labels"] == {"roost:account": "alice", "user": "@alice/bob"}


# An operator runs the nodes, and sees no more of the machine than a user


def _exported(served: Served) -> bytes:
    session = served.session()
    served.say(session, "hello")
    with contextlib.closing(served.connect()) as connection:
        connection.request("GET", f"/sessions/{session}/export", headers=served.headers())
        return connection.getresponse().read()


def test_an_operator_imports_into_no_folder_and_forges_no_account(served: Served, tmp_path: Path) -> None:
    lines = _exported(served)
    forged = lines.replace(b'{"type":"input.received",', b'{"type":"input.received","account":"bob",')
    assert forged != lines
    alice = tenant(served, "alice", role="operator")

    def load(query: str, who: Tenant | Served = alice) -> tuple[int, Any]:
        sent = who.headers(Content_Type="application/octet-stream")
        with contextlib.closing(served.connect()) as connection:
            connection.request("POST", f"/import?agent=clerk{query}", forged, sent)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    assert load(f"&workspace={tmp_path}")[0] == 403
    for who in (alice, served):  # nor does the owner say of an account here what a file says
        status, brought = load("", who)
        assert status == 201, brought
        heard = [one["event"] for one in served.history(brought["session"]["id"])]
        assert any(one["type"] == "input.received" for one in heard)
        assert not [one for one in heard if "account" in one]


def test_an_operator_lets_nobody_in_and_reads_no_letters_of_bots(served: Served) -> None:
    """Whoever writes with a bot acts for the home, and its letters have what any session said."""
    alice = tenant(served, "alice", role="operator")
    assert alice.request("GET", "/bots").status == 200
    one = "/bots/pigeon"
    for method, path in (
        ("GET", f"{one}/chats"),
        ("GET", f"{one}/senders"),
        ("POST", f"{one}/senders"),
        ("DELETE", f"{one}/senders/7"),
        ("GET", f"{one}/letters"),
        ("POST", f"{one}/letters/let_1/retry"),
        ("DELETE", f"{one}/letters/let_1"),
    ):
        body = {"code": "ABCDEFGH"} if path.endswith("senders") and method == "POST" else None
        assert alice.request(method, path, body).status == 403, (method, path)


# Memory


def test_a_token_searches_the_memory_of_its_agents_alone(served: Served) -> None:
    alice = tenant(served, "alice")
    narrow = Tenant(served, served.post("/accounts/alice/tokens", {"agents": ["clerk*"]}).json["token"])
    for space in ("agent:payroll@alice", "agent:clerk@alice"):
        assert alice.post("/memory/facts", {"space": space, "text": "the code is 1234"}).status in (200, 201)

    def found(who: Tenant, space: str) -> int:
        return len(who.get(f"/memory/search?query=code&space={space}")["facts"])

    for space in ("agent:payroll@alice", "agent:clerk@alice"):
        assert found(alice, space) == 1, space
    assert found(narrow, "agent:clerk@alice") == 1
    assert found(narrow, "agent:payroll@alice") == 0
    refused = narrow.post("/memory/facts", {"space": "agent:payroll@alice", "text": "the code is 1235"})
    assert refused.status == 403


def test_globs_of_a_definition_open_what_the_home_shares_alone() -> None:
    theirs = Rights(("user:@alice",), read=("*",), write=("shared:team",), account="alice")
    assert all(map(theirs.may_read, ("user:@alice", "shared:team", "agent:clerk@alice", "session:alice.ses_1")))
    assert not any(map(theirs.may_read, ("user:bob", "agent:clerk", "session:ses_1", "user:@bob", "shared:@bob/x")))
    assert theirs.may_write("shared:team")
    assert not any(map(theirs.may_write, ("shared:other", "user:bob")))
    assert Rights((), read=("*",)).may_read("user:bob")


# Keys


def test_keys_of_an_account_are_none_of_the_homes(served: Served) -> None:
    alice = tenant(served, "alice")
    made = served.request("POST", "/sessions", {"agent": "clerk"}, Idempotency_Key="alice:order").json["id"]
    own = alice.post("/sessions", {"agent": "clerk"}, Idempotency_Key="order")
    assert (own.status, own.json["id"] == made) == (201, False)
    assert alice.post("/sessions", {"agent": "clerk"}, Idempotency_Key="order").json["id"] == own.json["id"]


# The trail under a flood


def test_a_flood_of_refusals_drops_no_others(served: Served, wait: Any) -> None:
    alice, bob = tenant(served, "alice"), tenant(served, "bob")
    path = "/sessions/" + "%01" * 15_000
    trail = served.daemon._runtime.node.feature(AccountDuties).trail
    flood = Authority(account="alice", role="user")

    def add() -> None:
        for number in range(2000):
            trail.add(entry_of(flood, "GET /sessions", f"{number}" + "\1" * 60_000, outcome="missing", status=404))

    served.loop.call_soon_threadsafe(add)
    bob.request("GET", "/accounts")
    alice.request("GET", path[:6000])

    def entries(account: str) -> list[Any]:
        return served.get(f"/audit?account={account}&limit=500")["entries"]

    wait(lambda: any(one["outcome"] != "allowed" for one in entries("bob")))
    wait(lambda: 50 <= len(entries("alice")) <= 500)
    assert all(len(one.get("target") or "") <= 128 for one in entries("alice"))


# What an account may use up


def test_calls_of_an_embedder_are_the_accounts(served: Served) -> None:
    ledger = served.daemon._runtime.node.model_pool.ledger
    with acting(Authority(account="alice", role="user")):
        theirs = ledger.meter("embedder", None, Embedding(["x"], use="query"))
    assert theirs._meter._who.user == "@alice"
    assert ledger.meter("embedder", None, Embedding(["x"], use="query"))._meter._who.user is None


def test_a_viewer_searches_the_memory_by_words(served: Served, monkeypatch: Any) -> None:
    alice = tenant(served, "alice")
    viewer = Tenant(served, served.post("/accounts/alice/tokens", {"role": "viewer"}).json["token"])
    alice.post("/memory/facts", {"space": "user:@alice", "text": "the code is 1234"})
    asked: list[str] = []

    async def near(*_: Any, **__: Any) -> Near:
        asked.append("near")
        return Near([], None)

    monkeypatch.setattr(served.daemon._runtime.node.feature(MemoryDuties).search.index, "near", near)
    path = "/memory/search?query=code&space=user:@alice"
    assert len(viewer.get(path)["facts"]) == 1
    assert asked == []
    assert len(alice.get(path)["facts"]) == 1
    assert asked == ["near"]


def test_accounts_have_a_bound_of_what_is_open(served: Served, monkeypatch: Any) -> None:
    monkeypatch.setattr(admission, "CONCURRENT", 2)
    monkeypatch.setattr(sessions, "STREAMS", 3)
    monkeypatch.setattr(sessions, "_FOR_HOME", 2)
    alice, bob = tenant(served, "alice"), tenant(served, "bob", concurrent=10)
    session, other, own = alice.session(), bob.session(), served.session()
    with alice.stream("GET", f"/sessions/{session}/events") as one:
        assert next(iter(one)).kind == "session.created"
        full = bob.request("GET", f"/sessions/{other}/events", Accept="text/event-stream")
        assert (full.status, full.code) == (503, "too_many_streams")
        with served.stream("GET", f"/sessions/{own}/events") as two:
            assert next(iter(two)).kind == "session.created", "the home has streams left"


def test_uploads_of_an_account_have_a_sum(served: Served, monkeypatch: Any) -> None:
    monkeypatch.setattr(uploads, "ACCOUNT_BYTES", 8)
    owned = served.daemon._runtime.node.feature(UploadDuties).uploads

    async def content() -> AsyncIterator[bytes]:
        yield b"12345"

    def add(owner: str) -> None:
        asyncio.run_coroutine_threadsafe(
            owned.add(uploads.NewUpload(name="a", owner=owner), content()), served.loop
        ).result(60)

    add("alice")
    with pytest.raises(TooLarge):
        add("alice")
    add("bob")
    for _ in range(3):
        add("")


def test_models_are_those_of_the_scope_without_the_homes_troubles(served: Served) -> None:
    alice = tenant(served, "alice", agents=["clerk"])
    assert alice.get("/models")["models"] == []
    assert all(one.get("trouble") is None for one in tenant(served, "bob").get("/models")["models"])


# Guesses


async def test_guesses_evict_no_token(monkeypatch: Any) -> None:
    monkeypatch.setattr(directory, "_UNKNOWN", 3)

    class Documents:
        read: ClassVar[list[str]] = []

        def watch(self, kind: str, listener: Any) -> Any:
            return lambda: None

        async def get(self, kind: str, id: str) -> Any:
            self.read.append(id)
            if id != "known":
                return None
            record = TokenRecord(account="alice", role="user", agents=("*",), digest="", life="")
            return SimpleNamespace(body=msgspec.json.encode(record))

    one = directory.Directory(Documents())  # pyright: ignore[reportArgumentType]
    await one.token("known")
    for number in range(10):
        await one.token(f"guess{number}")
    await one.token("known")
    assert Documents.read.count("known") == 1
    assert len(one._unknown) == 3
