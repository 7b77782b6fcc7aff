"""JSON-RPC 2.0, a message a line: requests and notifications both ways."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, cast

import msgspec
from msgspec import UNSET, UnsetType

from roost.acp.pipes import LineReader, LineWriter
from roost.errors import RoostError

PARSE, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
CANCELLED, AUTH_REQUIRED, NOT_FOUND = -32800, -32000, -32002
_MOST_LINE = 64 * 1024 * 1024
_MOST_REQUESTS = 500
"""Most requests of the client that are in progress at once."""
_CANCEL = "$/cancel_request"
_log = logging.getLogger(__name__)
Id: TypeAlias = int | str | None


class RpcError(Exception):
    """An error of the protocol, sent by either side."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


class Call(NamedTuple):
    """A request of the client, or a notification: then `id` is UNSET."""

    method: str
    params: bytes
    id: Id | UnsetType


class Method(NamedTuple):
    """A method of this side. params: the type of its parameters. run: gets them and the call."""

    params: type[msgspec.Struct]
    run: Callable[[Any, Call], Awaitable[Any]]


class Reply(NamedTuple):
    """The result of a request. then: what to do once it is sent."""

    result: Any
    then: Callable[[], Awaitable[None]]


class _Error(msgspec.Struct):
    code: int = INTERNAL
    message: str = "refused"


class _Message(msgspec.Struct):
    id: int | str | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: msgspec.Raw = msgspec.Raw(b"{}")
    result: msgspec.Raw | UnsetType = UNSET
    error: _Error | None = None


class _CancelRequest(msgspec.Struct, rename="camel"):
    request_id: int | str | None


_decoder = msgspec.json.Decoder(_Message)


class Peer:
    """One side of a connection. methods: of this side, by name."""

    def __init__(self, reader: LineReader, writer: LineWriter, methods: Mapping[str, Method]) -> None:
        self._reader, self._writer, self._methods = reader, writer, methods
        self._tasks: dict[asyncio.Task[None], Id | UnsetType] = {}
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._next = 0
        self._ended = False

    @classmethod
    def on(cls, source: int, target: int, methods: Mapping[str, Method]) -> Peer:
        """Return the side that reads from and writes to these file descriptors."""
        return cls(LineReader(source, _MOST_LINE), LineWriter(target), methods)

    async def serve(self) -> None:
        """Answer the client until its input ends. Requests run beside each other, and begin in their order."""
        try:
            async for line in self._reader.lines():
                if line is None:
                    await self._refuse(None, RpcError(INVALID_REQUEST, f"a message has at most {_MOST_LINE} bytes"))
                elif line.strip():
                    await self._take(line)
        except OSError:
            _log.info("the client reads no more")
        finally:
            await self._end()

    async def notify(self, method: str, params: Any) -> None:
        """Send a notification. Raises `OSError` when the client is gone."""
        await self._send({"jsonrpc": "2.0", "method": method, "params": params})

    async def request(self, method: str, params: Any) -> Any:
        """Send a request and return its result. A caller that is cancelled withdraws it. Raises `RpcError`, and
        `OSError` when the client is gone."""
        self._next += 1
        number, answer = self._next, asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            await self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
            return await answer
        except asyncio.CancelledError:
            await self.notify(_CANCEL, {"requestId": number})
            raise
        finally:
            self._asked.pop(number, None)

    def spawn(self, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run `work` until it ends or the connection does."""
        return self._begin(work, UNSET)

    def _begin(self, work: Callable[[], Awaitable[None]], id: Id | UnsetType) -> asyncio.Task[None]:
        async def run() -> None:
            try:
                await work()
            except OSError:
                pass  # the client is gone: `serve` ends
            except Exception:
                _log.exception("a task of the connection failed")

        task = asyncio.get_running_loop().create_task(run())
        self._tasks[task] = id
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    async def _take(self, line: bytes) -> None:
        try:
            message = _decoder.decode(line)
        except msgspec.ValidationError as error:
            await self._refuse(_id_of(line), RpcError(INVALID_REQUEST, f"this is no request: {error}"))
            return
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            await self._refuse(_id_of(line), RpcError(PARSE, f"this is not JSON that can be read: {error}"))
            return
        if isinstance(message.method, UnsetType):
            await self._answered(message)
            return
        call = Call(message.method, bytes(message.params), message.id)
        if call.method == _CANCEL:
            self._withdrawn(call.params)
        elif len(self._tasks) >= _MOST_REQUESTS:
            await self._refuse(call.id, RpcError(INTERNAL, f"{_MOST_REQUESTS} requests are in progress; wait for some"))
        else:
            self._begin(lambda: self._run(call), call.id)

    async def _answered(self, message: _Message) -> None:
        if isinstance(message.id, UnsetType):
            await self._refuse(None, RpcError(INVALID_REQUEST, "a message has a `method`, or the `id` of a request"))
            return
        answer = self._asked.get(message.id) if isinstance(message.id, int) else None
        if answer is None or answer.done():
            return  # it was withdrawn
        if message.error is not None:
            answer.set_exception(RpcError(message.error.code, message.error.message))
            return
        raw = message.result
        try:
            answer.set_result(None if isinstance(raw, UnsetType) else msgspec.json.decode(raw))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            answer.set_exception(RpcError(PARSE, f"the result is not JSON that can be read: {error}"))

    def _withdrawn(self, params: bytes) -> None:
        try:
            wanted = msgspec.json.decode(params, type=_CancelRequest).request_id
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return  # a notification has no answer
        for task, id in list(self._tasks.items()):
            if id is not UNSET and id == wanted:
                task.cancel()

    async def _run(self, call: Call) -> None:
        try:
            result = await self._result(call)
        except asyncio.CancelledError:
            await self._refuse(call.id, RpcError(CANCELLED, "the request was cancelled"))
            raise
        except RpcError as error:
            await self._refuse(call.id, error)
            return
        then = None
        if isinstance(result, Reply):
            result, then = result
        if not isinstance(call.id, UnsetType):
            await self._send({"jsonrpc": "2.0", "id": call.id, "result": result})
        if then is not None:
            await then()

    async def _result(self, call: Call) -> Any:
        method = self._methods.get(call.method)
        if method is None:
            raise RpcError(NO_METHOD, f"there is no method {call.method!r}")
        try:
            params = msgspec.json.decode(call.params, type=method.params)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RpcError(INVALID_PARAMS, f"{call.method}: {error}") from None
        try:
            return await method.run(params, call)
        except RoostError as error:
            raise rpc_error(error) from error
        except (RpcError, OSError):
            raise
        except Exception as error:  # a bug must not end the connection
            _log.exception("the method %s failed", call.method)
            raise RpcError(INTERNAL, f"internal: {type(error).__name__}: {error}") from error

    async def _refuse(self, id: Id | UnsetType, error: RpcError) -> None:
        if isinstance(id, UnsetType):
            _log.warning("a notification was refused: %s", error.message)
            return
        body = {"code": error.code, "message": error.message}
        if error.data is not None:
            body["data"] = error.data
        await self._send({"jsonrpc": "2.0", "id": id, "error": body})

    async def _send(self, message: dict[str, Any]) -> None:
        if self._ended:
            raise BrokenPipeError("the connection has ended")
        await self._writer.write(msgspec.json.encode(message))

    async def _end(self) -> None:
        self._ended = True
        for answer in self._asked.values():
            if not answer.done():
                answer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def rpc_error(error: RoostError) -> RpcError:
    """Return the error of the protocol that says the same."""
    codes = {401: AUTH_REQUIRED, 404: NOT_FOUND, 409: INVALID_REQUEST}
    codes |= dict.fromkeys((400, 413, 422), INVALID_PARAMS)
    return RpcError(codes.get(error.status, INTERNAL), error.message, {"code": error.code})


def _id_of(line: bytes) -> Id:
    """Return the id of a message that is none. The standard library reads more, such as lone surrogates."""
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    id = cast("dict[str, object]", found).get("id") if isinstance(found, dict) else None
    return id if isinstance(id, int | str) else None
