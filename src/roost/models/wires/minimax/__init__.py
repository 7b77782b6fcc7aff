"""MiniMax's own wire, for api.minimax.io and api.minimaxi.com: its text, chat and messages interfaces."""

from __future__ import annotations

from collections.abc import Mapping

from roost.log.content import ErrorData
from roost.models.media.limits import MediaLimits
from roost.models.profile import MediaLimit, Profile
from roost.models.prompt import Prompt
from roost.models.wire import Answer, Endpoint, HttpCall
from roost.models.wires.base import BaseWire
from roost.models.wires.minimax.answer import ChatAnswer, MessagesAnswer
from roost.models.wires.minimax.errors import minimax_error
from roost.models.wires.minimax.request import KNOBS, NAME, PATHS, Quirks, body_of

VERSION = "2023-06-01"
"""Version of the protocol that the messages interface follows; the documentation names none."""


class MiniMax(BaseWire[Quirks]):
    """The base URL is the server's, with or without `/v1` or `/anthropic`. A model's settings depend on the interface.
    That no animation is accepted is an assumption."""

    name = NAME
    options = Quirks
    media = MediaLimits(kinds={"image": MediaLimit(urls=True), "video": MediaLimit(urls=True)}, still=True)
    models_path = "v1/models"

    def __init__(self, quirks: Quirks | None = None) -> None:
        super().__init__(quirks)
        self._interface = self.quirks.interface
        self.knobs = KNOBS[self._interface]

    def call(self, prompt: Prompt, model: str, profile: Profile, endpoint: Endpoint, *, stream: bool) -> HttpCall:
        body = body_of(prompt, model, profile, self._interface, stream=stream)
        base = endpoint.root.removesuffix("/v1").removesuffix("/anthropic")
        url = endpoint.with_query(f"{base}/{PATHS[self._interface]}")
        version = {"anthropic-version": VERSION} if self._interface == "messages" else {}
        return self.post(url, body, endpoint, stream=stream, headers=version)

    def answer(
        self, prompt: Prompt, profile: Profile, *, where: str, model: str = "", endpoint: Endpoint | None = None
    ) -> Answer:
        kind = MessagesAnswer if self._interface == "messages" else ChatAnswer
        return kind(prompt, profile, where=where)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData:
        return minimax_error(status, headers, body, where=where)


WIRE = MiniMax
