"""The interface of a protocol that the stub provider speaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec
from starlette.routing import Route

from roost.log.content import Usage
from roost.models.framing import Framing
from roost.stub.script import Reply


class Asked(msgspec.Struct, frozen=True):
    """A request as a script sees it, whatever its protocol.

    `messages` have the roles system, user, assistant and tool (one per result), and text as `content`: their text and
    number decide the answer and its call ids.
    """

    model: str
    stream: bool
    messages: list[dict[str, Any]]
    body: dict[str, Any]


class Dialect(Protocol):
    """One protocol, from the server's side.

    `path` is a route, with parameters in braces where the protocol has them. `check` raises `AssertionError` with the
    reason where a strict provider would refuse the request. `frames` are the whole body of a stream, one per write;
    without `finish` the end and the usage are missing. `error` is the JSON of a refusal, `error_frame` an error in
    mid-stream. Header names are in lower case.
    """

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> str: ...

    def key(self, headers: Mapping[str, str]) -> str | None: ...

    def check(self, body: dict[str, Any], headers: Mapping[str, str]) -> None: ...

    def asked(self, body: dict[str, Any], path: str) -> Asked: ...

    def frames(self, reply: Reply, asked: Asked, *, finish: bool = True) -> list[bytes]: ...

    def document(self, reply: Reply, asked: Asked) -> bytes: ...

    def error(self, status: int, message: str, code: str | None = None) -> dict[str, Any]: ...

    def error_frame(self, status: int, message: str) -> bytes: ...


@runtime_checkable
class Routed(Protocol):
    """A dialect with routes beside its `path`. With `key`, a request without it must be refused."""

    def routes(self, key: str | None) -> Sequence[Route]: ...


@runtime_checkable
class Listed(Protocol):
    """A dialect that lists the stub's one model, `scripted`, at `models_path`."""

    models_path: str

    def models(self) -> dict[str, Any]: ...


@runtime_checkable
class Framed(Protocol):
    """A dialect whose frames are no server-sent events."""

    framing: Framing


@runtime_checkable
class Ends(Protocol):
    """A dialect that says how answers end. `finish_fields`: the fields that hold the finish reason of a document, which
    the fault `no_finish` removes. `stop_words`: those of a request, at which the stub ends its text."""

    finish_fields: frozenset[str]

    def stop_words(self, body: dict[str, Any]) -> Sequence[str]: ...


@runtime_checkable
class Priced(Protocol):
    """A dialect whose requests determine their usage, whatever the reply says."""

    def usage(self, asked: Asked) -> Usage: ...
