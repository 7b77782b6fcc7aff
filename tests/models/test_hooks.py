"""Accounts whose calls need more than a wire: Azure, Bedrock, Vertex, hooks of the user's own, and key helpers."""

from __future__ import annotations

import asyncio
import datetime
import json
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from roost.errors import ConfigError
from roost.log.content import Text, UserMessage
from roost.models.hooks.sigv4 import AwsKeys, sign
from roost.models.key_helpers import Helper, parse
from roost.models.request import Completed, Failed, ModelEvent, Request
from roost.providers.accounts import Models
from roost.providers.config import AccountEntry, ModelsConfig

OPENAI = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hello"}, "finish_reason": None}]},
    {
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    },
]
ANTHROPIC = [
    {
        "type": "message_start",
        "message": {"id": "m", "role": "assistant", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
    {"type": "message_stop"},
]
GEMINI = [{"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP"}]}]


class Seen(NamedTuple):
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Server:
    """Answers in three protocols, by the path; refuses keys that are in `refused`."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.refused: set[str] = set()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(request.path_qs, headers, body))
        if headers.get("authorization", "").removeprefix("Bearer ") in self.refused:
            return web.json_response({"error": {"message": "expired token"}}, status=401)
        path = request.path
        frames = GEMINI if "generateContent" in path.replace("streamG", "g") else OPENAI
        if "messages" in path or "RawPredict" in path or "rawPredict" in path:
            text = "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in ANTHROPIC)
        else:
            text = "".join(f"data: {json.dumps(each)}\n\n" for each in frames)
            text += "data: [DONE]\n\n" if frames is OPENAI else ""
        return web.Response(text=text, content_type="text/event-stream")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_post("/{rest:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
    yield made
    await runner.cleanup()


async def ask(models: Models, name: str) -> ModelEvent:
    request = Request(instruction="Be short.", messages=(UserMessage((Text("Hi"),)),))
    ended: ModelEvent | None = None
    async for event in models.resolve(name).stream(request):
        ended = event
    await models.close()
    assert ended is not None
    return ended


def models(account: str, url: str, environ: dict[str, str] | None = None, **entry: Any) -> Models:
    config = ModelsConfig(accounts={account: AccountEntry(base_url=url, **entry)})
    return Models(environ=environ or {}, dotenv=None, config=config)


def printed(text: str) -> str:
    """A key helper that prints this."""
    return "command:" + shlex.join([sys.executable, "-c", f"print({text!r})"])


def said(event: ModelEvent) -> str:
    assert isinstance(event, Completed), event
    return "".join(part.text for part in event.parts if isinstance(part, Text))


@pytest.mark.parametrize(
    ("base", "environ", "path"),
    [
        ("/openai/v1", {}, "/openai/v1/chat/completions"),
        ("/", {}, "/openai/v1/chat/completions"),
        ("/?api-version=2024-10-21", {}, "/openai/deployments/mine/chat/completions?api-version=2024-10-21"),
        (
            "",
            {"OPENAI_API_VERSION": "2025-04-01-preview"},
            "/openai/deployments/mine/chat/completions?api-version=2025-04-01-preview",
        ),
    ],
)
async def test_both_forms_of_azure(server: Server, base: str, environ: dict[str, str], path: str) -> None:
    given = {"AZURE_OPENAI_API_KEY": "azure-key-123456", **environ}
    assert said(await ask(models("azure", server.url + base, given), "azure/mine")) == "Hello"
    (seen,) = server.seen
    assert seen.path == path
    assert seen.headers["api-key"] == "azure-key-123456"
    assert "authorization" not in seen.headers
    assert seen.body["model"] == "mine"


async def test_azure_takes_a_token_of_entra(server: Server) -> None:
    found = models("azure", server.url, key=printed("eyJ.entra.token"))
    assert said(await ask(found, "azure/mine")) == "Hello"
    assert server.seen[0].headers["authorization"] == "Bearer eyJ.entra.token"
    assert "api-key" not in server.seen[0].headers


async def test_bedrock_takes_an_api_key(server: Server) -> None:
    given = {"AWS_BEARER_TOKEN_BEDROCK": "ABSK-bedrock-key", "AWS_REGION": "eu-west-1"}
    found = models("bedrock-anthropic", f"{server.url}/anthropic", given)
    assert said(await ask(found, "bedrock-anthropic/anthropic.claude-sonnet-5-5")) == "Hello"
    (seen,) = server.seen
    assert seen.path == "/anthropic/v1/messages"
    assert seen.headers["authorization"] == "Bearer ABSK-bedrock-key"


KEYS = {"AccessKeyId": "ASIAIOSFODNN7EXAMPLE", "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG", "SessionToken": "token/1+2="}


@pytest.mark.parametrize("helper", [False, True])
async def test_bedrock_signs_with_keys_of_aws(server: Server, helper: bool) -> None:
    environ = {"AWS_REGION": "eu-west-1"}
    entry: dict[str, Any] = {}
    if helper:
        entry["key"] = printed(json.dumps({"Version": 1, **KEYS, "Expiration": "2999-01-01T00:00:00Z"}))
    else:
        environ |= {"AWS_ACCESS_KEY_ID": KEYS["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": KEYS["SecretAccessKey"]}
        environ |= {"AWS_SESSION_TOKEN": KEYS["SessionToken"]}
    found = models("bedrock", f"{server.url}/v1", environ, **entry)
    assert said(await ask(found, "bedrock/openai.gpt-oss-120b")) == "Hello"
    (seen,) = server.seen
    assert seen.headers["x-amz-security-token"] == KEYS["SessionToken"]
    moment = datetime.datetime.strptime(seen.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    names = seen.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {"host", "content-type", "x-amz-date", "x-amz-security-token"} <= set(names)
    again = sign(
        "POST",
        server.url + seen.path,
        {name: seen.headers[name] for name in names if name not in ("host", "x-amz-date", "x-amz-security-token")},
        json.dumps(seen.body, separators=(",", ":"), ensure_ascii=False).encode(),
        keys=AwsKeys(*KEYS.values()),
        region="eu-west-1",
        service="bedrock",
        now=moment,
    )
    assert again["Authorization"] == seen.headers["authorization"]


async def test_bedrock_without_its_secret_says_so(server: Server) -> None:
    environ = {"AWS_ACCESS_KEY_ID": KEYS["AccessKeyId"], "AWS_REGION": "eu-west-1"}
    ended = await ask(models("bedrock", server.url, environ), "bedrock/openai.gpt-oss-120b")
    assert isinstance(ended, Failed)
    assert (ended.error.code, "AWS_SECRET_ACCESS_KEY" in ended.error.message) == ("auth", True)
    assert not server.seen


def test_a_signature_is_as_published() -> None:
    """The example of the AWS documents, "Signature Version 4 signing process"."""
    signed = sign(
        "GET",
        "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
        {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
        b"",
        keys=AwsKeys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        region="us-east-1",
        service="iam",
        now=datetime.datetime(2015, 8, 30, 12, 36, tzinfo=datetime.UTC),
    )
    assert signed["Authorization"].endswith(
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )


async def test_vertex_asks_below_its_project(server: Server) -> None:
    base = f"{server.url}/v1/projects/p/locations/global"
    found = models("vertex", base, key=printed("ya29.token"))
    assert said(await ask(found, "vertex/gemini-3.8-flash")) == "Hello"
    found = models("vertex-anthropic", base, key=printed("ya29.token"))
    assert said(await ask(found, "vertex-anthropic/claude-sonnet-5-5")) == "Hello"
    gemini, claude = server.seen
    publishers = "/v1/projects/p/locations/global/publishers"
    assert gemini.path == f"{publishers}/google/models/gemini-3.8-flash:streamGenerateContent?alt=sse"
    assert claude.path == f"{publishers}/anthropic/models/claude-sonnet-5-5:streamRawPredict"
    for seen in server.seen:
        assert seen.headers["authorization"] == "Bearer ya29.token"
        assert not {"x-api-key", "x-goog-api-key", "anthropic-version"} & seen.headers.keys()
    assert claude.body["anthropic_version"] == "vertex-2023-10-16"
    assert "model" not in claude.body


async def test_an_expired_key_is_asked_for_again_once(server: Server, tmp_path: Path) -> None:
    """The helper counts its runs; what it printed first is refused after a while."""
    runs = tmp_path / "runs"
    code = f"f = open({str(runs)!r}, 'a+'); f.write('x'); f.flush(); f.seek(0); print('key-' + str(len(f.read())))"
    key = "command:" + shlex.join([sys.executable, "-c", code])
    found = models("openai", f"{server.url}/v1", key=key)
    request = Request(instruction="", messages=(UserMessage((Text("Hi"),)),))

    async def once() -> ModelEvent:
        return [event async for event in found.resolve("openai/gpt-6-luna").stream(request)][-1]

    assert said(await once()) == "Hello"
    assert said(await once()) == "Hello"
    assert runs.read_text() == "x"
    server.refused.add("key-1")
    assert said(await once()) == "Hello"
    assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer key-1"] * 3 + ["Bearer key-2"]
    server.refused |= {"key-2", "key-3"}
    ended = await once()
    assert isinstance(ended, Failed)
    assert ended.error.code == "auth"
    assert "key-" not in ended.error.message
    assert runs.read_text() == "xxx"
    await found.close()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("command:no-such-helper --print", "is not installed"),
        ("command:" + shlex.join([sys.executable, "-c", "import sys; sys.exit('log in first')"]), "log in first"),
        (printed(""), "printed no key"),
        (printed("two\nlines"), "printed no key"),
        (printed("{broken"), "broken JSON"),
        (printed('{"token": "t", "expires_at": "soon"}'), "no time"),
        (printed('{"token": "t", "expires_in": "soon"}'), "no number"),
    ],
)
async def test_a_helper_that_fails_says_why(server: Server, key: str, message: str) -> None:
    ended = await ask(models("openai", f"{server.url}/v1", key=key), "openai/gpt-6-luna")
    assert isinstance(ended, Failed)
    assert ended.error.code == "auth"
    assert message in ended.error.message
    assert not server.seen


def test_expiries_in_all_their_forms() -> None:
    end = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC).timestamp()
    for text in ('"2030-01-01T00:00:00Z"', '"2030-01-01T01:00:00+01:00"', str(end), f'"{end:.0f}"'):
        assert parse(f'{{"access_token": "t", "expires_at": {text}}}'.encode(), where="here").until == end
    assert "t-secret" not in repr(parse(b"t-secret", where="here"))


async def test_a_slow_helper_runs_once_and_holds_up_nothing(tmp_path: Path) -> None:
    runs, go = tmp_path / "runs", tmp_path / "go"
    code = (
        f"import os, sys, time; open({str(runs)!r}, 'a').write('x')\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "sys.exit('log in first')"
    )
    helper = Helper(shlex.join([sys.executable, "-c", code]), where="here")
    asking = [asyncio.create_task(helper.current()) for _ in range(100)]
    await asyncio.sleep(0.1)
    asking[0].cancel()
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 60) == "free"
    go.touch()
    cancelled, *failed = await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 30)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert all(isinstance(each, ConfigError) and "log in first" in str(each) for each in failed)
    assert runs.read_text() == "x"


async def test_hooks_of_ones_own(server: Server, tmp_path: Path) -> None:
    (tmp_path / "office.py").write_text(
        "import msgspec\n"
        "from roost.models.hooks import AccountHooks, with_body, with_headers\n"
        "class Office(AccountHooks):\n"
        "    async def endpoint(self, endpoint):\n"
        "        return msgspec.structs.replace(endpoint, key=self.env['OFFICE'])\n"
        "    def request(self, call, *, model, stream):\n"
        "        return with_body(with_headers(call, {'X-Team': 'blue'}), {'user': 'ann'})\n"
        "    def frame(self, frame):\n"
        "        return msgspec.structs.replace(frame, data=frame.data.replace(b'Hello', b'Goodbye'))\n"
    )
    hooks = f"{tmp_path / 'office.py'}:Office"
    found = models("office", f"{server.url}/v1", {"OFFICE": "now"}, hooks=hooks)
    assert said(await ask(found, "office/llama")) == "Goodbye"
    (seen,) = server.seen
    assert (seen.headers["authorization"], seen.headers["x-team"], seen.body["user"]) == ("Bearer now", "blue", "ann")


@pytest.mark.parametrize("hooks", ["nothing", "no_such_module:Hooks", "json:dumps", "/no/such.py:Hooks"])
def test_hooks_that_cannot_be_had(hooks: str) -> None:
    with pytest.raises(ConfigError, match="hooks"):
        models("office", "http://127.0.0.1:1/v1", hooks=hooks).resolve("office/llama")


def test_an_address_with_a_variable() -> None:
    key = {"AZURE_OPENAI_API_KEY": "azure-key-123456"}
    assert "AZURE_OPENAI_RESOURCE" in str(Models(environ=key, dotenv=None).trouble("azure/mine"))
    for hostile in ("evil.example/", "evil.example#", "a@evil", "", "-"):
        named = Models(environ={**key, "AZURE_OPENAI_RESOURCE": hostile}, dotenv=None)
        assert "AZURE_OPENAI_RESOURCE" in str(named.trouble("azure/mine"))
    fine = Models(environ={**key, "AZURE_OPENAI_RESOURCE": "my-office"}, dotenv=None)
    assert fine.trouble("azure/mine") is None
    assert fine.address("azure") == "https://my-office.openai.azure.com/openai/v1"


def test_a_folder_does_not_say_where_a_key_goes(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("AZURE_OPENAI_RESOURCE=somebodys\n")
    stray = Models(environ={"AZURE_OPENAI_API_KEY": "azure-key-123456"}, dotenv=tmp_path / ".env")
    assert "may not say where your keys go" in str(stray.trouble("azure/mine"))
    (tmp_path / ".env").write_text("AZURE_OPENAI_RESOURCE=mine\nAZURE_OPENAI_API_KEY=its-own-key\n")
    assert Models(environ={}, dotenv=tmp_path / ".env").trouble("azure/mine") is None
