"""Events and inputs of this feature."""

from __future__ import annotations

from typing import Literal, TypeAlias

from roost.log.events import Event
from roost.log.inputs import Input, InterruptCause

CheckpointCause: TypeAlias = Literal["manual", "interval", "pause", "stop", "risky", "rollback", "fork"]


class CheckpointMade(Event, frozen=True, tag="checkpoint.made"):
    """This position of the log is a checkpoint: of the conversation, the memory, and the private files as the snapshot
    `files`, kept in the `home` or in the `store` that all nodes read. `files` empty means no files; None means not
    kept, and `why_no_files` says why. input: the request for it. dropped: positions of the checkpoints that it
    removes."""

    cause: CheckpointCause
    label: str | None = None
    files: str | None = None
    files_in: Literal["home", "store"] | None = None
    why_no_files: str | None = None
    input: int | None = None
    dropped: tuple[int, ...] = ()

    @property
    def line(self) -> str:
        if self.cause == "rollback":  # the event of the rollback says it of the files
            return "a checkpoint is kept of before the rollback"
        return f"checkpoint {self.label or self.cause}" + (f"; files: {self.why_no_files}" if self.why_no_files else "")


class CheckpointDropped(Event, frozen=True, tag="checkpoint.dropped"):
    """The checkpoint at the position `checkpoint` was dropped. points: file snapshots that no rollback can reach any
    more; they are removed."""

    checkpoint: int
    input: int | None = None
    points: tuple[str, ...] = ()


class CheckpointInput(Input, frozen=True, tag="checkpoint"):
    """Make a checkpoint as soon as no call is running."""

    label: str | None = None
    cause: CheckpointCause = "manual"


class DropCheckpointInput(Input, frozen=True, tag="checkpoint.drop"):
    """Drop the checkpoint at the position `checkpoint`."""

    checkpoint: int


class RollbackInput(Input, frozen=True, tag="rollback"):
    """Return the session to its state after event `to`. asked: the words of the request, if it named no position.
    resume: the session runs afterwards, even if it was paused, stopped or failed."""

    to: int
    asked: str | None = None
    resume: bool = False

    @property
    def interrupts(self) -> InterruptCause | None:
        return "rollback"


EVENTS = (
    CheckpointMade,
    CheckpointDropped,
)
INPUTS = (
    CheckpointInput,
    DropCheckpointInput,
    RollbackInput,
)
