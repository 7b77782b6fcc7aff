"""Answer the requests of MCP from what the door offers, in all revisions."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias, cast

import msgspec

from roost.doors.mcp.catalog import Offer, ResourceInfo, Task, TaskBegun, Tool, ToolFailed, ToolResult, text
from roost.doors.mcp.exchange import LEVELS, TASKS, Exchange, InputNeeded
from roost.doors.mcp.wire import (
    CAPABILITY,
    LEGACY,
    METHOD,
    MODERN,
    PARAMS,
    UNKNOWN_RESOURCE,
    Failure,
    Json,
    as_object,
    error_text,
)
from roost.errors import NotFound, RoostError
from roost.version import VERSION

INSTRUCTIONS = (
    "Roost runs AI agents. Each agent is a tool `ask_NAME`; give `session` to go on with a conversation. The other"
    " tools list, start, read and cancel sessions, and search the agents' memory."
)
_SERVER = {"name": "roost", "title": "Roost", "version": VERSION}
_PAGE = 200
_WATCHED = 64
"""Most resources that one client may watch."""
_LONGEST_URI = 1024
_COMPLETIONS = 100
_NUMBER = re.compile("[0-9]{1,4}")
_CACHED_MS = 0
"""Milliseconds for which a client may keep a list: agents and sessions may change at any time."""


Method: TypeAlias = Callable[[Exchange], Awaitable[Json]]


class Dispatcher:
    """Answers requests. offers: what the door offers, in the order in which they are asked. scrub: masks
    secrets in errors. instructions: what a client's model is told of the server."""

    def __init__(self, offers: Sequence[Offer], scrub: Callable[[str], str], instructions: str = INSTRUCTIONS) -> None:
        self._offers, self._scrub, self._instructions = offers, scrub, instructions

    @cached_property
    def _task_methods(self) -> dict[str, Method]:
        return {"tasks/get": self._get_task, "tasks/update": self._update_task, "tasks/cancel": self._cancel_task}

    @cached_property
    def _methods(self) -> dict[str, Method]:
        return {
            "tools/list": self._tools,
            "tools/call": self._call,
            "resources/list": self._resources,
            "resources/templates/list": self._templates,
            "resources/read": self._read,
            "prompts/list": self._prompts,
            "prompts/get": self._prompt,
            "completion/complete": self._complete,
        }

    async def modern(self, exchange: Exchange) -> Json:
        """Return the result of a request of the newest revision. Raises `Failure` and `RoostError`."""
        if exchange.method == "server/discover":
            capabilities: Json = {**self._capabilities(), "extensions": {TASKS: {}}}
            result: Json = {"supportedVersions": [MODERN], "capabilities": capabilities, **_cached()}
            result["instructions"] = self._instructions
        else:
            result = await self._result(exchange, self._methods | self._task_methods)
            if exchange.method.endswith(("/list", "/read")):
                result |= _cached()
        meta: Json = {**result.get("_meta", {}), "io.modelcontextprotocol/serverInfo": _SERVER}
        return {"resultType": "complete", **result, "_meta": meta}

    async def legacy(self, exchange: Exchange) -> Json:
        """Return the result of a request of an older revision. Raises `Failure` and `RoostError`."""
        if exchange.method == "ping":
            return {}
        return await self._result(exchange, self._methods)

    def initialized(self, params: Json) -> Json:
        """Return the result of `initialize`: the client's revision, or the newest that has this handshake."""
        asked: Any = params.get("protocolVersion")
        return {
            "protocolVersion": asked if asked in LEGACY else LEGACY[0],
            "capabilities": {**self._capabilities(), "logging": {}},
            "serverInfo": _SERVER,
            "instructions": self._instructions,
        }

    def _capabilities(self) -> Json:
        found: Json = {
            "tools": {"listChanged": False},
            "resources": {"subscribe": True, "listChanged": False},
            "completions": {},
        }
        if any(offer.prompting for offer in self._offers):
            found["prompts"] = {"listChanged": False}
        return found

    async def _result(self, exchange: Exchange, methods: Mapping[str, Method]) -> Json:
        method = methods.get(exchange.method)
        if method is None:
            raise Failure(METHOD, f"there is no method {exchange.method!r}")
        try:
            return await method(exchange)
        except InputNeeded as needed:
            asks = {key: {"method": ask.method, "params": ask.params} for key, ask in needed.asks.items()}
            return {"resultType": "input_required", "inputRequests": asks, "requestState": needed.state}
        except TaskBegun as begun:
            task = msgspec.structs.replace(begun.task, result=None, error=None, input_requests=None)
            return {"resultType": "task", **msgspec.to_builtins(task)}

    async def _tools(self, exchange: Exchange) -> Json:
        tools = [tool for offer in self._offers for tool in await offer.tools()]
        infos = sorted((tool.info for tool in tools), key=lambda info: info.name)
        after = _cursor(exchange)
        page = [info for info in infos if after is None or info.name > after][: _PAGE + 1]
        return _listed("tools", page[:_PAGE], page[_PAGE - 1].name if len(page) > _PAGE else None)

    async def tool(self, name: Any) -> Tool | None:
        for offer in self._offers if isinstance(name, str) else ():
            if (tool := await offer.tool(name)) is not None:
                return tool
        return None

    async def _call(self, exchange: Exchange) -> Json:
        name, arguments = exchange.params.get("name"), exchange.params.get("arguments")
        tool = await self.tool(name)
        if tool is None:
            raise Failure(PARAMS, f"there is no tool {name!r}; tools/list lists them")
        given = {} if arguments is None else as_object(arguments)
        if given is None:
            raise Failure(PARAMS, "`arguments` is an object")
        try:
            done = await (tool.resume(exchange) if exchange.kept else tool.run(given, exchange))
        except ToolFailed as error:
            done = self._failed(str(error))
        except RoostError as error:
            done = self._failed(error.message)
        return msgspec.to_builtins(done)

    def _failed(self, why: str) -> ToolResult:
        return ToolResult([text(error_text(why, self._scrub))], is_error=True)

    async def _task(self, exchange: Exchange) -> Task:
        if not exchange.tasks:
            required: Json = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
            raise Failure(CAPABILITY, f"the client must declare the extension {TASKS}", required)
        id: Any = exchange.params.get("taskId")
        for offer in self._offers if isinstance(id, str) else ():
            if (task := await offer.task(id, exchange)) is not None:
                return task
        raise Failure(PARAMS, f"there is no task {id!r}")

    async def _get_task(self, exchange: Exchange) -> Json:
        return msgspec.to_builtins(await (await self._task(exchange)).read())

    async def _update_task(self, exchange: Exchange) -> Json:
        task, answers = await self._task(exchange), as_object(exchange.params.get("inputResponses"))
        if answers is None:
            raise Failure(PARAMS, "`inputResponses` is an object")
        await task.update(answers)
        return {}

    async def _cancel_task(self, exchange: Exchange) -> Json:
        await (await self._task(exchange)).cancel()
        return {}

    async def _resources(self, exchange: Exchange) -> Json:
        """List the resources of all offers, one offer after the other. A cursor is an offer's number and its cursor."""
        number, _, cursor = (_cursor(exchange) or "0:").partition(":")
        if not _NUMBER.fullmatch(number) or int(number) >= len(self._offers):
            raise Failure(PARAMS, "this is no cursor of resources/list")
        found: list[ResourceInfo] = []
        for at in range(int(number), len(self._offers)):
            page = await self._offers[at].resources(cursor or None)
            found += page.resources
            if page.next is not None:
                return _listed("resources", found, f"{at}:{page.next}")
            cursor = ""
        return _listed("resources", found, None)

    async def _templates(self, exchange: Exchange) -> Json:
        return _listed("resourceTemplates", [one for offer in self._offers for one in offer.templates()], None)

    async def _read(self, exchange: Exchange) -> Json:
        uri: Any = exchange.params.get("uri")
        if not isinstance(uri, str):
            raise Failure(PARAMS, "`uri` is a string")
        for offer in self._offers:
            try:
                contents = await offer.read(uri)
            except RoostError as error:
                if error.status != 404:
                    raise
                contents = None
            if contents is not None:
                return {"contents": contents}
        raise Failure(PARAMS, f"there is no resource {uri!r}", {"uri": uri})

    async def _prompts(self, exchange: Exchange) -> Json:
        return _listed("prompts", [one for offer in self._offers for one in offer.prompts()], None)

    async def _prompt(self, exchange: Exchange) -> Json:
        name, given = exchange.params.get("name"), as_object(exchange.params.get("arguments") or {})
        if not isinstance(name, str) or given is None:
            raise Failure(PARAMS, "`name` is a string and `arguments` an object")
        for offer in self._offers:
            found = await offer.prompt(name, {key: str(value) for key, value in given.items()}, exchange)
            if found is not None:
                return found
        raise Failure(PARAMS, f"there is no prompt {name!r}; prompts/list lists them")

    async def _complete(self, exchange: Exchange) -> Json:
        ref, argument = exchange.params.get("ref"), exchange.params.get("argument")
        where = _text(ref, "name") or _text(ref, "uri")
        name, value = _text(argument, "name"), _text(argument, "value")
        if where is None or name is None or value is None:
            raise Failure(PARAMS, "`ref` names a prompt or a template, `argument` has a `name` and a `value`")
        for offer in self._offers:
            found = await offer.complete(where, name, value)
            if found is not None:
                some = list(found[:_COMPLETIONS])
                return {"completion": {"values": some, "total": len(found), "hasMore": len(found) > len(some)}}
        raise Failure(PARAMS, f"there is no prompt and no template {where!r}")

    def watchable(self, uris: Any) -> list[str]:
        """Return the resources of a request that can be watched. Raises `Failure`."""
        given = cast("list[Any]", uris) if isinstance(uris, list) else None
        if given is None or len(given) > _WATCHED or not all(map(_is_uri, given)):
            why = f"name at most {_WATCHED} resources by their URIs, of at most {_LONGEST_URI} characters"
            raise Failure(PARAMS, why)
        return [uri for uri in given if any(offer.watch(uri) is not None for offer in self._offers)]

    async def watch(self, uri: str, changed: Callable[[str], Awaitable[None]]) -> None:
        """Call `changed` whenever a resource has changed. Returns when there is no such resource, or no more."""
        for offer in self._offers:
            if (changes := offer.watch(uri)) is not None:
                with contextlib.suppress(NotFound):
                    async for _ in changes:
                        await changed(uri)
                return

    async def watch_all(self, uris: Sequence[str], changed: Callable[[str], Awaitable[None]]) -> None:
        async with asyncio.TaskGroup() as group:
            for uri in uris:
                group.create_task(self.watch(uri, changed))


def level_of(params: Json) -> str:
    """Return the level of `logging/setLevel`. Raises `Failure`."""
    level: Any = params.get("level")
    if level not in LEVELS:
        raise Failure(PARAMS, f"`level` is one of: {', '.join(LEVELS)}")
    return str(level)


def older(failure: Failure) -> Failure:
    """Return a failure as the older revisions say it."""
    unknown = failure.code == PARAMS and "uri" in (as_object(failure.data) or ())
    return Failure(UNKNOWN_RESOURCE, failure.message, failure.data) if unknown else failure


def _cached() -> Json:
    return {"ttlMs": _CACHED_MS, "cacheScope": "private"}


def _listed(name: str, entries: Sequence[Any], next: str | None) -> Json:
    found: Json = {name: [msgspec.to_builtins(one) for one in entries]}
    return found if next is None else {**found, "nextCursor": next}


def _cursor(exchange: Exchange) -> str | None:
    cursor: Any = exchange.params.get("cursor")
    if cursor is not None and not isinstance(cursor, str):
        raise Failure(PARAMS, "`cursor` is a string of an earlier page")
    return cursor


def _is_uri(found: Any) -> bool:
    return isinstance(found, str) and len(found) <= _LONGEST_URI


def _text(found: Any, name: str) -> str | None:
    value = (as_object(found) or {}).get(name)
    return value if isinstance(value, str) else None
