"""Read what `roost top` shows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from roost.errors import Forbidden, NotFound, RoostError
from roost.log.session_info import SessionInfo
from roost.log.session_views import WaitingCall

if TYPE_CHECKING:
    from roost.api.node import NodeList
    from roost.cli.node import Node
    from roost.money.budgets import Month

SESSIONS = 400
"""Most sessions that are looked at: the newest."""
_PAGE = 200
_ASKING = 50
"""Most sessions whose waiting calls are read at once."""
_COSTS_SECONDS = 5.0
_RANKS = {"waiting": 0, "working": 1, "error": 2, "pending": 3, "paused": 4, "idle": 5, "created": 6, "stopped": 7}


class Overview(msgspec.Struct, kw_only=True):
    """One reading. `waiting`: the calls that wait for a person. `nodes`, `month`: None where the token may not see
    them. `more`: there are older sessions that are not listed."""

    at: float
    sessions: list[SessionInfo]
    waiting: list[WaitingCall]
    nodes: NodeList | None = None
    month: Month | None = None
    more: bool = False


class Reader:
    """Reads overviews of one node, each as cheaply as the former one allows. For one thread."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._calls: dict[str, tuple[int, list[WaitingCall]]] = {}
        self._month: Month | None = None
        self._month_at = float("-inf")

    def read(self) -> Overview:
        """Raises `RoostError`."""
        found: list[SessionInfo] = []
        before: str | None = None
        while len(found) < SESSIONS:
            page = self._node.sessions.find(before=before, limit=_PAGE)
            found += page.sessions
            before = page.next
            if before is None:
                break
        return Overview(
            at=time.time(),
            sessions=sorted(found, key=_rank),
            waiting=self._asking(found),
            nodes=self._nodes(),
            month=self._costs(),
            more=before is not None,
        )

    def _asking(self, sessions: list[SessionInfo]) -> list[WaitingCall]:
        """Return the waiting calls of these sessions. A session is read again only when its log has grown."""
        asking = [info for info in sessions if info.phase == "waiting" and info.state == "running"][:_ASKING]
        known: dict[str, tuple[int, list[WaitingCall]]] = {}
        for info in asking:
            head, calls = self._calls.get(info.id, (-1, []))
            if head != info.head:
                try:
                    every = self._node.approvals.waiting(info.id).approvals
                    calls = [one for one in every if one.session == info.id]
                except NotFound:  # deleted meanwhile
                    calls = []
            known[info.id] = info.head, calls
        self._calls = known
        return [call for _, calls in known.values() for call in calls]

    def _nodes(self) -> NodeList | None:
        try:
            return self._node.node.nodes()
        except Forbidden:
            return None

    def _costs(self) -> Month | None:
        if time.monotonic() - self._month_at > _COSTS_SECONDS:
            self._month_at = time.monotonic()
            try:
                self._month = self._node.costs.get().month
            except RoostError:  # no right to see it, or no rate for its currency: the rest is shown all the same
                self._month = None
        return self._month


def word(info: SessionInfo) -> str:
    """What a session does, without a look into its log."""
    if info.state != "running":
        return info.state
    return "pending" if info.phase == "idle" and info.pending else info.phase


def _rank(info: SessionInfo) -> tuple[int, float]:
    return _RANKS.get(word(info), len(_RANKS)), -info.updated_at
