"""The wire: turns a prompt into one HTTP call, and the response bytes into events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urljoin

import msgspec

from roost.log.content import ErrorData
from roost.models.framing import Framing
from roost.models.media.limits import MediaLimits
from roost.models.profile import Knob, Profile
from roost.models.prompt import Prompt
from roost.models.request import Completed, Failed, ModelEvent
from roost.models.sse import SSEEvent

_VERSION = re.compile(r"v\d+\w*")
_LEAVES = ("/chat/completions", "/responses", "/messages", "/embeddings")
"""Operation paths that people copy from a provider's documentation together with the base URL."""
_SECRET = 12
"""Characters from which a header's value counts as a secret; a shorter one may be a plain word."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The address and key of a model. headers: sent with every call, over the wire's own. idle_timeout: the longest
    silence in seconds; None takes the HTTP client's. ca: a file of certificates trusted in addition to the system's.
    The repr shows neither key nor headers."""

    base_url: str
    key: str | None = None
    headers: dict[str, str] = {}
    idle_timeout: float | None = None
    ca: str | None = None

    def __repr__(self) -> str:
        return f"Endpoint(base_url={self.base_url!r})"

    def hide(self, text: str) -> str:
        """Mask the key, and header values long enough to be secrets."""
        for secret in filter(None, (self.key, *self.headers.values())):
            if len(secret) >= _SECRET or secret == self.key:
                text = text.replace(secret, "[key]")
                # A truncated message may end inside the secret.
                cut = next((n for n in range(len(secret) - 1, 7, -1) if text.endswith(secret[:n])), 0)
                text = f"{text[:-cut]}[key]" if cut else text
        return text

    def url(self, path: str) -> str:
        """Return the address of `path` below the base URL.

        The base may end with its version (`/v1`), which is not doubled, or with the whole address of one operation
        (`/chat/completions`), and may have a query (`?api-version=...`), which stays behind the path.
        """
        base = self.root
        version, _, rest = path.lstrip("/").partition("/")
        path = rest if rest and base.endswith(f"/{version}") and _VERSION.fullmatch(version) else path.lstrip("/")
        return self.with_query(f"{base}/{path}")

    @property
    def root(self) -> str:
        """The base URL without its query and without the path of an operation."""
        base = self.base_url.partition("?")[0].rstrip("/")
        return next((base.removesuffix(leaf) for leaf in _LEAVES if base.endswith(leaf)), base)

    def with_query(self, url: str) -> str:
        query = self.base_url.partition("?")[2]
        return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


class HttpCall(msgspec.Struct, frozen=True):
    """headers: without the endpoint's own and without the content type, which is JSON if there is a `body`."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None

    def __repr__(self) -> str:
        # The headers hold the key.
        return f"HttpCall({self.method} {self.url!r})"


class Follow(msgspec.Struct, frozen=True):
    """The next call of an asynchronous answer, `after` seconds from now. Its URL may be relative to that of the first
    call, whose headers it inherits."""

    call: HttpCall
    after: float = 0.0

    def behind(self, first: HttpCall) -> HttpCall:
        call = self.call
        return HttpCall(call.method, urljoin(first.url, call.url), {**first.headers, **call.headers}, call.body)


class Answer(Protocol):
    """Builds one answer. It takes frames, returns deltas at once and the whole at the end. It never raises.

    error: set, by the answer or its feeder, for an unreadable frame or a reported error; later input is ignored.
    finished: the answer is complete, even if the rest is lost. over: no more input is needed. follow: checked at the
    end of a body; the call that fetches the rest. rest: called after the last frame; returns deltas held back. end:
    called once, last. An answer may have an `id`: the server's name for it, once known.
    """

    error: ErrorData | None

    @property
    def finished(self) -> bool: ...

    @property
    def over(self) -> bool: ...

    @property
    def follow(self) -> Follow | None: ...

    def feed(self, frame: SSEEvent) -> list[ModelEvent]: ...

    def whole(self, body: bytes) -> list[ModelEvent]: ...

    def rest(self) -> list[ModelEvent]: ...

    def end(self) -> Completed | Failed: ...


class Listing(msgspec.Struct, frozen=True):
    """The names of the models that a server lists. more: it has further ones."""

    models: tuple[str, ...]
    more: bool = False


class Wire(Protocol):
    """One protocol of model servers. Holds no state of a call; safe to use concurrently. `roost.models.wires.base` has
    a base class for it.

    call: sends every text as valid UTF-8, and a conversation from any other provider in a form that this protocol
    accepts: foreign signatures are left out, ids and names are adapted. Raises nothing for a valid prompt. answer: gets
    the prompt that was sent, and the `model` and `endpoint` of the call, since a signature may be valid only there.
    where: names the model in messages for people. framing: of a streamed answer, `sse` or `ndjson`; decides how a body
    becomes frames. refused: converts a non-2xx response to an error. knobs: those of the
    protocol; a profile's own override them. media: limits of the protocol; a profile's own override them, too.
    embeddings: the protocol of `roost.local.embed.wire` that servers of this wire speak beside it, if any. listing: the
    call that lists the models of an account, by the protocol's own path or another `path` or URL. listed: reads its
    JSON; None where that holds no list.
    """

    @property
    def name(self) -> str: ...

    @property
    def knobs(self) -> Mapping[str, Knob]: ...

    @property
    def framing(self) -> Framing: ...

    @property
    def media(self) -> MediaLimits: ...

    @property
    def embeddings(self) -> str | None: ...

    def call(self, prompt: Prompt, model: str, profile: Profile, endpoint: Endpoint, *, stream: bool) -> HttpCall: ...

    def answer(
        self, prompt: Prompt, profile: Profile, *, where: str, model: str = "", endpoint: Endpoint | None = None
    ) -> Answer: ...

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData: ...

    def listing(self, endpoint: Endpoint, path: str | None = None) -> HttpCall: ...

    def listed(self, document: Mapping[str, Any]) -> Listing | None: ...


Options = dict[str, Any]
"""A server's deviations from the wire's defaults, as each wire defines them."""
