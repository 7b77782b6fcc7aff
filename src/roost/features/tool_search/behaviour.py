"""Search for tools, at the seams of the loop."""

from __future__ import annotations

import time

from roost.agent.feature import Feature
from roost.agent.session import Session
from roost.agent.state import Call
from roost.agent.tool_offers import ToolOffers
from roost.features.tool_search.events import ToolsFound
from roost.features.tool_search.state import ToolSearchState
from roost.tools.base import Tool, ToolContext

NAME = "find_tools"


class _Arranged:
    """What is offered now. made: tools by name; one is made once, so that it stays the same object."""

    def __init__(self, session: Session) -> None:
        self.of: tuple[int, tuple[str, ...]] = (0, ())
        self.made: dict[str, Tool] = {}


def _arrange(session: Session) -> None:
    """Offer all tools of the sources if they are few, else those that were found and `find_tools`."""
    offers, arranged = session.own(ToolOffers), session.own(_Arranged)
    found = session.state.part(ToolSearchState).found
    if arranged.of == (offers.revision, found):
        return
    if arranged.of[0] != offers.revision:
        arranged.made.clear()
    arranged.of = offers.revision, found
    entries, many = offers.entries, len(offers.entries) > session.spec.tool_search
    chosen = [name for name in found if name in entries] if many else [*entries]
    for name in chosen:
        if name not in arranged.made:
            arranged.made[name] = entries[name].make()
    if many and NAME not in arranged.made:
        from roost.features.tool_search.find_tools import find_tools_for

        arranged.made[NAME] = find_tools_for(offers.sources)
    search = {NAME: arranged.made[NAME]} if many else {}
    offers.offer("tool_search", search | {name: arranged.made[name] for name in chosen})


class ToolSearch(Feature):
    """Offer the tools of sources: all while they are few, else those that the model has found."""

    def used(self, session: Session) -> bool:
        return bool(session.own(ToolOffers).entries or session.own(_Arranged).made)

    async def enter_turn(self, session: Session) -> None:
        _arrange(session)

    async def before_calls(self, session: Session) -> None:
        """Offer tools that the model calls without having searched for them: it may know them from earlier turns."""
        offers = session.own(ToolOffers)
        if not offers.entries:
            return
        called = (call.call.name for call in session.state.calls if call.status == "planned")
        unseen = dict.fromkeys(name for name in called if name in offers.entries and name not in session.means.tools)
        if unseen:
            session.log.note(ToolsFound(at=time.time(), names=tuple(unseen)))
        _arrange(session)

    async def before_model(self, session: Session) -> None:
        _arrange(session)

    def equip(self, session: Session, call: Call, context: ToolContext) -> None:
        if call.call.name == NAME:
            from roost.features.tool_search.find_tools import ToolFinder

            context.give(ToolFinder(session))


FEATURE = ToolSearch()
