"""Answer requests of the Gemini API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qs

import msgspec
from starlette.types import Receive, Scope

from roost.doors.gemini import gateway_mode
from roost.doors.gemini.content_request import ContentRequest, Json, read
from roost.doors.models import agent_of, model_of, usable
from roost.errors import Invalid
from roost.models.request import Model
from roost.models.tokens import estimate_request
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.problems import Refused
from roost.server.request_body import decode_body, read_body
from roost.server.responses import ReplyCall, json
from roost.server.sessions import check_room

BODY_BYTES = 32 * 1024 * 1024
"""Most bytes of a request: clients send the whole history, with its images, each time."""
_MESSAGES = 20_000
_LARGE = 100_000
"""Bytes of a request that is read beside the event loop."""
_METHODS = ("generateContent", "streamGenerateContent")
_COUNT = "countTokens"
_PAGE, _MOST = 50, 1000
T = TypeVar("T")
_decoder = msgspec.json.Decoder(dict[str, Any])


class Service:
    def __init__(self, api: Api) -> None:
        self._api = api

    def routes(self) -> Mapping[str, Methods]:
        found: dict[str, Methods] = {}
        for version in ("v1", "v1beta"):
            found[f"/{version}/models"] = {"GET": self.models}
            found[f"/{version}/models/{{call:path}}"] = {"GET": self.model, "POST": self.create}
        return found

    @needs("read")
    async def models(self, scope: Scope, receive: Receive) -> ReplyCall:
        """List the usable models of the router's profile, a page at a time."""
        asked = parse_qs(scope["query_string"].decode("latin-1"))
        size, token = asked.get("pageSize", [str(_PAGE)])[0], asked.get("pageToken", ["0"])[0]
        if not all(one.isascii() and one.isdigit() and len(one) < 10 for one in (size, token)):
            raise Invalid("pageSize: give a number; pageToken: give that of the page before")
        first, most = int(token), min(max(1, int(size)), _MOST)
        found = await usable(self._api)
        page = [_entry(one.name, one.window, one.max_output) for one in found[first : first + most]]
        more = {"nextPageToken": str(first + most)} if first + most < len(found) else {}
        return json(200, {"models": page, **more})

    @needs("read")
    async def model(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Describe a model by any name that a request may have."""
        name = scope["path_params"]["call"]
        profile = (await self._model(name)).profile
        return json(200, _entry(name, profile.window, profile.max_output))

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        name, method = called(scope)
        body, size = await body_of(scope, receive)
        if method == _COUNT:
            await self._model(name)
            return json(200, {"totalTokens": await beside(size, lambda: counted(body))})
        check_room(self._api)
        model = await self._model(name)
        return await beside(size, lambda: reply(self._api, model, name, method, body, scope))

    async def _model(self, name: str) -> Model:
        if agent_of(self._api, name) is not None:
            raise Invalid(
                f"{name!r} is an agent, and this protocol calls models only;"
                " agents answer at /v1/chat/completions, /v1/responses and /v1/messages"
            )
        return await model_of(self._api, name)


def called(scope: Scope) -> tuple[str, str]:
    """Return the model and the method of a path such as `NAME:generateContent`. Raises `Refused`."""
    name, _, method = scope["path_params"]["call"].rpartition(":")
    if not name or method not in (*_METHODS, _COUNT):
        known = ", ".join((*_METHODS, _COUNT))
        raise Refused(404, "not_found", f"there is no method {method[:100]!r} here; the methods of a model are {known}")
    return name, method


async def body_of(scope: Scope, receive: Receive) -> tuple[Json, int]:
    """Return the body of a request, and its size. Raises `Refused`, `Invalid`."""
    data = await read_body(scope, receive, limit=BODY_BYTES)
    if len(data) > _LARGE:
        return await asyncio.to_thread(decode_body, scope, data, _decoder), len(data)
    return decode_body(scope, data, _decoder), len(data)


async def beside(size: int, make: Callable[[], T]) -> T:
    """Return what `make` returns; for a large request it does so beside the event loop."""
    return await asyncio.to_thread(make) if size > _LARGE else make()


def counted(body: Json) -> int:
    """Estimate the tokens of a request, without asking a model. Raises `Invalid`."""
    inner = body.get("generateContentRequest") or body.get("generate_content_request") or body
    return estimate_request(gateway_mode.request_of(_read(inner), whole=False))


def reply(api: Api, model: Model, name: str, method: str, body: Json, scope: Scope) -> ReplyCall:
    """Call a model. Raises `Invalid`."""
    events = b"alt=sse" in scope["query_string"]
    stream = method == "streamGenerateContent"
    return gateway_mode.reply(api, model, name, _read(body), stream=stream, events=events)


def _read(body: Any) -> ContentRequest:
    if not isinstance(body, dict):
        raise Invalid("the body: give an object")
    asked = read(body)  # pyright: ignore[reportUnknownArgumentType]
    if len(asked.contents) > _MESSAGES:
        raise Invalid(f"contents: a request has at most {_MESSAGES}, not {len(asked.contents)}")
    return asked


def _entry(name: str, window: int | None, most: int | None) -> Json:
    return {
        "name": f"models/{name}",
        "displayName": name,
        "version": "1",
        **({} if window is None else {"inputTokenLimit": window}),
        **({} if most is None else {"outputTokenLimit": most}),
        "supportedGenerationMethods": [*_METHODS, _COUNT],
    }
