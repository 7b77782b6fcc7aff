"""The resources of a session, and the ports through which it uses its node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from roost.log.protocols import Record
from roost.models.request import Model, Progress
from roost.policy.gate import Gate
from roost.policy.vault import Vault
from roost.ports import Ports
from roost.sandbox.base import Sandbox
from roost.tools.base import Toolbox
from roost.workspace.files import Workspace
from roost.workspace.snapshot_sync import SyncedFolder


class Read(Protocol):
    """Return records with `seq > after`, oldest first, at most `limit`; contract of `Logs.read`."""

    async def __call__(self, session: str, *, after: int = 0, limit: int = 1000) -> list[Record]: ...


class Deltas(Protocol):
    """Receiver of the pieces of an unfinished step. Nothing durable depends on them."""

    def push(
        self, session: str, step: int, after: int, kind: Literal["text", "thinking", "call"], text: str
    ) -> None: ...

    def progress(self, session: str, step: int, after: int, progress: Progress) -> None:
        """Report the progress of a step that has no output yet."""
        ...

    def clear(self, session: str) -> None: ...


class Resources(Ports):
    """The resources that a session acts with. None = not available, unless said otherwise.

    account: whose the session is; None is the home. files: private files that are snapshotted. vault: secrets, masked
    in every event. approval_seconds: how long a call waits for a person; None = without limit. read: reader of the
    session's log (`Logs.read`). now: wall clock for schedules. What else a feature needs of the node it gives itself,
    as a port, at the seam `NodeFeature.equip`."""

    model: Model
    tools: Toolbox
    gate: Gate
    workspace: Workspace
    sandbox: Sandbox
    deltas: Deltas
    read: Read
    now: Callable[[], float]
    account: str | None = None
    files: SyncedFolder | None = None
    vault: Vault | None = None
    approval_seconds: float | None = None

    def scrubbed(self, text: str) -> str:
        """Mask the values of the vault in `text`. Returns the same object when there are none."""
        return text if self.vault is None else self.vault.scrub(text)
