"""Find out whether a session is new or a copy, and whether it has called a model itself."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from roost.agent.resources import Read
from roost.agent.state import State

How: TypeAlias = Literal["created", "forked", "imported"]
_FORKED, _ASKED = b'{"type":"session.forked"', b'{"type":"model.started"'
_PAGE = 64


class Life(NamedTuple):
    """how: how the session came to be. begun: whether it has called a model since."""

    how: How
    begun: bool


async def life_of(session: str, state: State, read: Read) -> Life:
    """Return the origin of a session. For a copy, reads its own part of the log up to its first model call. Raises
    `StoreFailed`."""
    if not state.base:
        return Life("created", state.steps > 0)
    how: How = "imported"
    after = state.base - 1
    while page := await read(session, after=after, limit=_PAGE):
        for record in page:
            if record.seq == state.base and record.body.startswith(_FORKED):
                how = "forked"
            if record.body.startswith(_ASKED):
                return Life(how, True)
        after = page[-1].seq
    return Life(how, False)
