"""Events and inputs of this feature."""

from __future__ import annotations

from typing import ClassVar

from roost.log.events import Event
from roost.log.inputs import Input, Urgency


class ApiPinned(Event, frozen=True, tag="openapi.pinned"):
    """From now on the session uses this document of an API. digest: of the document. spec: path or URL that it came
    from. operations: number of those offered. by: who accepted it; empty for the first."""

    api: str
    digest: str
    spec: str
    operations: int
    by: str = ""

    @property
    def line(self) -> str:
        return f"the API {self.api} has {self.operations} operations ({self.digest[:12]})"


class ApiChanged(Event, frozen=True, tag="openapi.changed"):
    """The document of an API has changed. The session goes on with the pinned one until a person accepts the new one.
    added, removed, changed: names of operations, the first of each."""

    api: str
    digest: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        how = f"{len(self.added)} added, {len(self.removed)} removed, {len(self.changed)} changed"
        return f"the document of the API {self.api} has changed ({how}) and waits for a person"


class ApiFailed(Event, frozen=True, tag="openapi.failed"):
    """An API cannot be used now."""

    api: str
    reason: str

    @property
    def line(self) -> str:
        return f"the API {self.api} cannot be used: {self.reason}"


class ApiResponse(Event, frozen=True, tag="openapi.response"):
    """The text of a response, of which the result of the call shows the beginning."""

    call: str
    text: str

    @property
    def line(self) -> str:
        return f"a response of {len(self.text)} characters is kept"


class AcceptApiInput(Input, frozen=True, tag="openapi.accept"):
    """A person accepts the changed document of an API."""

    urgency: ClassVar[Urgency] = 1

    api: str
    digest: str
    by: str = ""


EVENTS = (ApiPinned, ApiChanged, ApiFailed, ApiResponse)
INPUTS = (AcceptApiInput,)
