"""One request of a client while it is served: what its handler may tell the client and ask of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from roost.doors.mcp.wire import CAPABILITY, PARAMS, Failure, Id, Json, as_object, encode, notification

TASKS = "io.modelcontextprotocol/tasks"
"""The extension of the newest revision."""
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_VALID_SECONDS = 7 * 24 * 3600.0
_CAPABILITY = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}
Purpose: TypeAlias = Literal["session", "event", "state"]
"""A session's id, an event's, or the `requestState` of a request."""
Send: TypeAlias = Callable[[Json], Awaitable[None]]


class Ask(NamedTuple):
    """A request to the client: `elicitation/create`, `sampling/createMessage` or `roots/list`."""

    method: str
    params: Mapping[str, Any]

    @property
    def capability(self) -> str:
        return _CAPABILITY[self.method]


class InputNeeded(Exception):
    """The request cannot be served before the client has answered `asks`. state: what it sends back with the
    answers."""

    def __init__(self, asks: Mapping[str, Ask], state: str) -> None:
        super().__init__(", ".join(asks))
        self.asks, self.state = asks, state


class Seal:
    """Signs what a client keeps for the door, so that any node can go on with it. secret: the cluster's. A seal is good
    only for the purpose for which it was made."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"roost mcp state", "sha256")

    def seal(self, purpose: Purpose, value: Any) -> str:
        body = base64.urlsafe_b64encode(encode([int(time.time()), value])).rstrip(b"=")
        return f"{body.decode()}.{self._mac(purpose, body)}"

    def open(self, purpose: Purpose, sealed: str, *, forever: bool = False) -> Any:
        """Return the value; None when it was not sealed here for this purpose, or too long ago."""
        body, _, mac = sealed.partition(".")
        wanted = self._mac(purpose, body.encode("utf-8", "replace"))
        if not hmac.compare_digest(mac.encode("utf-8", "replace"), wanted.encode()):
            return None
        made, value = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return value if forever or abs(time.time() - made) < _VALID_SECONDS else None

    def _mac(self, purpose: Purpose, body: bytes) -> str:
        signed = b"%b.%b" % (purpose.encode(), body)
        return base64.urlsafe_b64encode(hmac.digest(self._key, signed, "sha256")[:24]).decode()


class Exchange(ABC):
    """A request. id, method, params: its own. client: the client's capabilities. level: from which on it wants log
    messages; None for none. key: an idempotency key of the client's HTTP request. send: sends a message to the client
    before the response. kept: what the handler has done for good, to go on from after a question or a break."""

    def __init__(
        self,
        id: Id,
        method: str,
        params: Json,
        *,
        client: Json,
        level: str | None,
        key: str | None,
        send: Send,
    ) -> None:
        self.id, self.method, self.params = id, method, params
        self.client, self.key = client, key
        self.kept: Json = {}
        self.abandoned: Callable[[], Awaitable[None]] | None = None
        """Called when the client cancels the request."""
        self._level, self._send = level, send
        self.meta = as_object(params.get("_meta")) or {}
        token: Any = self.meta.get("progressToken")
        self._token: Id | None = token if isinstance(token, str | int) else None

    @property
    def tasks(self) -> bool:
        """Whether the client takes a task in place of a result."""
        return False

    def can(self, ask: Ask) -> bool:
        """Return whether the client can answer."""
        given = as_object(self.client.get(ask.capability))
        if ask.capability == "elicitation" and given:
            return ("url" if ask.params.get("mode") == "url" else "form") in given
        return given is not None

    async def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Tell how far the work is, to a client that wants to know. `done` grows each time."""
        if self._token is None:
            return
        params: Json = {"progressToken": self._token, "progress": done}
        if total is not None:
            params["total"] = total
        if message is not None:
            params["message"] = message
        await self.notify("notifications/progress", params)

    async def log(self, level: str, data: Any, logger: str = "roost") -> None:
        if self._level is not None and LEVELS.index(level) >= LEVELS.index(self._level):
            await self.notify("notifications/message", {"level": level, "logger": logger, "data": data})

    async def notify(self, method: str, params: Json) -> None:
        await self._send(notification(method, params))

    async def keep(self, **kept: Any) -> None:
        """Note what is done for good."""
        self.kept = kept

    async def ask(self, asks: Mapping[str, Ask]) -> Mapping[str, Json]:
        """Return the client's answers. Raises `Failure` when the client lacks a capability or answers with an error,
        and `InputNeeded` in the revision that has no requests to clients."""
        lacks: dict[str, Json] = {one.capability: {} for one in asks.values() if not self.can(one)}
        if lacks:
            names = ", ".join(lacks)
            raise Failure(CAPABILITY, f"the client must be capable of: {names}", {"requiredCapabilities": lacks})
        return await self._answers(asks)

    @abstractmethod
    async def _answers(self, asks: Mapping[str, Ask]) -> Mapping[str, Json]: ...


class RoundExchange(Exchange):
    """A request of the newest revision: the client sends it again with its answers. answers: those it has, of all
    rounds."""

    def __init__(self, seal: Seal, id: Id, method: str, params: Json, **more: Any) -> None:
        super().__init__(id, method, params, **more)
        self._seal = seal
        self._answered: Json = {}
        state: Any = params.get("requestState")
        if state is not None:
            self._answered, self.kept = self._opened(state)
        given = params.get("inputResponses")
        if given is not None and as_object(given) is None:
            raise Failure(PARAMS, "`inputResponses` is an object")
        self._given = as_object(given) or {}

    @property
    def tasks(self) -> bool:
        return TASKS in (as_object(self.client.get("extensions")) or ())

    def _opened(self, state: Any) -> tuple[Json, Json]:
        found = self._seal.open("state", state) if isinstance(state, str) else None
        if found is None or found["same"] != self._same:
            raise Failure(PARAMS, "`requestState` was not made for this request, or is too old")
        return found["answers"], found["kept"]

    @property
    def _same(self) -> str:
        """What must be the same in each round."""
        what = [self.method, self.params.get("name"), self.params.get("uri"), self.params.get("arguments")]
        return hashlib.sha256(msgspec.json.encode(what, order="sorted")).hexdigest()[:32]

    async def _answers(self, asks: Mapping[str, Ask]) -> Mapping[str, Json]:
        for key, one in asks.items():
            if key not in self._answered and fits(one, self._given.get(key)):
                self._answered[key] = self._given[key]
        missing = {key: one for key, one in asks.items() if key not in self._answered}
        if missing:
            raise InputNeeded(missing, self.state)
        return {key: self._answered[key] for key in asks}

    @property
    def state(self) -> str:
        return self._seal.seal("state", {"same": self._same, "answers": self._answered, "kept": self.kept})


def fits(ask: Ask, answer: Any) -> bool:
    """Return whether an answer has the shape of the question's result."""
    found = as_object(answer)
    if found is None:
        return False
    match ask.method:
        case "elicitation/create":
            content = as_object(found.get("content"))
            accepted = found.get("action") == "accept" and ask.params.get("mode") != "url"
            return found.get("action") in ("accept", "decline", "cancel") and (
                not accepted or (content is not None and _has_all(ask, content))
            )
        case "roots/list":
            return isinstance(found.get("roots"), list)
        case _:
            return "content" in found


def _has_all(ask: Ask, content: Json) -> bool:
    schema: Any = ask.params.get("requestedSchema") or {}
    return all(name in content for name in schema.get("required", ()))
