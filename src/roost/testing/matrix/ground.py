"""The place where behaviours are tested: the stub provider with a script, or a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from roost.models.http import HttpClient
from roost.models.http_model import HttpModel
from roost.models.profile import Profile
from roost.models.request import Completed, Failed, ModelEvent, Request
from roost.models.wire import Endpoint, Options, Wire
from roost.models.wires import WIRES, wire
from roost.stub.dialects import Dialect, dialects_of, lacks_of
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Script
from roost.stub.stats import Stats
from roost.testing.models import run

DEADLINE = 60.0
"""Seconds that one behaviour may take."""
FEATURES = ("thinking", "cached", "images", "refusal")
"""Parts of a protocol that several behaviours use. `cached`: counts of cached tokens."""
_SHORT = 16
"""Most tokens of a real model's answer."""


class NotHere(Exception):
    """The behaviour cannot be tested on this ground; the message says why."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A wire, and the server's side of its protocol; `more`: those of its other interfaces. `overflow`: messages with
    which its servers refuse, by 400, a request that is too long. `lacks`: what the protocol does not have, with the
    reason: a behaviour, which is then skipped, or one of `FEATURES`, which other behaviours then leave out, too."""

    name: str
    wire: Callable[[], Wire]
    dialect: Dialect
    more: tuple[Dialect, ...] = ()
    lacks: dict[str, str] = {}
    overflow: tuple[str, ...] = ("This model's maximum context length is 8192 tokens.", "prompt is too long")


class Real(msgspec.Struct, frozen=True, kw_only=True):
    """A real server. `profile`: abilities of its model."""

    url: str
    model: str
    key: str | None = None
    profile: Profile = Profile()


def subjects() -> list[Subject]:
    """Return every registered wire. Raises `AssertionError` for one whose protocol the stub does not speak."""
    return [subject(name) for name in WIRES]


def subject(
    name: str,
    options: Options | None = None,
    *,
    dialect: Dialect | None = None,
    lacks: dict[str, str] | None = None,
) -> Subject:
    """Return a registered wire. `options` may select another interface of it, with its own `dialect`. lacks: beside
    what the dialect's module states as `LACKS`."""
    known = dialects_of(name)
    if not known:
        raise AssertionError(f"the stub does not speak {name!r}: add its dialect to roost.stub.dialects")
    return Subject(
        name=name,
        wire=lambda: wire(name, options),
        dialect=dialect or known[0],
        more=known,
        lacks={**lacks_of(name), **(lacks or {})},
    )


class Place:
    """One server and the models behind it. `scripted`: the answers are known."""

    def __init__(self, ground: Ground, url: str, server: ProviderServer | None) -> None:
        self._ground = ground
        self._url = url
        self._server = server
        self.scripted = server is not None

    def model(self, *, key: str | None = None, wire: Wire | None = None, **profile: Any) -> HttpModel:
        """Make a model. `profile`: fields of `Profile` to change. `wire`: another one than the ground's, only at the
        stub."""
        ground = self._ground
        real = ground.real
        fields = msgspec.structs.replace(real.profile if real else Profile(), **({} if real else profile))
        return HttpModel(
            model=real.model if real else "scripted",
            endpoint=Endpoint(base_url=self._url, key=real.key if real else key),
            wire=wire or ground.subject.wire(),
            profile=fields,
            client=ground.client,
        )

    async def run(self, request: Request, **profile: Any) -> tuple[list[ModelEvent], Completed | Failed]:
        if self.scripted:
            return await run(self.model(**profile), request)
        # A real model is slow, and a real server may close a connection that it has just promised to keep.
        request = msgspec.structs.replace(request, max_output=request.max_output or _SHORT)
        events, end = await run(self.model(), request)
        if isinstance(end, Failed) and end.error.code == "connection":
            events, end = await run(self.model(), request)
        return events, end

    async def completed(self, request: Request, **profile: Any) -> Completed:
        _, end = await self.run(request, **profile)
        assert isinstance(end, Completed), f"the call failed: {end.error!r}"
        return end

    async def failed(self, request: Request, **profile: Any) -> Failed:
        _, end = await self.run(request, **profile)
        assert isinstance(end, Failed), f"the call did not fail: {end!r}"
        return end

    @property
    def sent(self) -> dict[str, Any]:
        """The body of the last request."""
        assert self._server is not None
        return self._server.provider.bodies[-1]

    @property
    def stats(self) -> Stats:
        assert self._server is not None
        return self._server.stats

    async def until(self, there: Callable[[], bool], what: str, seconds: float = 2.0) -> None:
        end = time.monotonic() + seconds
        while not there():
            assert time.monotonic() < end, what
            await asyncio.sleep(0.005)


class Ground:
    """The servers for one behaviour of one wire."""

    def __init__(self, subject: Subject, others: Sequence[Subject], real: Real | None = None) -> None:
        self.subject = subject
        self.others = others
        self.real = real
        # Longer than the behaviours wait, so that only the tested cause ends a call.
        self.client = HttpClient(connect_timeout=5.0, idle_timeout=DEADLINE)

    def has(self, feature: str) -> bool:
        """Return whether the protocol has this one of `FEATURES`."""
        return feature not in self.subject.lacks

    @asynccontextmanager
    async def place(
        self, script: Reply | Script | Callable[[dict[str, Any]], Reply] | None = None, *, key: str | None = None
    ) -> AsyncGenerator[Place]:
        """Yield a server; the real one where there is one. Raises `AssertionError` at the end when the stub received a
        request that a strict provider refuses."""
        if self.real is not None:
            yield Place(self, self.real.url, None)
            return
        replies = _always(script) if isinstance(script, Reply) else script
        every = (dialect for one in (self.subject, *self.others) for dialect in (one.dialect, *one.more))
        speaks: dict[str, Dialect] = {}
        for dialect in every:
            speaks.setdefault(dialect.path, dialect)
        with ProviderServer(replies, key=key, speaks=list(speaks.values())) as server:
            yield Place(self, server.url, server)
            assert not server.stats.violations, f"a strict provider refuses: {server.stats.reasons}"

    async def close(self) -> None:
        await self.client.close()


def _always(reply: Reply) -> Callable[[dict[str, Any]], Reply]:
    return lambda body: reply
