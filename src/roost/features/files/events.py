"""Events and inputs of this feature."""

from __future__ import annotations

from roost.log.events import Event
from roost.log.inputs import Input


class FileRestored(Event, frozen=True, tag="file.restored"):
    """One file of the workspace was put back to what it was at the position `to` of the log; the rest of the session
    stays as it is. size: bytes. removed: it did not exist there, and is removed. call: the tool call, or input: the
    person's order that asked for it. error: why it was not put back."""

    path: str
    to: int
    size: int = 0
    removed: bool = False
    call: str | None = None
    input: int | None = None
    error: str | None = None

    @property
    def line(self) -> str:
        if self.error is not None:
            return f"{self.path} was not put back: {self.error}"
        return f"{self.path} is {'removed, as' if self.removed else 'as it was'} at {self.to}"


class FileWritten(Event, frozen=True, tag="file.written"):
    """A person wrote a file of the workspace. size: bytes. input: the order. error: why it was not written."""

    path: str
    size: int = 0
    input: int | None = None
    error: str | None = None

    @property
    def line(self) -> str:
        if self.error is not None:
            return f"{self.path} was not written: {self.error}"
        return f"a person wrote {self.path} ({self.size} bytes)"


class RestoreFileInput(Input, frozen=True, tag="file.restore"):
    """Put one file back to what it was at the position `to`."""

    path: str
    to: int


class WriteFileInput(Input, frozen=True, tag="file.write"):
    """Write a file of the workspace. upload: the uploaded file with its content. digest: of the content that it
    replaces; empty if it must be new, None if any will do."""

    path: str
    upload: str
    digest: str | None = None


EVENTS = (FileRestored, FileWritten)
INPUTS = (RestoreFileInput, WriteFileInput)
