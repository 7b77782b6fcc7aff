"""Collect a session's unprompted answers from its log, for delivery to people."""

from __future__ import annotations

from roost.features.schedules.api import Outbox, Proactive
from roost.features.schedules.state import says_nothing
from roost.kernel.sessions import Sessions
from roost.log import events as ev
from roost.log.content import AssistantMessage

_PAGE = 1000
_MOST = 20_000
"""Events that one call reads at most, beyond which it only finishes a turn."""
_WANTED = (b'{"type":"input.received"', b'{"type":"model.completed"', b'{"type":"turn.completed"')
_UNASKED = ("schedule:", "timer:", "child:", "job:")


async def outbox(sessions: Sessions, session: str, *, after: int = 0, limit: int = 100) -> Outbox:
    """Return the unprompted answers after a position: 0, or the `next` of an earlier call. Excludes answers to a person
    who spoke in that turn, heartbeats with nothing to report, and, from 0, those of the session that this one was
    copied from. A caller that stores `next` after delivery delivers each message at least once. Raises `NotFound`."""
    found: list[Proactive] = []
    after = after or await sessions.base(session)
    source, asked, text, behind, seen = None, False, "", after, after
    while len(found) < limit and (seen < after + _MOST or source is not None or asked):
        page = await sessions.history(session, after=seen, limit=_PAGE)
        if not page:
            break
        for record in page:
            seen = record.seq
            event = record.event if record.body.startswith(_WANTED) else None
            match event:
                case ev.InputReceived():
                    by_itself = event.source is not None and event.source.startswith(_UNASKED)
                    source, asked = event.source if by_itself else source, asked or not by_itself
                case ev.ModelCompleted():
                    text = AssistantMessage(event.parts).text
                case ev.TurnCompleted():
                    if source is not None and not asked and event.outcome == "answered" and not says_nothing(text):
                        found.append(Proactive(seq=seen, at=event.at, turn=event.turn, source=source, text=text))
                    source, asked, text, behind = None, False, "", seen
                    if len(found) == limit:
                        break
                case _:
                    pass
    return Outbox(messages=tuple(found), next=behind if source is not None or asked else max(behind, seen))
