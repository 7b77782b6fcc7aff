"""Credentials, redirects, repetitions, and hostile answers, on a server of the loopback."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any
from urllib.parse import parse_qs

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from roost.agent.openapi_options import ApiAuth, OpenApi
from roost.features.openapi.calling import RESPONSE_CAP, Called, Caller
from roost.features.openapi.catalog import Catalog
from roost.features.openapi.compile import compile_document
from roost.features.openapi.credentials import RefreshTokens, Signer, Tokens, needs_of
from roost.features.openapi.pagination import next_page
from roost.features.openapi.request_building import build_request
from roost.features.openapi.results import shown
from roost.policy.vault import SecretSource, Vault
from roost.tools.errors import ToolError

from .api_server import Api, bomb, document, endless, redirect, serving, slow, streamed, text

VALUE, CLIENT = "s3cr3t/of+the api-01", "cl1ent:s3cr3t-of-oauth"
OK = {"responses": {"200": {"description": "ok"}}}
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic"},
    "header": {"type": "apiKey", "in": "header", "name": "X-Key"},
    "query": {"type": "apiKey", "in": "query", "name": "api_key"},
    "cookie": {"type": "apiKey", "in": "cookie", "name": "sid"},
}


def vault(hosts: tuple[str, ...] = ()) -> Vault:
    source = SecretSource(source="env:X", hosts=hosts)
    return Vault({"KEY": VALUE, "CLIENT": CLIENT}, sources={"KEY": source, "CLIENT": source})


class Kept(RefreshTokens):
    def __init__(self) -> None:
        self.tokens: dict[str, str] = {}

    async def get(self, key: str) -> str | None:
        return self.tokens.get(key)

    async def put(self, key: str, token: str) -> None:
        self.tokens[key] = token


class Client:
    """Calls operations of one document. Its `tokens` are those of a node."""

    def __init__(self, api: Api, paths: dict[str, Any], *, keys: Vault | None = None, **more: Any) -> None:
        given = {name: more.pop(name) for name in ("security", "components") if name in more}
        self.catalog: Catalog = compile_document(document(paths, **given))
        more.setdefault("private", [api.host])
        self.option = OpenApi(name="a", spec="x", **more)
        self.base, self.keys, self.tokens = api.url, keys or vault(), Tokens(Kept())

    async def call(self, id: str = "op", *, repeatable: bool = False, **arguments: Any) -> Called:
        operation = next(one for one in self.catalog.operations if one.id == id)
        needs, _ = needs_of(self.option, self.catalog, operation)

        def read(path: str) -> Any:
            raise AssertionError(path)

        caller = Caller(self.option, Signer(self.option, self.keys, self.tokens), self.tokens, self.base)
        return await caller.call(build_request(operation, arguments, read), tuple(needs), repeatable=repeatable)

    def text(self, called: Called, id: str = "op") -> str:
        operation = next(one for one in self.catalog.operations if one.id == id)
        found = shown(operation, called)
        return "\n".join([*found.head, found.text])


def paths(method: str = "get", **more: Any) -> dict[str, Any]:
    return {"/p": {method: {"operationId": "op", **OK, **more}}}


# Credentials


async def test_every_kind_of_credentials_arrives() -> None:
    basic = base64.b64encode(f"ann:{VALUE}".encode()).decode()
    wanted = {
        "bearer": ("headers", "authorization", f"Bearer {VALUE}"),
        "basic": ("headers", "authorization", f"Basic {basic}"),
        "header": ("headers", "x-key", VALUE),
        "query": ("query", "", "api_key=s3cr3t%2Fof%2Bthe%20api-01"),
        "cookie": ("headers", "cookie", "sid=s3cr3t%2Fof%2Bthe%20api-01"),
    }
    async with serving() as api:
        for name, (where, header, value) in wanted.items():
            client = Client(
                api,
                paths(security=[{name: []}]),
                components={"securitySchemes": SCHEMES},
                auth=[ApiAuth(secret="KEY", user="ann")],
            )
            called = await client.call()
            found = api.asked[-1][where]
            assert (found[header] if header else found) == value
            said = client.text(called)  # the server echoes what it got
            assert all(one not in said for one in (VALUE, basic, "s3cr3t%2Fof"))


async def test_schemes_are_chosen_as_the_document_says() -> None:
    async with serving() as api:
        both = [{"other": []}, {"header": [], "query": []}]
        schemes = {"securitySchemes": {**SCHEMES, "other": {"type": "mutualTLS"}}}
        client = Client(api, paths(security=both), components=schemes, auth=[ApiAuth(secret="KEY")])
        await client.call()
        assert api.asked[-1]["headers"]["x-key"] == VALUE
        assert api.asked[-1]["query"].startswith("api_key=")
        # No credentials where the document wants none, or only those of another scheme are there.
        for security, auth in (([], ApiAuth(secret="KEY")), ([{"header": []}], ApiAuth(secret="KEY", scheme="basic"))):
            client = Client(api, paths(security=security), components=schemes, auth=[auth])
            await client.call()
            assert "x-key" not in api.asked[-1]["headers"]
        # A document without schemes: as the agent says.
        client = Client(api, paths(), auth=[ApiAuth(kind="key", place="header", name="X-Api", secret="KEY")])
        await client.call()
        assert api.asked[-1]["headers"]["x-api"] == VALUE


async def test_an_argument_does_not_take_the_place_of_a_key() -> None:
    mine = [{"name": "api_key", "in": "query", "schema": {"type": "string"}}]
    async with serving() as api:
        client = Client(
            api,
            paths(security=[{"query": []}], parameters=mine),
            components={"securitySchemes": SCHEMES},
            auth=[ApiAuth(secret="KEY")],
        )
        await client.call(api_key="mine")
        assert parse_qs(api.asked[-1]["query"]) == {"api_key": [VALUE]}


async def test_secrets_go_to_their_hosts_and_over_tls_only() -> None:
    auth = [ApiAuth(kind="bearer", secret="KEY")]
    async with serving() as api:
        client = Client(api, paths(), auth=auth, keys=vault(("api.example.com",)))
        with pytest.raises(ToolError, match="its `hosts` do not name it"):
            await client.call()
        client = Client(api, paths(), auth=auth, private=[])
        with pytest.raises(ToolError, match="without TLS"):
            await client.call()
        client = Client(api, paths(), auth=[ApiAuth(kind="bearer", secret="NONE")])
        with pytest.raises(ToolError, match="there is no secret 'NONE'"):
            await client.call()
    assert not api.asked


def oauth(api: Api, **more: Any) -> Client:
    flows = {"clientCredentials": {"tokenUrl": f"{api.url}/token", "scopes": {"read": ""}}}
    schemes = {"securitySchemes": {"o": {"type": "oauth2", "flows": flows}}}
    auth = ApiAuth(client_id="me", client_secret="CLIENT", **more)
    return Client(api, paths(security=[{"o": ["read"]}]), components=schemes, auth=[auth])


def token(request: Request, number: int) -> Response:
    return JSONResponse({"access_token": f"token-number-{number}", "token_type": "Bearer", "expires_in": 3600})


def asked_tokens(api: Api) -> list[dict[str, Any]]:
    return [one for one in api.asked if one["path"] == "/token"]


async def test_client_credentials_are_exchanged_once() -> None:
    async with serving() as api:
        api.answers["/token"] = token
        client = oauth(api, scopes=["read"])
        called = await asyncio.gather(*[client.call() for _ in range(8)])
        (asked,) = asked_tokens(api)
        assert parse_qs(base64.b64decode(asked["body"]).decode()) == {
            "grant_type": ["client_credentials"],
            "scope": ["read"],
        }
        basic = base64.b64encode(b"me:cl1ent%3As3cr3t-of-oauth").decode()
        assert asked["headers"]["authorization"] == f"Basic {basic}"
        assert "token-number-1" not in client.text(called[0])
        assert api.asked[-1]["headers"]["authorization"] == "Bearer token-number-1"


async def test_a_refused_token_is_renewed_once() -> None:
    async with serving() as api:
        api.answers["/token"] = token
        api.answers["/p"] = lambda request, number: text("no", 401 if number < 3 else 200)
        client = oauth(api)
        assert (await client.call()).answer.status == 401  # twice refused: it is told
        assert len(asked_tokens(api)) == 2
        assert (await client.call()).answer.status == 200


async def test_refresh_tokens_rotate() -> None:
    def answer(request: Request, number: int) -> Response:
        return JSONResponse(
            {"access_token": f"access-{number}-token", "refresh_token": f"refresh-{number}", "expires_in": 1}
        )

    async with serving() as api:
        api.answers["/token"] = answer
        client = oauth(api, refresh_token="KEY")
        await client.call()
        first = parse_qs(base64.b64decode(asked_tokens(api)[0]["body"]).decode())
        assert first["refresh_token"] == [VALUE]
        kept = client.tokens
        client.tokens = Tokens(kept._kept)  # type: ignore[attr-defined]  # another process with the same store
        await client.call()
        second = parse_qs(base64.b64decode(asked_tokens(api)[1]["body"]).decode())
        assert second["refresh_token"] == ["refresh-1"]


async def test_a_token_server_that_refuses_tells_no_secret() -> None:
    async with serving() as api:
        api.answers["/token"] = lambda request, number: text(f'{{"error": "invalid_client", "x": "{CLIENT}"}}', 401)
        with pytest.raises(ToolError, match="401: invalid_client") as refused:
            await oauth(api).call()
        assert CLIENT not in str(refused.value)
        assert len(asked_tokens(api)) == 2  # once with the header, once in the body


# Redirects and repetitions


async def test_redirects_follow_the_method() -> None:
    async with serving() as api:
        api.answers["/p"] = lambda request, number: redirect("/q?x=%2F", 307)
        client = Client(api, paths("post", requestBody={"content": {"text/plain": {}}}))
        await client.call(body="data")
        assert (api.asked[-1]["method"], api.asked[-1]["path"], api.asked[-1]["query"]) == ("POST", "/q", "x=%2F")
        assert api.body() == b"data"
        api.answers["/p"] = lambda request, number: redirect("/q", 303)
        await client.call(body="data")
        assert (api.asked[-1]["method"], api.body()) == ("GET", b"")
        api.answers["/p"] = lambda request, number: redirect("/q", 302)
        called = await client.call(body="data")
        assert "not followed with POST" in client.text(called)
        api.answers["/p"] = lambda request, number: redirect("//169.254.169.254/latest", 307)
        assert "leads to another host" in client.text(await client.call(body="data"))
        api.answers["/p"] = lambda request, number: redirect("/p", 307)
        with pytest.raises(ToolError, match="redirects"):
            await client.call(body="data")


async def test_only_what_may_be_repeated_is_repeated() -> None:
    async with serving() as api:
        api.answers["/p"] = lambda request, number: text("busy", 503, retry_after="0") if number < 3 else text("here")
        client = Client(api, paths())
        assert client.text(await client.call(repeatable=True)).endswith("here")
        assert len(api.asked) == 3
        api.asked.clear()
        called = await client.call()
        assert called.answer.status == 503
        assert len(api.asked) == 1
        api.answers["/p"] = lambda request, number: text("later", 429, retry_after="3600")
        assert "try again after 3600" in client.text(await client.call(repeatable=True))


async def test_a_failure_after_sending_is_not_repeated_and_says_so() -> None:
    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        heard += 1
        await reader.read(1)
        writer.close()

    heard, api = 0, Api()
    server = await asyncio.start_server(drop, "127.0.0.1", 0)
    api.port = server.sockets[0].getsockname()[1]
    async with server:
        client = Client(api, paths("post"))
        with pytest.raises(ToolError, match="may have had its effect"):
            await client.call()
        assert heard == 1
        with pytest.raises(ToolError) as failed:
            await Client(api, paths(), seconds=30).call(repeatable=True)
        assert "effect" not in str(failed.value)
        assert heard == 4


# Hostile answers


async def test_hostile_answers_are_bounded() -> None:
    async with serving() as api:
        api.answers["/p"] = lambda request, number: streamed(endless())
        client = Client(api, paths(), seconds=60)
        called = await client.call()
        assert len(called.answer.body) == RESPONSE_CAP
        assert "only the first" in client.text(called)
        api.answers["/p"] = lambda request, number: bomb(200 * 1024 * 1024)
        called = await client.call()
        assert len(called.answer.body) <= RESPONSE_CAP
        assert called.answer.cut
        api.answers["/p"] = lambda request, number: Response(b"\x00\x01" * 100, media_type="application/x-thing")
        assert "200 bytes of application/x-thing, which are not text" in client.text(await client.call())
        api.answers["/p"] = lambda request, number: Response(b"\xff\xfe a", media_type="text/plain; charset=nonsense")
        assert client.text(await client.call()).endswith("\ufffd\ufffd a")
        api.answers["/p"] = lambda request, number: Response(b"[" * 100_000, media_type="application/json")
        assert client.text(await client.call()).endswith("[[[")


async def test_a_slow_answer_ends_at_the_time_limit() -> None:
    async with serving() as api:
        api.answers["/p"] = lambda request, number: streamed(slow())
        client = Client(api, paths(), seconds=1)
        began = time.monotonic()
        with pytest.raises(ToolError, match="did not answer within"):
            await client.call(repeatable=True)
        assert time.monotonic() - began < 60


async def test_a_name_is_resolved_for_each_request_and_must_be_public() -> None:
    async with serving() as api:
        with pytest.raises(ToolError, match="not a public address"):
            await Client(api, paths(), private=[]).call()
        with pytest.raises(ToolError, match="not a public address"):
            await Client(api, paths(), private=[f"127.0.0.1:{api.port + 1}"]).call()
    assert not api.asked


# Pages


@pytest.mark.parametrize(
    ("parameters", "answer", "said"),
    [
        (["page"], text("[]", link='</p?page=3&per_page=5>; rel="next"'), "page=3"),
        (["page", "per_page"], text("[]", link="<http://h/p?page=3&per_page=5>; rel=next"), "page=3, per_page=5"),
        (["pageToken"], JSONResponse({"nextPageToken": "abc"}), "pageToken=abc"),
        (["cursor"], JSONResponse({"response_metadata": {"next_cursor": "c="}}), "cursor=c="),
        (["continue"], JSONResponse({"metadata": {"continue": "tok"}}), "continue=tok"),
        (["starting_after"], JSONResponse({"has_more": True, "data": [{"id": "a"}, {"id": "b"}]}), "starting_after=b"),
        (["offset"], JSONResponse({"next": "https://h/p?offset=20&limit=10"}), "offset=20"),
        (["q"], JSONResponse({"has_more": True}), "there are more]"),
        (["cursor"], JSONResponse({"next_cursor": ""}), None),
        (["page"], JSONResponse({"next": None, "has_more": False}), None),
    ],
)
async def test_the_next_page_is_told(parameters: list[str], answer: Response, said: str | None) -> None:
    given = [{"name": name, "in": "query", "schema": {}} for name in parameters]
    async with serving() as api:
        api.answers["/p"] = lambda request, number: answer
        client = Client(api, paths(parameters=given))
        called = await client.call()
        found = next_page(client.catalog.operations[0], called.answer, called.url)
    assert found is None if said is None else said in str(found)
