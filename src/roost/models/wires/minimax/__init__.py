"""MiniMax's own wire, for api.minimax.io and api.minimaxi.com: its text, chat and messages interfaces."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from roost.log.content import ErrorData
from roost.models.profile import Knob, Profile
from roost.models.prompt import Prompt
from roost.models.wire import Answer, Endpoint, HttpCall, Options, Wire
from roost.models.wire_body import encode
from roost.models.wires.minimax.answer import ChatAnswer, MessagesAnswer
from roost.models.wires.minimax.errors import minimax_error
from roost.models.wires.minimax.request import KNOBS, NAME, PATHS, Quirks, body_of

VERSION = "2023-06-01"
"""Version of the protocol that the messages interface follows; the documentation names none."""


class MiniMax:
    """The base URL is the server's, with or without `/v1` or `/anthropic`. A model's settings depend on the
    interface."""

    name = NAME

    def __init__(self, quirks: Quirks | None = None) -> None:
        self._interface = (quirks or Quirks()).interface

    @property
    def knobs(self) -> Mapping[str, Knob]:
        return KNOBS[self._interface]

    def call(self, prompt: Prompt, model: str, profile: Profile, endpoint: Endpoint, *, stream: bool) -> HttpCall:
        interface = self._interface
        body = body_of(prompt, model, profile, interface, stream=stream)
        headers = {"Accept": "text/event-stream" if stream else "application/json"}
        if endpoint.key:
            headers["Authorization"] = f"Bearer {endpoint.key}"
        if interface == "messages":
            headers["anthropic-version"] = VERSION
        base = endpoint.root.removesuffix("/v1").removesuffix("/anthropic")
        return HttpCall("POST", endpoint.with_query(f"{base}/{PATHS[interface]}"), headers, encode(body))

    def answer(
        self, prompt: Prompt, profile: Profile, *, where: str, model: str = "", endpoint: Endpoint | None = None
    ) -> Answer:
        kind = MessagesAnswer if self._interface == "messages" else ChatAnswer
        return kind(prompt, profile, where=where)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData:
        return minimax_error(status, headers, body, where=where)


def make(options: Options) -> Wire:
    """Make the wire. options: the fields of `Quirks`."""
    return MiniMax(msgspec.convert(options, Quirks))
