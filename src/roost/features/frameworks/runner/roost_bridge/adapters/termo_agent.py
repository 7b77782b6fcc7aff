"""termo-agent. The object is an `Adapter`: its class, or one of it. Each session has an adapter of its own, which is
made anew for each turn, with what it keeps: its folder (`AGENT_DATA_DIR`), and its attributes with plain values.

A message is either words for the agent, or a request to one of the adapter's routes (`route_of`): termo-agent's own
server answers that, inside this program."""

from __future__ import annotations

import base64
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import secrets
import socket
from typing import Any, cast
from urllib.parse import unquote

from .. import kept_folder
from ..gate import run_name, source

_KEY = "api:direct"
_REPLY_BYTES = 4 * 1024 * 1024
_SEAMS = {"agents": "openai_agents", "langchain_core": "langgraph", "pydantic_ai": "pydantic_ai"}
"""By the module of a framework that an adapter may use inside: the adapter here that gates its tools."""
_LEFT_OUT = ("content-length", "transfer-encoding", "connection", "date", "server", "set-cookie")


def version() -> str:
    return importlib.metadata.version("termo-agent")


def install() -> None:
    data = os.environ.setdefault("AGENT_DATA_DIR", os.path.join(os.environ["HOME"], ".termo-agent"))
    os.makedirs(os.path.dirname(data), exist_ok=True)
    for module, name in _SEAMS.items():
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(f"{__package__}.{name}").install()


async def run(agent: Any, text: str, memory: list[Any]) -> tuple[str, list[Any]]:
    kept_folder.begin(os.environ["AGENT_DATA_DIR"], run_name(), os.path.join(source(), "data"))
    adapter = agent() if isinstance(agent, type) else agent
    key = os.environ.get("ROOST_SESSION_KEY") or _KEY
    config = os.path.join(source(), "config.json")
    await adapter.initialize(config if os.path.exists(config) else None)
    try:
        fresh = plain_attributes(adapter)
        put_back(adapter, memory)
        asked = route_of(text)
        result = await _said(adapter, text, key) if asked is None else await _routed(adapter, asked)
        history = cast("list[Any]", _plain(list(await adapter.get_history(key) or [])))
        kept = {name: value for name, value in plain_attributes(adapter).items() if fresh.get(name) != value}
    finally:
        await adapter.shutdown()
    return result, [*({"attributes": one} for one in _told(kept, history)), *({"history": one} for one in history)]


# What the agent says


async def _said(adapter: Any, text: str, key: str) -> str:
    """Return the answer. An adapter that cannot stream is asked for all of it."""
    tokens: list[str] = []
    try:
        stream = adapter.send_message_stream(message=text, session_key=key)
        stream = await stream if inspect.isawaitable(stream) else stream
        async for event in stream:
            if event.type == "token":
                tokens.append(event.content)
            elif event.type == "done":
                return str(event.content) or "".join(tokens)
            elif event.type == "error":
                raise RuntimeError(event.content or "the adapter reports an error")
    except NotImplementedError:
        if tokens:
            raise
        return str(await adapter.send_message(message=text, session_key=key))
    return "".join(tokens)


# What it keeps


def plain_attributes(adapter: Any) -> dict[str, Any]:
    """Return copies of the attributes whose values JSON can keep without loss."""
    found: dict[str, Any] = {}
    for name, value in cast("dict[str, Any]", vars(adapter)).items():
        try:
            copy = json.loads(json.dumps(value))
        except (TypeError, ValueError, RecursionError):
            continue
        if copy == value:
            found[name] = copy
    return found


def put_back(adapter: Any, memory: list[Any]) -> None:
    """Set the attributes that an earlier turn changed. A list or a mapping stays the object that it is."""
    history = [one["history"] for one in memory if "history" in one]
    for one in memory:
        if "attributes" not in one:
            continue
        name, value = one["attributes"]["name"], one["attributes"]["value"]
        at = one["attributes"]["history"]
        if at == "":
            value = list(history)
        elif at is not None:
            value = {**value, at: list(history)}
        held = getattr(adapter, name, None)
        if isinstance(held, dict) and isinstance(value, dict):
            cast("dict[Any, Any]", held).clear()
            cast("dict[Any, Any]", held).update(cast("dict[Any, Any]", value))
        elif isinstance(held, list) and isinstance(value, list):
            held[:] = value
        else:
            setattr(adapter, name, value)


def _told(kept: dict[str, Any], history: list[Any]) -> list[dict[str, Any]]:
    """Describe attributes. One that holds the history, as it is or under a key, says so: the log has it once."""
    found: list[dict[str, Any]] = []
    for name, value in kept.items():
        whole = value == history and bool(history)
        at = "" if whole else None
        if not whole and history and isinstance(value, dict):
            given = cast("dict[str, Any]", value)
            at = next((key for key, held in given.items() if key and held == history), None)
            value = {key: held for key, held in given.items() if key != at}
        found.append({"name": name, "value": None if whole else value, "history": at})
    return found


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


# Its routes


def route_of(text: str) -> dict[str, Any] | None:
    """Return the request that a message is, if it is one."""
    if not text.startswith('{"http":'):
        return None
    try:
        asked = json.loads(text)["http"]
    except ValueError:
        return None
    return cast("dict[str, Any]", asked) if isinstance(asked, dict) else None


def public(adapter: Any, path: str) -> bool:
    """Whether the adapter lets anybody ask for a path. A prefix stands for whole segments."""
    path = unquote(path)
    for prefix in adapter.public_route_prefixes():
        if path == prefix or path.startswith(prefix if prefix.endswith("/") else f"{prefix}/"):
            return True
    return bool(adapter.is_public_request(path))


async def _routed(adapter: Any, asked: dict[str, Any]) -> str:
    """Return the response of termo-agent's server."""
    if asked.get("public") and not public(adapter, asked["path"]):
        return _response(401, {"content-type": "application/json"}, b'{"error": "unauthorized"}')
    aiohttp, server = importlib.import_module("aiohttp"), importlib.import_module("termo_agent.server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    serving = server.AgentServer(adapter, host="127.0.0.1", port=port, token=token)
    await serving.start()
    try:
        body = asked["body"]
        data = base64.b64decode(body) if asked.get("base64") else body.encode()
        query = f"?{asked['query']}" if asked.get("query") else ""
        url = importlib.import_module("yarl").URL(f"http://127.0.0.1:{port}{asked['path']}{query}", encoded=True)
        headers = {**asked["headers"], "authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as client,
            client.request(asked["method"], url, data=data, headers=headers, allow_redirects=False) as reply,
        ):
            got = await reply.read()
            kept = {name.lower(): value for name, value in reply.headers.items() if name.lower() not in _LEFT_OUT}
            return _response(reply.status, kept, got)
    finally:
        await serving.stop()


def _response(status: int, headers: dict[str, str], body: bytes) -> str:
    if len(body) > _REPLY_BYTES:
        status, headers, body = 502, {}, b"the response of this route is too large"
    try:
        told, encoded = body.decode(), False
    except UnicodeDecodeError:
        told, encoded = base64.b64encode(body).decode(), True
    return json.dumps({"status": status, "headers": headers, "body": told, "base64": encoded})
