"""What a request of a stateless protocol says, and the message that a door makes of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from roost.doors.digests import Exchange, beginning
from roost.doors.log_end import LogEnd, LogTail
from roost.features.client_tools.events import ClientOfferInput, ClientResultInput
from roost.ids import is_id
from roost.log.content import Text, UserPart
from roost.log.inputs import encode_input
from roost.log.tail import Follower

_KEPT = 10_000
HALTED = {"idempotency_mismatch", "session_stopped", "session_error"}
"""Codes of a `Conflict` with which a conversation goes on in another session."""
K = TypeVar("K")
V = TypeVar("V")


class Talk(msgspec.Struct, kw_only=True):
    """What a request says.

    agent: a name. user: keeps the conversations of one end user apart from others'. thread: what the client calls the
    conversation, or all that it does for one; keeps it apart, too. before: the history that the request resends. parts:
    the new message. instructions: added to the agent's. session: the session that it names. key: its idempotency key.
    repeated: the client says that it sends the request again. offer: the tools that the client runs, and the form of
    the answer. results: of calls that it ran; with `parts` the agent hears both in one turn. previous: the turn that
    the request goes on from, by its session and inbox item, whatever was said later. details: what else its answer
    shows of it; kept with the message. told: stands before the message in a session that the request names. labels: of
    a session that is made because the request names it. end: of the log of the session that it names, if the door has
    just looked. mark: what `mark_of` returned.
    """

    agent: str
    user: str = ""
    thread: str = ""
    before: Sequence[Exchange] = ()
    parts: tuple[UserPart, ...]
    instructions: str | None = None
    session: str | None = None
    key: str | None = None
    repeated: bool = False
    offer: ClientOfferInput = ClientOfferInput()
    results: tuple[ClientResultInput, ...] = ()
    previous: tuple[str, int] | None = None
    details: dict[str, Any] = {}
    told: Text | None = None
    labels: dict[str, str] = {}
    end: LogEnd | None = None
    mark: str | None = None

    @property
    def owner(self) -> str:
        """Whose conversation it is, as far as the request tells."""
        return f"{self.user}\n{self.thread}" if self.thread else self.user


class Entered(NamedTuple):
    """An accepted message, and the follower of its session's log, which the caller closes. digest: of the conversation
    up to this message; None in a named session. said: what the agent said in its turn before the results of calls that
    came now; None if they are not results. owner: as in `Talk`. step: the model call that asked for these; 0 if there
    are none. created: wall time at which the session was made; 0 where it was not looked up. tail: notes the
    events of the turn for the next request."""

    session: str
    item: int
    follower: Follower
    digest: bytes | None
    said: str | None = None
    calls: tuple[str, ...] = ()
    owner: str = ""
    step: int = 0
    created: float = 0.0
    tail: LogTail | None = None


class Recent(OrderedDict[K, V], Generic[K, V]):
    """The newest entries of a mapping."""

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > _KEPT:
            self.popitem(last=False)


def mark_of(talk: Talk) -> str:
    """Return what of a request besides its words decides whether another one repeats it; empty for nothing."""
    if talk.mark is None:
        talk.mark = _marked(talk)
    return talk.mark


def _marked(talk: Talk) -> str:
    if talk.instructions is None and talk.key is None and talk.offer == ClientOfferInput() and not talk.details:
        return ""
    parts = [talk.instructions or "", encode_input(talk.offer).decode(), talk.key or ""]
    if talk.details:
        parts.append(msgspec.json.encode(talk.details, order="sorted").decode())
    return beginning(*parts).hex()


def turn_of(results: Sequence[ClientResultInput]) -> tuple[str, int] | None:
    """Return the session and the input whose turn asked for these results, by the ids of their calls; None if they are
    not of one turn here."""
    found = {tuple(one.call.split("/", 2)[:2]) for one in results}
    session, item = next(iter(found))[0], next(iter(found))[-1]
    number = item.isascii() and item.isdigit() and len(item) < 19
    if len(found) != 1 or not number or not is_id(session) or any(one.call.count("/") < 2 for one in results):
        return None
    return session, int(item)


def user_label(talk: Talk) -> dict[str, str]:
    """Return the label by which the budgets of users find theirs."""
    return {"user": talk.user} if talk.user else {}
