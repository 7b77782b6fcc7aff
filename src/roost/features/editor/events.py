"""Events and inputs of this feature."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from roost.log.content import ResultPart
from roost.log.events import Event
from roost.log.inputs import Input, Urgency


class EditorFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that a call names. path: as the call has it. real: its absolute path. name: relative to the workspace.
    known: digest of its content as the model knows it."""

    path: str
    real: str
    name: str
    known: str | None = None


class EditorAttached(Event, frozen=True, tag="editor.attached"):
    """An editor drives the session. reads, writes: it does what file tools do. terminals: it runs commands."""

    editor: str
    reads: bool = False
    writes: bool = False
    terminals: bool = False


class EditorDetached(Event, frozen=True, tag="editor.detached"):
    """The editor is gone."""

    editor: str
    reason: str = ""

    @property
    def line(self) -> str:
        return f"the editor is detached{': ' if self.reason else ''}{self.reason}"


class EditorAsked(Event, frozen=True, tag="editor.asked"):
    """A call waits for the editor, which runs it with `arguments` (JSON text) once it took it."""

    call: str
    name: str
    editor: str
    arguments: str = "{}"
    files: tuple[EditorFile, ...] = ()

    @property
    def line(self) -> str:
        return f"{self.name} waits for the editor"


class EditorTook(Event, frozen=True, tag="editor.took"):
    """The editor runs the call now. due: when its result must be here."""

    call: str
    editor: str
    due: float


class EditorPassed(Event, frozen=True, tag="editor.passed"):
    """The editor does not run the call: the session does, as without an editor."""

    call: str
    reason: str = ""

    @property
    def line(self) -> str:
        return f"the call runs without the editor: {self.reason}"


class EditorAttachInput(Input, frozen=True, tag="editor.attach"):
    """Fields as in `EditorAttached`."""

    editor: str
    reads: bool = False
    writes: bool = False
    terminals: bool = False


class EditorDetachInput(Input, frozen=True, tag="editor.detach"):
    editor: str


class EditorTakeInput(Input, frozen=True, tag="editor.take"):
    """An editor wants to run a call."""

    urgency: ClassVar[Urgency] = 1

    call: str
    editor: str


class EditorResultInput(Input, frozen=True, tag="editor.result"):
    """The outcome of a call that an editor took. passed: why it does not run it after all. seen: digests of the files
    that it read or wrote, by `EditorFile.name`. exit: status of a command."""

    urgency: ClassVar[Urgency] = 1

    call: str
    editor: str
    parts: tuple[ResultPart, ...] = ()
    error: bool = False
    passed: str | None = None
    seen: dict[str, str] = {}
    exit: int | None = None


class EditorLateInput(Input, frozen=True, tag="editor.late"):
    """A call has waited for its editor until `due`."""

    urgency: ClassVar[Urgency] = 1

    call: str
    due: float

    @property
    def fired(self) -> str | None:
        return timer_of(self.call)


def timer_of(call: str) -> str:
    """Return the timer of a call that waits for an editor."""
    return f"editor:{call}"[:200]


EVENTS = (EditorAttached, EditorDetached, EditorAsked, EditorTook, EditorPassed)
INPUTS = (EditorAttachInput, EditorDetachInput, EditorTakeInput, EditorResultInput, EditorLateInput)
