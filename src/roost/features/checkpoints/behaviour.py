"""Checkpoints and rollbacks, at the seams of the loop."""

from __future__ import annotations

from roost.agent.feature import CallStart, Feature
from roost.agent.session import Session
from roost.features.checkpoints import checkpointing
from roost.features.checkpoints.events import CheckpointInput, DropCheckpointInput, RollbackInput
from roost.features.snapshots.state import SnapshotState
from roost.log.protocols import InboxItem


def _later(session: Session, item: InboxItem) -> None:
    """Leave the input to `checkpointing.settle`, which takes time."""


class Checkpoints(Feature):
    """Make checkpoints by order and by policy, and roll back, between steps."""

    takes = {CheckpointInput: _later, DropCheckpointInput: _later, RollbackInput: _later}

    async def between_turns(self, session: Session) -> None:
        if session.state.part(SnapshotState).undo is not None:
            await checkpointing.finish_undo(session)
        if checkpointing.waits(session):
            await checkpointing.settle(session)
        await checkpointing.at_rest(session)

    def due(self, session: Session) -> bool:
        policy = session.spec.checkpoints
        return policy.every_steps is not None or policy.every_seconds is not None

    async def between_steps(self, session: Session) -> None:
        await checkpointing.between_steps(session)

    async def before_call(self, session: Session, start: CallStart) -> None:
        if start.tool.safety == "high_risk":
            await checkpointing.before_risk(session)


FEATURE = Checkpoints()
