"""What a request may ask of an agent's definition, and whether a request is one that came before. For all doors."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec
from starlette.types import Message, Receive, Scope, Send

from roost.agent.definition import Limits
from roost.errors import Invalid
from roost.kernel.node import Node
from roost.sandbox.choose import Isolation
from roost.server.responses import ReplyCall

LOST_SECONDS = 15.0
"""An answer that this process has sent may be lost behind it. Clients send the request again within this time."""
_KEPT = 10_000
_USED = float("-inf")


def narrowed(isolation: Isolation, asked: Sequence[str], *, within: bool) -> Isolation:
    """Return an isolation with the hosts that a request asks for, at a level that enforces them. within: it has no
    other hosts than the isolation. Raises `Invalid`."""
    if within and (more := [one for one in asked if not _covered(one, isolation.hosts)]):
        raise Invalid(f"network: the agent may not reach {more[0][:253]!r}, so no session of it", code="unsupported")
    required = isolation.required if "*" in asked else max(1, isolation.required)
    return msgspec.structs.replace(isolation, required=required, hosts=tuple(asked))


def _covered(asked: str, hosts: Sequence[str]) -> bool:
    """Whether each name that a glob fits also fits one of `hosts`. Only `*` is known to be a glob in both."""
    asked = asked.lower()
    own = [host.strip().lower() for host in hosts]
    return any(host == asked or (not set("?[") & set(host) and fnmatchcase(asked, host)) for host in own)


def capped(limits: Limits, dollars: float | None) -> Limits:
    """Return limits by which a session costs at most so much, and at most what they say themselves."""
    known = [one for one in (limits.session_money, dollars) if one is not None]
    return msgspec.structs.replace(limits, session_money=min(known)) if known else limits


class Answered:
    """The requests that this process has answered whole, by what they made.

    A client sends a request again when it got no answer. So a request that says that it is a repetition means an
    earlier one with the same content if that one's answer may be lost. Else it is another one, whose first attempt
    never came."""

    def __init__(self) -> None:
        self._at = OrderedDict[str, float]()

    def reply(self, made: str, reply: ReplyCall) -> ReplyCall:
        """Return the reply to the request that made something. Notes when it is sent."""

        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            async def noting(message: Message) -> None:
                await send(message)
                if message["type"] == "http.response.body":
                    self._note(made, time.monotonic())

            await reply(scope, receive, noting)

        return call

    def known(self, made: str) -> None:
        """Note that the client has the answer: it has used what only the answer says."""
        self._note(made, _USED)

    def _note(self, made: str, at: float) -> None:
        self._at[made] = at if self._at.pop(made, at) > _USED else _USED
        if len(self._at) > _KEPT:
            self._at.popitem(last=False)

    def may_be_lost(self, made: str) -> bool:
        """Whether a client may not have got the answer to the request that made this."""
        at = self._at.get(made)
        return at is None or time.monotonic() - at < LOST_SECONDS


async def gone_or_own(node: Node, took: str) -> bool:
    """Whether the node that took a request has not answered it for certain: it is this one, or not known, or gone. A
    node that still runs has answered soon after the end of the work. Raises `StoreFailed`."""
    if took in ("", node.id):
        return True
    return not any(one.alive and one.card.id == took for one in await node.store.dispatch.nodes())
