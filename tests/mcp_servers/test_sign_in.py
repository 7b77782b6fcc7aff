"""A person signs in at a server that wants OAuth; the token is kept, renewed, and known after a restart."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from urllib.parse import parse_qs, urlencode

import aiohttp
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from tests.mcp_servers.support import ALLOW, calling, clerk, events, results

from roost import Agent, Client, Runtime
from roost.client.app_transport import AppTransport
from roost.errors import RoostError
from roost.features.mcp.events import McpFailed
from roost.features.mcp.messages import ServerFailed
from roost.features.mcp.pool import OpenServer, Pool
from roost.server.app import build_app

TOOL = {"name": "read", "description": "Read.", "inputSchema": {"type": "object", "properties": {}}}


class Guarded:
    """A server and its authorization server. valid: access tokens. wrong: a place that metadata leads to instead. says:
    an error in which it repeats what it was sent. seconds: for which it says that a token is good."""

    def __init__(self) -> None:
        self.valid: set[str] = set()
        self.challenges: dict[str, str] = {}
        self.url, self.tokens, self.renewed, self.wrong, self.says = "", 0, 0, "", ""
        self.seconds = 3600
        paths = {
            "/mcp": (self.mcp, "POST"),
            "/.well-known/oauth-protected-resource/mcp": (self.resource, "GET"),
            "/.well-known/oauth-authorization-server": (self.metadata, "GET"),
            "/register": (self.register, "POST"),
            "/authorize": (self.authorize, "GET"),
            "/token": (self.token, "POST"),
        }
        self.app = Starlette(routes=[Route(path, to, methods=[method]) for path, (to, method) in paths.items()])

    async def mcp(self, request: Request) -> Response:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.valid:
            return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})
        body = await request.json()
        if self.says:
            said = f"{self.says} {request.headers['authorization']}"
            return JSONResponse({"jsonrpc": "2.0", "id": body.get("id"), "error": {"code": -32000, "message": said}})
        answers = {
            "server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}},
            "tools/list": {"tools": [TOOL]},
            "tools/call": {"content": [{"type": "text", "text": f"you sent {request.headers['authorization']}"}]},
        }
        result = {"resultType": "complete", **answers[body["method"]]}
        return JSONResponse({"jsonrpc": "2.0", "id": body["id"], "result": result})

    async def resource(self, request: Request) -> Response:
        return JSONResponse({"resource": f"{self.url}/mcp", "authorization_servers": [self.wrong or self.url]})

    async def metadata(self, request: Request) -> Response:
        places = {f"{name}_endpoint": f"{self.url}/{path}" for name, path in PLACES.items()}
        return JSONResponse({"issuer": self.url, **places, "code_challenge_methods_supported": ["S256"]})

    async def register(self, request: Request) -> Response:
        return JSONResponse({"client_id": "roost-1", **await request.json()}, status_code=201)

    async def authorize(self, request: Request) -> Response:
        asked = request.query_params
        self.challenges["code-1"] = asked["code_challenge"]
        answer = urlencode({"code": "code-1", "state": asked["state"], "iss": self.url})
        return RedirectResponse(f"{asked['redirect_uri']}?{answer}", status_code=302)

    async def token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        if form["grant_type"] == "authorization_code":
            hashed = hashlib.sha256(form["code_verifier"].encode()).digest()
            known = self.challenges.pop(form["code"], None)
            if base64.urlsafe_b64encode(hashed).rstrip(b"=").decode() != known:
                return JSONResponse({"error": "invalid_grant"}, status_code=400)
        else:
            self.renewed += 1
        self.tokens += 1
        self.valid.add(f"access-token-{self.tokens}")
        found = {"access_token": f"access-token-{self.tokens}", "token_type": "Bearer", "refresh_token": "again"}
        return JSONResponse({**found, "expires_in": self.seconds})


PLACES = {"authorization": "authorize", "token": "token", "registration": "register"}


@pytest.fixture
async def guarded():
    made = Guarded()
    server = uvicorn.Server(uvicorn.Config(made.app, port=0, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.02)
    made.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield made
    server.should_exit = True
    await serving


async def signed_in(client: Client) -> None:
    url = (await client.mcp.login("docs", "http://127.0.0.1:1/callback")).url
    async with aiohttp.ClientSession() as browser, browser.get(url, allow_redirects=False) as response:
        await client.mcp.finish_login("docs", response.headers["Location"])


async def test_a_person_signs_in_once(tmp_path, guarded):
    agent = clerk(tmp_path, calling(*[("docs__read", {})] * 4), servers=["docs"])
    async with Runtime(tmp_path / "home", agents=[agent]) as runtime:
        app, _ = build_app(runtime, token=None)
        async with Client(AppTransport(app)) as client:
            await client.mcp.add("docs", {"url": f"{guarded.url}/mcp"})
            session = await runtime.session("clerk")
            await session.ask("go", on_approval=lambda _: True)
            failed = [one.reason for one in await events(runtime, session.id) if isinstance(one, McpFailed)]
            assert len(failed) == 1
            assert "roost mcp login docs" in failed[0]
            await signed_in(client)
            await session.ask("again", on_approval=lambda _: True)
            guarded.valid.clear()
            await session.ask("after it was revoked", on_approval=lambda _: True)
            assert guarded.renewed == 1
            with pytest.raises(RoostError):  # the answer of a sign-in counts once
                await client.mcp.finish_login("docs", "http://127.0.0.1:1/callback?code=code-1&state=x")
    async with Runtime(tmp_path / "home", agents=[agent]) as runtime:
        await runtime.open(session.id).ask("after a restart", on_approval=lambda _: True)
        found = await results(runtime, session.id)
        said = str(await events(runtime, session.id))
    assert [one[0] for one in found] == ["error", "ok", "ok", "ok"]
    assert "access-token-" not in said


async def test_a_server_cannot_lead_a_sign_in_into_another_network(tmp_path, guarded):
    guarded.wrong = "http://169.254.169.254"
    async with Runtime(tmp_path / "home", agents=[clerk(tmp_path, calling(), servers=[])]) as runtime:
        app, _ = build_app(runtime, token=None)
        async with Client(AppTransport(app)) as client:
            await client.mcp.add("docs", {"url": f"{guarded.url}/mcp"})
            with pytest.raises(RoostError) as error:
                await client.mcp.login("docs", "http://127.0.0.1:1/callback")
    assert error.value.code == "mcp_server_failed"
    assert "not a public address" in error.value.message


async def test_a_server_that_is_added_to_a_session_is_not_the_homes_of_the_same_name(tmp_path, guarded):
    """Its address is public, or it is refused, also while the home's own is open and signed in."""
    asking = Agent("other", model=calling(("docs__read", {})), rules=[ALLOW])
    agent = clerk(tmp_path, calling(*[("docs__read", {})] * 3), servers=["docs"])
    async with Runtime(tmp_path / "home", agents=[agent, asking]) as runtime:
        app, _ = build_app(runtime, token=None)
        async with Client(AppTransport(app)) as client:
            await client.mcp.add("docs", {"url": f"{guarded.url}/mcp"})
            await signed_in(client)
            ours = await runtime.session("clerk")
            await ours.ask("go", on_approval=lambda _: True)
            theirs = await runtime.session("other")
            await client.mcp.add_to_session(theirs.id, "docs", {"url": f"{guarded.url}/mcp"})
            await theirs.ask("go", on_approval=lambda _: True)
            await ours.ask("again", on_approval=lambda _: True)
        failed = [one.reason for one in await events(runtime, theirs.id) if isinstance(one, McpFailed)]
        said = [one[0] for one in await results(runtime, theirs.id)]
        kept = [one[0] for one in await results(runtime, ours.id)]
    assert [reason for reason in failed if "not a public address" in reason]
    assert (said, kept) == (["error"], ["ok", "ok"])


def opened(account: str | None, *, busy: bool = True) -> OpenServer:
    made = OpenServer(lambda: pytest.fail("nothing is asked of it"), stdio=False, starting=1.0, account=account)
    made.busy = int(busy)
    return made


async def test_an_account_leaves_room_for_the_servers_of_others():
    pool = Pool()
    for at in range(32):
        pool.server(f"{at}@alice.ses", lambda: opened("alice"), "alice")
    with pytest.raises(ServerFailed, match="of this account"):
        pool.server("more@alice.ses", lambda: opened("alice"), "alice")
    pool.server("1@bob.ses", lambda: opened("bob", busy=False), "bob")
    pool.server("of the home", lambda: opened(None))
    idle = pool.find("5@alice.ses")
    assert idle is not None
    idle.busy = 0
    pool.server("more@alice.ses", lambda: opened("alice"), "alice")
    assert pool.find("5@alice.ses") is None, "its own makes room"
    assert pool.find("1@bob.ses") is not None
    await pool.close()
