"""A conversation with one server over a wire: the handshake, requests and their answers, and what the server asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from roost.features.mcp.catalog import MOST, Catalog, ServerTool, catalog_of
from roost.features.mcp.era import Era, Legacy, Modern, chosen_legacy, client_info
from roost.features.mcp.messages import (
    LEGACY,
    METHOD,
    MODERN,
    VERSION,
    Json,
    ServerError,
    ServerFailed,
    answer,
    as_list,
    as_object,
    is_answer,
    notification,
    refusal,
    request,
    result_of,
)
from roost.features.mcp.wire import Wire

_PROBE_SECONDS = 5.0
"""After it a program is offered the handshake, too."""
_PAGES = 100
_ASKS = 8
"""Most requests of a server that wait at the same time."""


class Asked(NamedTuple):
    """What a server asks of a person in the middle of a call. wants: by key, the parameters of each question. state:
    what a stateless server gets back. held: the open call of a server with a session, which waits on this
    connection."""

    wants: Mapping[str, Json]
    state: str | None = None
    held: Held | None = None


class Held:
    """A call that a server with a session has not answered, because it waits for an answer itself."""

    def __init__(self, call: asyncio.Task[Json], waiting: _Open, id: Any) -> None:
        self.call, self.waiting, self.id = call, waiting, id
        call.add_done_callback(lambda done: done.cancelled() or done.exception())  # perhaps nobody comes back for it


class _Open:
    """A request that waits for its answer. asked: its server asks something in return."""

    def __init__(self, id: int, method: str) -> None:
        self.id, self.method = id, method
        self.answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self.asked: asyncio.Queue[tuple[Any, Json]] = asyncio.Queue(_ASKS)


class Connection:
    """Speak with a server. stdio: it is a program. roots: folders that it may know of. changed: called when it says
    that its tools have changed.

    `start` belongs to the owner task; any task may call the others, also several at a time."""

    def __init__(
        self,
        wire: Wire,
        *,
        stdio: bool = False,
        roots: Sequence[str] = (),
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._wire, self._stdio, self._roots, self._changed = wire, stdio, roots, changed
        self._open: dict[int, _Open] = {}
        self._last = 0
        self._answers: set[asyncio.Task[None]] = set()
        self._failure: ServerFailed | None = None
        self.era: Era = Modern(self._capabilities())

    def _capabilities(self) -> Json:
        roots: Json = {"roots": {}} if self._roots else {}
        return {"elicitation": {"form": {}, "url": {}}, **roots}

    # The owner task

    async def start(self, *, modern: bool = True) -> None:
        """Agree on an era. modern: try the stateless one first. Raises `ServerFailed`, `ServerError`."""
        probing = asyncio.create_task(self._discover()) if modern else None
        shaking: asyncio.Task[Json] | None = None
        try:
            if probing is not None:
                await asyncio.wait([probing], timeout=_PROBE_SECONDS if self._stdio else None)
                if probing.done() and await probing:
                    return
            shaking = asyncio.create_task(self._handshake())
            if probing is not None and await self._discovers(probing, shaking):
                self.era = Modern(self._capabilities())
                return
            self.era = Legacy(_revision_of(await shaking))
        finally:
            for task in (probing, shaking):
                if task is not None:
                    await _ended(task)
        await self._send(notification("notifications/initialized"))

    async def _discovers(self, probing: asyncio.Task[bool], shaking: asyncio.Task[Json]) -> bool:
        """Return whether the server speaks the stateless revision: some programs take long to start and then answer the
        probe, others never do."""
        while not probing.done():
            await asyncio.wait([probing, shaking], return_when=asyncio.FIRST_COMPLETED)
            if shaking.done():
                if shaking.exception() is None:
                    return False
                await asyncio.wait([probing])
        return await probing

    async def _discover(self) -> bool:
        """Return whether the server says that it speaks the stateless revision."""
        for _ in range(2):
            try:
                result = await self.request("server/discover", {})
            except ServerError as error:
                supported = as_list(as_object(error.data).get("supported"))
                if error.code == VERSION and MODERN in supported and isinstance(self.era, Modern):
                    continue  # it speaks it, and may have been starting
                return False
            return MODERN in as_list(result.get("supportedVersions", [MODERN]))
        return False

    async def _handshake(self) -> Json:
        self.era = Legacy(LEGACY[0])
        params = {"protocolVersion": LEGACY[0], "capabilities": self._capabilities(), "clientInfo": client_info()}
        return await self.request("initialize", params)

    def receive(self, message: Json, origin: int | None) -> None:
        """Take a message of the server. Called by the wire."""
        if is_answer(message):
            id = message.get("id")
            waiting = self._open.get(id) if isinstance(id, int) else None
            if waiting is not None and not waiting.answer.done():
                waiting.answer.set_result(message)
        elif "id" in message:
            self._asked(message, origin)
        elif message.get("method") == "notifications/tools/list_changed":
            self._changed()

    def failed(self, failure: ServerFailed) -> None:
        """End every open request: the server is gone."""
        self._failure = failure
        for waiting in self._open.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(ServerFailed(str(failure), unsure=True))

    async def end(self) -> None:
        """Stop answering the server."""
        for task in list(self._answers):
            task.cancel()
        if self._answers:
            await asyncio.wait(self._answers)

    # Requests

    async def request(self, method: str, params: Mapping[str, Any]) -> Json:
        """Send a request and return its result. Cancelling tells the server. Raises `ServerFailed`, `ServerError`."""
        return await self._complete(self._begin(method), params)

    def _begin(self, method: str) -> _Open:
        self._last += 1
        waiting = self._open[self._last] = _Open(self._last, method)
        return waiting

    async def _complete(self, waiting: _Open, params: Mapping[str, Any], schema: Json | None = None) -> Json:
        era, sent = self.era, self.era.params(params)
        message, headers = request(waiting.id, waiting.method, sent), era.headers(waiting.method, sent, schema)
        sending = asyncio.create_task(self._wire.send(message, headers))
        try:
            if self._failure is not None:
                raise self._failure
            await asyncio.wait([sending, waiting.answer], return_when=asyncio.FIRST_COMPLETED)
            if not waiting.answer.done():
                await sending
                await waiting.answer
            return result_of(waiting.answer.result())
        except asyncio.CancelledError:
            if isinstance(era, Legacy) or self._stdio:
                self._reply(notification("notifications/cancelled", {"requestId": waiting.id}))
            raise
        finally:
            self._open.pop(waiting.id, None)
            await _ended(sending)
            waiting.answer.cancel()

    async def catalog(self) -> tuple[Catalog, float | None]:
        """List the tools. Returns them, and the seconds for which the server says that they hold. Raises
        `ServerFailed`, `ServerError`."""
        found: list[Any] = []
        ttl: float | None = None
        cursor: object = None
        for _ in range(_PAGES):
            result = await self.request("tools/list", {} if cursor is None else {"cursor": cursor})
            found += as_list(result.get("tools"))
            said, cursor = result.get("ttlMs"), result.get("nextCursor")
            ttl = said / 1000 if isinstance(said, int | float) and not isinstance(said, bool) else ttl
            if not isinstance(cursor, str) or not cursor or len(found) > MOST:
                break
        return catalog_of(found), ttl

    async def call(
        self, tool: ServerTool, arguments: Json, *, answers: Mapping[str, Any] | None = None, state: str | None = None
    ) -> Json | Asked:
        """Call a tool. Returns the result, or what the server asks first. Raises `ServerFailed`, `ServerError`.

        answers, state: to go on with a call of which a stateless server has asked something."""
        params: Json = {"name": tool.name, "arguments": arguments}
        if answers is not None:
            params["inputResponses"] = dict(answers)
        if state is not None:
            params["requestState"] = state
        waiting = self._begin("tools/call")
        found = await self._until_asked(asyncio.create_task(self._complete(waiting, params, tool.schema)), waiting)
        if isinstance(found, Asked) and found.held is None and all(map(_of_roots, found.wants.values())):
            if answers is not None and answers.keys() == found.wants.keys():
                raise ServerFailed("it asks for the same again and again")
            roots = {key: self._listed_roots() for key in found.wants}
            return await self.call(tool, arguments, answers=roots, state=found.state)
        return found

    async def go_on(self, held: Held, result: Json) -> Json | Asked:
        """Answer what a server with a session asks, and wait for the call again."""
        await self._send(answer(held.id, result))
        return await self._until_asked(held.call, held.waiting)

    async def _until_asked(self, working: asyncio.Task[Json], waiting: _Open) -> Json | Asked:
        asking = asyncio.create_task(waiting.asked.get())
        try:
            await asyncio.wait([working, asking], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return _wanted(working.result())
            id, params = asking.result()
            return Asked({"": {**params, "method": "elicitation/create"}}, held=Held(working, waiting, id))
        except asyncio.CancelledError:
            await _ended(working)
            raise
        finally:
            await _ended(asking)

    # What the server asks

    def _asked(self, message: Json, origin: int | None) -> None:
        method, id, params = message.get("method"), message.get("id"), as_object(message.get("params"))
        if method == "elicitation/create":
            waiting = self._open.get(origin) if origin is not None else self._newest("tools/call")
            if waiting is not None and waiting.method == "tools/call" and not waiting.asked.full():
                waiting.asked.put_nowait((id, params))
                return
            self._reply(refusal(id, -32600, "no call of yours is open"))
        elif method == "ping":
            self._reply(answer(id, {}))
        elif method == "roots/list" and self._roots:
            self._reply(answer(id, self._listed_roots()))
        else:
            self._reply(refusal(id, METHOD, f"this client does not serve {str(method)[:100]!r}"))

    def _newest(self, method: str) -> _Open | None:
        return next((one for one in reversed(self._open.values()) if one.method == method), None)

    def _reply(self, message: Json) -> None:
        if len(self._answers) < _ASKS:
            task = asyncio.create_task(self._quietly(message))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)

    async def _quietly(self, message: Json) -> None:
        try:
            await self._send(message)
        except (ServerFailed, ServerError):  # whoever waits for the server hears of it
            return

    def _listed_roots(self) -> Json:
        return {"roots": [{"uri": root} for root in self._roots]}

    async def _send(self, message: Json) -> None:
        await self._wire.send(message, self.era.headers(str(message.get("method", "")), {}))


async def _ended(task: asyncio.Task[Any]) -> None:
    """End a task, whatever its outcome."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


def _of_roots(want: Json) -> bool:
    return want["method"] == "roots/list"


def _wanted(result: Json) -> Json | Asked:
    """Return the result of a call, or what its stateless server wants to know first. Raises `ServerFailed`."""
    if result.get("resultType") != "input_required":
        return result
    wants: dict[str, Json] = {}
    for key, found in as_object(result.get("inputRequests")).items():
        asked = as_object(found)
        if asked.get("method") not in ("elicitation/create", "roots/list"):
            raise ServerFailed(f"it asks for {str(asked.get('method'))[:100]!r}, which Roost does not serve")
        wants[key] = {**as_object(asked.get("params")), "method": asked["method"]}
    if not wants and not isinstance(result.get("requestState"), str):
        raise ServerFailed("it wants an answer, and does not say to what")
    state = result.get("requestState")
    return Asked(wants, state if isinstance(state, str) else None)


def _revision_of(result: Json) -> str:
    """Return the revision of a handshake. Raises `ServerFailed`."""
    revision = chosen_legacy(result.get("protocolVersion"))
    if revision is None:
        raise ServerFailed(f"it speaks the revision {str(result.get('protocolVersion'))[:40]!r}, which Roost does not")
    return revision
