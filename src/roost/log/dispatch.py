"""The Dispatcher: which node runs which session next. Nodes ask it for work; nobody is told what to do.

Ownership itself is the journal's: a claim gives the session a new epoch, and an append under an older one is refused.
So a dispatcher that is wrong costs time, never a log. `roost.testing.dispatch` is the conformance suite.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, Protocol

import msgspec

from roost.log.events import FORMAT
from roost.log.inputs import admits, urgency
from roost.log.protocols import Claim, Journal, SessionInfo

HEAD_START = 0.1
"""Seconds for which a session with work is left to the nodes of the home where its files are."""


class NodeCard(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself with every beat.

    `id` is new at every start. `home` names the folder that holds its private workspaces, and outlives it. `url` is
    where other nodes reach it. `offers` are the tags that its sessions may need, such as `account:openai`. `room` is
    how many more sessions it takes, `live` how many it runs. `format` is the newest event format that it can read.
    """

    id: str
    home: str = ""
    url: str | None = None
    offers: tuple[str, ...] = ()
    room: int = 1_000_000
    live: int = 0
    version: str = ""
    format: int = FORMAT
    draining: bool = False


_decode_card = msgspec.json.Decoder(NodeCard).decode


@lru_cache(maxsize=256)
def read_card(node: str, body: bytes) -> NodeCard:
    """The card that a store keeps of `node`. Of one that a newer version wrote, and that cannot be read here, only the
    node is known, and that nothing is to be left to it."""
    try:
        return _decode_card(body)
    except msgspec.MsgspecError:
        return NodeCard(id=node, room=0)


class NodeInfo(NamedTuple):
    """A node as the store sees it. `alive`: its lease runs, and its process is there where the store can tell."""

    card: NodeCard
    alive: bool
    beat_at: float
    """Wall time of the last beat, by the store's clock."""


class Backlog(NamedTuple):
    """Sessions that have work and no living owner, and for how long the oldest has waited (seconds)."""

    sessions: int
    seconds: float


class Dispatcher(Protocol):
    async def beat(self, card: NodeCard, *, ttl: float) -> None:
        """Renew: `card.id` lives for `ttl` more seconds by the store's clock. The first beat makes it known. A node
        that misses its beat, or whose process is gone where the store can tell, loses its sessions to the next
        `claim`."""
        ...

    async def claim(self, node: str, *, session: str | None = None, limit: int = 64) -> list[Claim]:
        """Take sessions that have work and no living owner; each gets a new epoch. Work: a pending input that the state
        admits, or a turn or a command in the background left unfinished.

        Only sessions that the node's newest card suits: all that they need is offered, their format can be read, and
        the card is not `draining`. Those whose files are at another home are left to a living node of that home with
        room for `HEAD_START`. With `session`: the one named, work or not, whatever it needs; still only if its owner
        is not alive or is `node` itself."""
        ...

    async def leave(self, node: str) -> None:
        """Release everything that `node` holds."""
        ...

    async def fire(self, now: float, *, limit: int = 1000) -> float | None:
        """Schedule: turn timers due by `now` into inbox items, atomically, once in the whole cluster. Returns when the
        next one is due. A timer that cannot be read does not stand in the way of the others."""
        ...

    async def nodes(self) -> list[NodeInfo]:
        """Every node that has beaten and neither left nor been buried, by id."""
        ...

    async def backlog(self) -> Backlog: ...

    async def ready(self, *, limit: int = 1000) -> list[str]:
        """Ids of the sessions that the backlog counts, whatever they need; those that have waited longest come
        first."""
        ...

    def on_work(self, wake: Callable[[], None]) -> None:
        """Call `wake` on the event loop whenever a `claim` may find what no change of the journal told of."""
        ...

    async def close(self) -> None: ...


async def has_work(journal: Journal, info: SessionInfo) -> bool:
    """Whether a session that nobody owns has something to do, as a `claim` understands it: a turn left unfinished, or a
    pending input that its state admits."""
    if info.state == "running" and info.phase == "working":
        return True
    least = admits(info.state, info.phase)
    return bool(info.pending) and any(urgency(item.input) >= least for item in await journal.pending(info.id))
