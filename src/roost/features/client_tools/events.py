"""Events and inputs of this feature."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from roost.log.content import ResultPart
from roost.log.events import Event
from roost.log.inputs import Input, Urgency


class OfferedTool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool that the client runs. schema: a JSON Schema of type object."""

    name: str
    description: str = ""
    schema: dict[str, Any] = {}


class ClientOffered(Event, frozen=True, tag="client.offered"):
    """From now on the model may call these tools, which the client runs. They replace those offered before. answer: the
    JSON Schema that answers fit; None for any text. choice: names of the client's tools; the next answer of the model
    must call one of them. Empty: it may answer as it likes."""

    tools: tuple[OfferedTool, ...] = ()
    answer: dict[str, Any] | None = None
    choice: tuple[str, ...] = ()


class ClientCalled(Event, frozen=True, tag="client.called"):
    """The call waits for the client, which runs it with `arguments` (JSON text)."""

    call: str
    name: str
    arguments: str = "{}"

    @property
    def line(self) -> str:
        return f"{self.name} waits for the client that offers it"


class ClientOfferInput(Input, frozen=True, tag="client.offer"):
    """Fields as in `ClientOffered`. The same offer as the present one changes nothing."""

    tools: tuple[OfferedTool, ...] = ()
    answer: dict[str, Any] | None = None
    choice: tuple[str, ...] = ()


class ClientResultInput(Input, frozen=True, tag="client.result"):
    """The outcome of a call that waits for the client."""

    urgency: ClassVar[Urgency] = 1

    call: str
    parts: tuple[ResultPart, ...]
    error: bool = False


EVENTS = (ClientOffered, ClientCalled)
INPUTS = (ClientOfferInput, ClientResultInput)
