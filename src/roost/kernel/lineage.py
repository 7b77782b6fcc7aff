"""List a session's children and descendants."""

from __future__ import annotations

from roost.log.protocols import SessionQuery
from roost.log.session_info import SessionInfo
from roost.log.store import Store

_PAGE = 200


async def children_of(store: Store, session: str) -> list[SessionInfo]:
    """List a session's children, the newest first, whatever their state."""
    found: list[SessionInfo] = []
    before: str | None = None
    while page := await store.sessions.find(SessionQuery(parent=session, before=before, limit=_PAGE)):
        found += page
        before = page[-1].id
        if len(page) < _PAGE:
            break
    return found


async def below(store: Store, session: str) -> list[SessionInfo]:
    """List a session's descendants, level by level."""
    found: list[SessionInfo] = []
    level = [session]
    while level:
        born = [info for one in level for info in await children_of(store, one)]
        found += born
        level = [info.id for info in born]
    return found
