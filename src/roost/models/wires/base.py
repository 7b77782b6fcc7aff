"""The base of the wires: what most protocols have in common. A wire overrides what its protocol does otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar, cast

import msgspec

from roost.log.content import ErrorData
from roost.models.framing import STREAM_TYPES, Framing
from roost.models.media.limits import NO_LIMITS, MediaLimits
from roost.models.profile import Knob
from roost.models.wire import Endpoint, HttpCall, Listing
from roost.models.wire_body import Json, encode
from roost.models.wires.errors import http_error

Q = TypeVar("Q", bound=msgspec.Struct)
_LONGEST_NAME = 200
"""Characters of a model's name that a listing keeps."""


class BaseWire(Generic[Q]):
    """A `Wire` with a bearer key, a JSON listing and the common errors, and without media limits.

    A subclass sets `name` and `options`, and has `call` and `answer`. It overrides the rest where its protocol differs.
    options: the class of `quirks`, the deviations of single servers; a user sets its fields in `models.toml`.
    """

    name: str
    options: type[Q]
    knobs: Mapping[str, Knob] = {}
    framing: Framing = "sse"
    media: MediaLimits = NO_LIMITS
    embeddings: str | None = None
    models_path = "models"
    """The path below the base URL that lists the models."""

    def __init__(self, quirks: Q | None = None) -> None:
        self.quirks: Q = self.options() if quirks is None else quirks

    def auth(self, key: str) -> Mapping[str, str]:
        """Return the headers that carry the key."""
        return {"Authorization": f"Bearer {key}"}

    def headers(self, endpoint: Endpoint, *, stream: bool = False) -> dict[str, str]:
        """Return the headers of every call: the key, and what is accepted: for a stream, the type of the framing."""
        accept = STREAM_TYPES[self.framing] if stream else "application/json"
        return {"Accept": accept, **(self.auth(endpoint.key) if endpoint.key else {})}

    def post(
        self, url: str, body: Json, endpoint: Endpoint, *, stream: bool, headers: Mapping[str, str] | None = None
    ) -> HttpCall:
        """Return the call that sends `body`. headers: further ones."""
        return HttpCall("POST", url, {**self.headers(endpoint, stream=stream), **(headers or {})}, encode(body))

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData:
        return http_error(status, headers, body, where=where)

    def listing(self, endpoint: Endpoint, path: str | None = None) -> HttpCall:
        url = path if path and "://" in path else endpoint.url(path or self.models_path)
        return HttpCall("GET", url, self.headers(endpoint))

    def listed(self, document: Mapping[str, Any]) -> Listing | None:
        """Read `{"data": [{"id": ...}], "has_more": ...}` or `{"models": [{"name": ...}], "nextPageToken": ...}`."""
        items: object = document.get("data", document.get("models"))
        if not isinstance(items, list):
            return None
        more = bool(document.get("has_more") or document.get("nextPageToken"))
        return Listing(tuple(map(_model_name, cast("list[object]", items))), more)


def _model_name(item: object) -> str:
    fields = cast("Json", item) if isinstance(item, dict) else {}
    return str(fields.get("id") or fields.get("name") or "").removeprefix("models/")[:_LONGEST_NAME]
