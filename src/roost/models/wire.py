"""What a wire is: it turns a prompt into one HTTP call and the bytes that come back into events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urljoin

import msgspec

from roost.log.content import ErrorData
from roost.models.profile import Knob, Profile
from roost.models.prompt import Prompt
from roost.models.request import Completed, Failed, ModelEvent
from roost.models.sse import SSEEvent

_VERSION = re.compile(r"v\d+\w*")
_LEAVES = ("/chat/completions", "/responses", "/messages", "/embeddings")
"""What people copy from a provider's documentation along with the base."""
_SECRET = 12
"""Characters from which a header's value counts as a secret; a shorter one may be a plain word."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model is, and with which key. `headers` go with every call, over the wire's own. `idle_timeout` is the
    longest silence in seconds; None takes the HTTP client's. `ca` is a file of certificates that are trusted there
    beside the system's. The key and the headers are in no repr."""

    base_url: str
    key: str | None = None
    headers: dict[str, str] = {}
    idle_timeout: float | None = None
    ca: str | None = None

    def __repr__(self) -> str:
        return f"Endpoint(base_url={self.base_url!r})"

    def hide(self, text: str) -> str:
        """Without the key, and without what is as long as one among the headers."""
        for secret in filter(None, (self.key, *self.headers.values())):
            if len(secret) >= _SECRET or secret == self.key:
                text = text.replace(secret, "[key]")
                # A message that was cut may end in the midst of it.
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
        """The base URL without its query and without what names an operation."""
        base = self.base_url.partition("?")[0].rstrip("/")
        return next((base.removesuffix(leaf) for leaf in _LEAVES if base.endswith(leaf)), base)

    def with_query(self, url: str) -> str:
        query = self.base_url.partition("?")[2]
        return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


class HttpCall(msgspec.Struct, frozen=True):
    """`headers` without the endpoint's own and without the content type, which is JSON where there is a `body`."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None

    def __repr__(self) -> str:
        # The headers hold the key.
        return f"HttpCall({self.method} {self.url!r})"


class Follow(msgspec.Struct, frozen=True):
    """The call that continues an answer that is not made at once, `after` seconds from now. Its URL may be relative to
    that of the first call, whose headers it takes over."""

    call: HttpCall
    after: float = 0.0

    def behind(self, first: HttpCall) -> HttpCall:
        call = self.call
        return HttpCall(call.method, urljoin(first.url, call.url), {**first.headers, **call.headers}, call.body)


class Answer(Protocol):
    """Builds one answer. Feed it frames; it gives deltas at once and the whole at the end. It never raises.

    `error` is set by what cannot be read or says an error, by the answer itself or by its feeder: nothing after it
    counts. `finished`: the answer is whole, whatever becomes of the rest, and it is not before. `over`: nothing more is
    wanted. `follow`, looked at when a body has ended, is the call that brings the rest. `rest`, once no more frames
    come, gives the deltas that were held back. `end` is called once, last. An answer may have an `id`: the server's
    name for it, once it is known.
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


class Wire(Protocol):
    """One protocol that model servers speak. Holds no state of a call; may be used concurrently.

    `call` sends every text as valid UTF-8, whatever the prompt holds, and a conversation from any other provider in a
    form that this protocol takes: foreign signatures are left out, ids and names are made to fit. It raises nothing for
    a valid prompt. `answer` is told the prompt that was sent, and the `model` and `endpoint` of the call: a signature
    may hold only there. `where` names the model in messages for people.
    `refused` says what an answer that is not 2xx means. `knobs` are those that the protocol defines; a profile's own
    come before them.
    """

    @property
    def name(self) -> str: ...

    @property
    def knobs(self) -> Mapping[str, Knob]: ...

    def call(self, prompt: Prompt, model: str, profile: Profile, endpoint: Endpoint, *, stream: bool) -> HttpCall: ...

    def answer(
        self, prompt: Prompt, profile: Profile, *, where: str, model: str = "", endpoint: Endpoint | None = None
    ) -> Answer: ...

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData: ...


Options = dict[str, Any]
"""How a server departs from its wire's common ground, as each wire defines it."""
