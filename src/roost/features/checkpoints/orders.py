"""Order a checkpoint from outside the session's driver."""

from __future__ import annotations

from roost.features.checkpoints.api import Travelled
from roost.features.checkpoints.events import CheckpointInput, CheckpointMade
from roost.kernel.sessions import Sessions

_MADE = b'{"type":"checkpoint.made"'


async def order_checkpoint(
    sessions: Sessions, session: str, item: CheckpointInput, *, key: str | None, wait: float
) -> Travelled:
    """Order a checkpoint, and wait up to `wait` seconds until it is made. Raises as `Inboxes.accept`."""
    accepted = await sessions.put(session, item, key=key)
    record = await sessions.effect(session, accepted, _MADE, wait=wait)
    if record is None:
        return Travelled(session=session, input=accepted.id, label=item.label)
    event = record.event
    assert isinstance(event, CheckpointMade)
    return Travelled(
        session=session,
        input=accepted.id,
        seq=record.seq,
        label=event.label,
        files=event.files is not None,
        why_no_files=event.why_no_files,
    )
