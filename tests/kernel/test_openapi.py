"""Operations of an API as tools of a session, on both stores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.responses import Response

from roost import Client
from roost.agent.agent_files import check_found, load_agent_file
from roost.agent.definition import Agent
from roost.agent.openapi_options import ApiAuth, OpenApi
from roost.client.app_transport import AppTransport
from roost.errors import ConfigError, RoostError
from roost.features.openapi.events import ApiChanged, ApiFailed, ApiPinned, ApiResponse
from roost.features.openapi.state import OpenApiState
from roost.features.tool_search.events import ToolsFound
from roost.kernel.state_loader import load_state
from roost.log import events as ev
from roost.log.content import Text
from roost.policy.loading import Policy
from roost.policy.rules import Rule
from roost.policy.vault import SecretSource
from roost.server.app import build_app
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from tests.tools.openapi.api_server import Api, document, redirect, serving, text

from .policies import found, under
from .support import calling, events

pytestmark = pytest.mark.one_on_postgres

PETS = {
    "/pets/{id}": {
        "get": {
            "operationId": "getPet",
            "summary": "Get a pet",
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
        },
        "delete": {
            "operationId": "deletePet",
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
        },
    },
    "/pets": {
        "get": {
            "operationId": "listPets",
            "parameters": [{"name": "page", "in": "query", "schema": {"type": "integer"}}],
        },
        "post": {
            "operationId": "addPet",
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
            },
        },
    },
}
SCHEMAS = {
    "Pet": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "parent": {"$ref": "#/components/schemas/Pet"}},
    }
}
VALUE = "s3cr3t-of-the-api-0123"
POLICY = Policy(secrets={"PETS": SecretSource(source="env:PETS_KEY")})


def written(folder: Path, api: Api, paths: dict[str, Any] = PETS, **more: Any) -> OpenApi:
    """Write a document with the server of the test, and return the option that names it."""
    path = folder / "pets.json"
    given = {"components": {"schemas": SCHEMAS, **more.pop("components", {})}, "servers": [{"url": api.url}]}
    path.write_bytes(document(paths, **given, **{k: more.pop(k) for k in ("security",) if k in more}))
    return OpenApi(name="pets", spec=str(path), private=[api.host], **more)


def clerk(option: OpenApi, *steps: Any, permissions: Any = "all", **more: Any) -> Agent:
    """An agent that calls its API without a question, unless the permissions are other."""
    model, rules = ScriptedModel(by_step([*steps, "end"])), (Rule(effect="allow", tool="pets__*"),)
    more = {"rules": rules if permissions == "all" else (), **more}
    return Agent("a", model=model, openapi=[option], permissions=permissions, **more)


def results(log: Any) -> list[tuple[str, str]]:
    """The outcome and the text of each call."""
    return [
        (one.outcome, "".join(part.text for part in one.parts if isinstance(part, Text)))
        for one in found(log, ev.ToolCompleted)
    ]


async def test_operations_are_tools(tmp_path: Path) -> None:
    async with serving() as api:
        option = written(tmp_path, api)
        steps = [calling("pets__getPet", id=7), calling("pets__addPet", body={"name": "Rex"})]
        agent = clerk(option, *steps)
        async with under(tmp_path, agent) as runtime:
            session = await runtime.session("a")
            assert await session.ask("go") == "end"
            log = await events(session, runtime)
            asked = agent.python.model.requests[0]  # type: ignore[union-attr]
    tools = {tool.name: tool for tool in asked.tools}
    assert list(tools) == ["read_api_response", "pets__getPet", "pets__deletePet", "pets__listPets", "pets__addPet"]
    assert tools["pets__getPet"].description == "Get a pet\nGET /pets/{id}"
    assert [(one["method"], one["path"]) for one in api.asked] == [("GET", "/pets/7"), ("POST", "/pets")]
    assert api.body() == b'{"name":"Rex"}'
    (pinned,) = found(log, ApiPinned)
    assert (pinned.api, pinned.operations, pinned.spec) == ("pets", 4, str(tmp_path / "pets.json"))
    assert [(one.name, one.replay) for one in found(log, ev.ToolStarted)] == [
        ("pets__getPet", "safe"),
        ("pets__addPet", "never"),
    ]
    assert all(outcome == "ok" and said.startswith("[HTTP 200 OK") for outcome, said in results(log))
    assert found(log, ev.SessionTainted)


async def test_reads_run_and_others_wait_for_a_person(tmp_path: Path) -> None:
    async with serving() as api:
        steps = [Answer(calls=(Call("pets__getPet", {"id": 1}), Call("pets__deletePet", {"id": 1})))]
        async with under(tmp_path, clerk(written(tmp_path, api), *steps, permissions="workspace")) as runtime:
            session = await runtime.session("a")
            sent = await session.send("go")
            async for event in session.events():
                if isinstance(event, ev.ApprovalRequested):
                    break
            assert event.name == "pets__deletePet"
            assert "destructive" in event.reason
            while len(api.asked) < 1:
                await runtime.node.store.logs.read(session.id)
            await runtime.approvals.answer(session.id, event.call, "approve")
            assert await session.answer(sent.id) == "end"
    assert [one["method"] for one in api.asked] == ["GET", "DELETE"]


async def test_wrong_arguments_and_errors_are_data(tmp_path: Path) -> None:
    async with serving() as api:
        api.answers["/pets/404"] = lambda request, number: text('{"message": "no such pet"}', 404)
        # The model is asked again for a call that fits no schema; what still does not fit is its result.
        wrong = [calling("pets__getPet", id=1, more=1)] * 3
        agent = clerk(written(tmp_path, api), *wrong, calling("pets__getPet", id=404))
        async with under(tmp_path, agent) as runtime:
            session = await runtime.session("a")
            assert await session.ask("go") == "end"
            said = results(await events(session, runtime))
    assert {outcome for outcome, _ in said} == {"error"}
    assert "has 'more'" in said[0][1]
    assert "HTTP 404" in said[-1][1]
    assert "no such pet" in said[-1][1]
    assert {one["path"] for one in api.asked} == {"/pets/404"}


async def test_the_rest_of_a_long_response_is_read_after_a_restart(tmp_path: Path) -> None:
    whole = json.dumps([{"id": n, "name": f"pet {n}"} for n in range(2000)])
    async with serving() as api:
        api.answers["/pets"] = lambda request, number: text(
            whole, link='<http://elsewhere.example/pets?page=2&x=1>; rel="last", <?page=2>; rel="next"'
        )
        option = written(tmp_path, api, shown=1000)
        async with under(tmp_path, clerk(option, calling("pets__listPets"))) as runtime:
            session = await runtime.session("a")
            assert await session.ask("go") == "end"
            log = await events(session, runtime)
        ((_, said),) = results(log)
        (kept,) = found(log, ApiResponse)
        assert kept.text == whole
        assert "[there are more: call it again with page=2]" in said
        assert f'read_api_response(response="{kept.call}", offset=1000)' in said
        assert said.endswith(whole[:1000])
        again = clerk(option, calling("read_api_response", response=kept.call, offset=1000))
        async with under(tmp_path, again) as runtime:
            session = runtime.open(session.id)
            await session.ask("and the rest?")
            said = results(await events(session, runtime))[-1][1]
        assert said.endswith(whole[1000:41_000])
        assert f"[characters 1000 to 41000 of {len(whole)}" in said


async def test_a_changed_document_waits_for_a_person(tmp_path: Path) -> None:
    async with serving() as api:
        option = written(tmp_path, api)
        before = Path(option.spec).read_bytes()
        more = {
            **PETS,
            "/pets/{id}/sell": {"post": {"operationId": "sell", "parameters": PETS["/pets/{id}"]["get"]["parameters"]}},
        }
        async with under(tmp_path, clerk(option)) as runtime:
            session = await runtime.session("a")
            await session.ask("go")
        # The same operations with other white space need no person.
        Path(option.spec).write_bytes(before + b"\n")
        async with under(tmp_path, clerk(option)) as runtime:
            session = runtime.open(session.id)
            while len(found(await events(session, runtime), ApiPinned)) < 2:
                await session.ask("go")
            assert not found(await events(session, runtime), ApiChanged)
        written(tmp_path, api, more)
        agent = clerk(option)
        async with under(tmp_path, agent) as runtime:
            session = runtime.open(session.id)
            changed = None
            while changed is None:
                await session.ask("go")
                changed = next(iter(found(await events(session, runtime), ApiChanged)), None)
            assert (changed.added, changed.removed, changed.changed) == (("sell",), (), ())
            assert "pets__sell" not in offered(agent)
            app, _ = build_app(runtime, token=None)
            async with Client(AppTransport(app)) as client:
                (shown,) = (await client.openapi.list(session.id)).apis
                assert (shown.name, shown.waiting) == ("pets", changed.digest)
                with pytest.raises(RoostError, match="waits in this session"):
                    await client.openapi.accept(session.id, "pets", "another")
                await client.openapi.accept(session.id, "pets", changed.digest, by="ann")
            await session.ask("go")
            assert "pets__sell" in offered(agent)
            pinned = found(await events(session, runtime), ApiPinned)[-1]
            assert (pinned.digest, pinned.by) == (changed.digest, "ann")
        # The pinned document is kept: the session goes on without its source.
        Path(option.spec).unlink()
        async with under(tmp_path, agent) as runtime:
            session = runtime.open(session.id)
            await session.ask("go")
            assert "pets__sell" in offered(agent)


def offered(agent: Agent) -> list[str]:
    return [tool.name for tool in agent.python.model.requests[-1].tools]  # type: ignore[union-attr]


async def test_a_bad_document_is_told_and_the_turn_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text('{"openapi": "9.0"}')
    agent = clerk(OpenApi(name="pets", spec=str(path)))
    async with under(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "end"
        await session.ask("go")
        (failed,) = found(await events(session, runtime), ApiFailed)
        state = (await load_state(runtime.node.store, session.id)).part(OpenApiState)
    assert "its version is '9.0'" in failed.reason
    assert state.failed == {"pets": failed.reason}


async def test_many_operations_are_searched(tmp_path: Path) -> None:
    paths = {f"/thing{n}": {"get": {"operationId": f"getThing{n}", "summary": f"Read thing {n}"}} for n in range(60)}
    paths["/invoices"] = {"get": {"operationId": "listInvoices", "summary": "List the invoices of a customer"}}
    async with serving() as api:
        steps = [calling("find_tools", query="invoices of customers"), calling("pets__listInvoices")]
        agent = clerk(written(tmp_path, api, paths), *steps, calling("pets__getThing7"))
        async with under(tmp_path, agent) as runtime:
            session = await runtime.session("a")
            assert await session.ask("go") == "end"
            log = await events(session, runtime)
            asked = agent.python.model.requests  # type: ignore[union-attr]
        shown = [[tool.name for tool in request.tools] for request in asked]
        assert shown[0] == ["read_api_response", "find_tools"]
        assert "pets: A test (61 tools)" in asked[0].tools[1].description
        assert "pets__listInvoices" in shown[1]
        assert len(shown[1]) <= 8
        assert [outcome for outcome, _ in results(log)] == ["ok"] * 3
        assert [one["path"] for one in api.asked] == ["/invoices", "/thing7"]
        assert found(log, ToolsFound)[-1].names == ("pets__getThing7",)
        # What was found is offered after a restart, too.
        async with under(tmp_path, agent) as runtime:
            await runtime.open(session.id).ask("again")
            assert "pets__listInvoices" in offered(agent)


async def test_secrets_reach_the_api_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETS_KEY", VALUE)
    scheme = {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}}}
    async with serving() as api:
        option = written(tmp_path, api, components=scheme, security=[{"key": []}], auth=[ApiAuth(secret="PETS")])
        agent = clerk(option, calling("pets__getPet", id=7))
        async with under(tmp_path, agent, POLICY) as runtime:
            session = await runtime.session("a")
            await session.ask("go")
            log = await events(session, runtime)
            requests = msgspec.json.encode([request.messages for request in agent.python.model.requests])  # type: ignore[union-attr]
    assert api.asked[0]["headers"]["x-key"] == VALUE
    assert "secret" in results(log)[0][1]
    assert VALUE.encode() not in requests
    kept = b"".join(file.read_bytes() for file in tmp_path.glob("roost.db*") if file.is_file())
    assert VALUE.encode() not in kept


async def test_redirects_stay_at_their_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETS_KEY", VALUE)
    async with serving() as other, serving() as api:
        api.answers["/pets/1"] = lambda request, number: redirect(f"{other.url}/stolen")
        api.answers["/pets/2"] = lambda request, number: redirect("/pets/3")
        option = written(tmp_path, api, auth=[ApiAuth(kind="bearer", secret="PETS")])
        async with under(
            tmp_path, clerk(option, calling("pets__getPet", id=1), calling("pets__getPet", id=2)), POLICY
        ) as runtime:
            session = await runtime.session("a")
            await session.ask("go")
            (_, first), (outcome, _) = results(await events(session, runtime))
    assert "leads to another host" in first
    assert outcome == "ok"
    assert [one["path"] for one in api.asked] == ["/pets/1", "/pets/2", "/pets/3"]
    assert not other.asked


async def test_files_go_out_and_come_in(tmp_path: Path) -> None:
    binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    paths = {
        "/up": {"put": {"operationId": "up", "requestBody": {"required": True, "content": binary}}},
        "/down": {"get": {"operationId": "down", "responses": {"200": {"content": binary}}}},
        "/form": {
            "post": {
                "operationId": "form",
                "requestBody": {
                    "content": {
                        "multipart/form-data": {
                            "schema": {"type": "object", "properties": {"f": {"type": "string", "format": "binary"}}}
                        }
                    }
                },
            }
        },
    }
    async with serving() as api:
        told = iter((b"\x00\x01", b"\x00\x01", b"other"))
        api.answers["/down"] = lambda request, number: Response(next(told), media_type="application/octet-stream")
        steps = [
            calling("write_file", path="a.txt", content="hello"),
            calling("pets__up", file="a.txt"),
            calling("pets__form", body={"f": "a.txt"}),
            calling("pets__down", save_to="out/b.bin"),
            calling("pets__down", save_to="out/b.bin"),  # the same bytes, as after a crash
            calling("pets__down", save_to="out/b.bin"),
            calling("pets__up", file="../../roost.db"),
            calling("pets__up", file="/etc/hostname"),
            calling("pets__down", save_to="../c.bin"),
        ]
        agent = clerk(written(tmp_path, api, paths), *steps, tools=["write_file"])
        async with under(tmp_path / "home", agent) as runtime:
            session = await runtime.session("a")
            assert await session.ask("go") == "end"
            said = results(await events(session, runtime))[1:]
            folder = runtime.node.resources.private(session.id)
            assert (folder / "out/b.bin").read_bytes() == b"\x00\x01"
    assert api.body(0) == b"hello"
    assert b'filename="a.txt"' in api.body(1)
    assert [outcome for outcome, _ in said[:5]] == ["ok", "ok", "ok", "ok", "error"]
    assert said[2][1].endswith("saved 2 bytes as out/b.bin")
    assert "exists" in said[4][1]
    assert all(outcome != "ok" for outcome, _ in said[5:])
    assert [one["path"] for one in api.asked].count("/up") == 1


async def test_a_document_that_crashes_its_parser_ends_no_node(tmp_path: Path) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text("- " * 100_000)
    agent = clerk(OpenApi(name="pets", spec=str(path)))
    async with under(tmp_path / "home", agent) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "end"
        (failed,) = found(await events(session, runtime), ApiFailed)
    assert "too large or too odd" in failed.reason


async def test_a_server_without_a_host_is_told(tmp_path: Path) -> None:
    path = tmp_path / "pets.json"
    path.write_bytes(document({"/p": {"get": {}}}))
    agent = clerk(OpenApi(name="pets", spec=str(path)))
    async with under(tmp_path / "home", agent) as runtime:
        session = await runtime.session("a")
        await session.ask("go")
        (failed,) = found(await events(session, runtime), ApiFailed)
    assert "set `server`" in failed.reason


def test_an_agent_file_names_documents_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "clerk.toml"
    path.write_text('[[openapi]]\nname = "a"\nspec = "apis/a.json"\n[[openapi]]\nname = "b"\nspec = "https://h/b"\n')
    (one,) = load_agent_file(path)
    assert [api.spec for api in one.agent.openapi] == [str(tmp_path / "apis/a.json"), "https://h/b"]
    check_found(one)
    path.write_text('[[openapi]]\nname = "a"\nspec = "a.json"\nprivate = ["127.0.0.1:80"]\n')
    with pytest.raises(ConfigError, match="private addresses"):
        check_found(load_agent_file(path)[0])
    path.write_text('[[openapi]]\nname = "a"\nspec = "a"\n[[openapi]]\nname = "a"\nspec = "b"\n')
    with pytest.raises(ConfigError, match="two APIs have the name 'a'"):
        load_agent_file(path)
