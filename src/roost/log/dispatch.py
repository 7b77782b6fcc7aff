"""The Dispatcher: which node runs which session next. Nodes ask it for work; it never assigns work by itself.

The store's logs alone decide ownership: a claim gives the session a new epoch, and `Logs.append` refuses a writer with
an older one. A faulty dispatcher therefore costs time, never a log. `roost.testing.dispatch` is the conformance
suite.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, Protocol

import msgspec

from roost.log.events import FORMAT
from roost.log.inputs import admits
from roost.log.protocols import Claim, Inboxes
from roost.log.session_info import SessionInfo

HEAD_START = 0.1
"""Seconds for which a session with work is reserved for the nodes of the home where its files are."""


class NodeCard(msgspec.Struct, frozen=True, kw_only=True):
    """What a node reports about itself with every heartbeat.

    id: new at every start. home: names the folder with the node's private workspaces; the folder outlives the node.
    url: where other nodes reach it. offers: tags that sessions may need, such as `account:openai`. room: how many more
    sessions it can run. live: how many it runs now. format: the newest event format that it can read.
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
    """Decode the stored card of `node`. For a card that a newer version wrote and this one cannot read, return a card
    with the id alone and no free slots, so that nothing is left to that node."""
    try:
        return _decode_card(body)
    except msgspec.MsgspecError:
        return NodeCard(id=node, room=0)


class NodeInfo(NamedTuple):
    """A node as the store sees it. alive: its lease has not expired, and its process exists where the store can
    tell."""

    card: NodeCard
    alive: bool
    beat_at: float
    """Wall time of the last heartbeat, by the store's clock."""


class Backlog(NamedTuple):
    """Sessions that have work and no living owner. seconds: how long the oldest has waited."""

    sessions: int
    seconds: float


class Dispatcher(Protocol):
    """Gives sessions to the nodes that ask for them."""

    async def beat(self, card: NodeCard, *, ttl: float) -> None:
        """Renew the node's lease: `card.id` lives for `ttl` more seconds by the store's clock. The first heartbeat
        registers the node. A node that misses its heartbeat, or whose process is gone where the store can tell, loses
        its sessions to the next `claim`."""
        ...

    async def claim(self, node: str, *, session: str | None = None, limit: int = 64) -> list[Claim]:
        """Claim sessions that have work and no living owner; each gets a new epoch. Work is a pending input that the
        state admits, or an unfinished turn, compaction or background command.

        Only sessions that fit the node's newest card: it offers all that they need, it reads their format, and it is
        not `draining`. For `HEAD_START`, sessions whose files are at another home are left to living nodes of that home
        with free slots. With `session`: claim this session, with or without work, whatever it needs; still only if its
        owner is not alive or is `node` itself.
        """
        ...

    async def leave(self, node: str) -> None:
        """Release every session that `node` owns."""
        ...

    async def fire(self, now: float, *, limit: int = 1000) -> float | None:
        """Turn timers due by `now` into inbox items, atomically, each once in the whole cluster. Returns when the next
        timer is due. A timer that cannot be read does not block the others."""
        ...

    async def nodes(self) -> list[NodeInfo]:
        """Return every node that has sent a heartbeat and has neither left nor expired, by id."""
        ...

    async def backlog(self) -> Backlog: ...

    async def ready(self, *, limit: int = 1000) -> list[str]:
        """Return ids of the sessions that the backlog counts, whatever they need, longest wait first."""
        ...

    def on_work(self, wake: Callable[[], None]) -> None:
        """Call `wake` on the event loop whenever a `claim` may find work for which no change was reported."""
        ...

    async def close(self) -> None:
        """Stop the dispatcher itself; the store closes its connections. Safe to call twice."""
        ...


async def has_work(inboxes: Inboxes, info: SessionInfo) -> bool:
    """Whether a session without owner has work, by the rule of `claim`: its phase is `working` (an unfinished turn,
    compaction or background command), or it has a pending input that its state admits."""
    if info.state == "running" and info.phase == "working":
        return True
    least = admits(info.state, info.phase)
    return bool(info.pending) and any(item.input.urgency >= least for item in await inboxes.pending(info.id))
