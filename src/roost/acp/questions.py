"""Ask the editor about calls that wait for a person."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from roost.acp import tool_calls
from roost.acp.abilities import Abilities
from roost.acp.elicitation import can_ask, elicit, wants_of
from roost.acp.json_rpc import Peer, RpcError
from roost.acp.patience import until_reached
from roost.agent.servers import server_tool
from roost.client.async_client import Client
from roost.errors import RoostError
from roost.log import events as ev
from roost.log.session_info import Decision
from roost.log.session_views import WaitingCall
from roost.policy.standing_rules import narrowest
from roost.terminal_text import visible

_log = logging.getLogger(__name__)
_CLOSED = "the person closed the question"
Key: TypeAlias = tuple[str, str, int]


class _Outcome(msgspec.Struct, rename="camel"):
    option_id: str | None = None


class _Answer(msgspec.Struct):
    outcome: _Outcome


class Questions:
    """The open questions of one session and its descendants. `look` makes them what the daemon says that they are: it
    asks new ones, and withdraws those that were answered elsewhere.

    id_of: returns the id by which the editor knows a call of the session.
    """

    def __init__(
        self,
        client: Client,
        peer: Peer,
        session: str,
        folder: str | None,
        id_of: Callable[[str], str],
        abilities: Abilities,
    ) -> None:
        self._client, self._peer, self._session, self._folder, self._id_of = client, peer, session, folder, id_of
        self._abilities = abilities
        self._asked: dict[Key, asyncio.Task[None]] = {}
        self._closing: set[Key] = set()
        self._looking = asyncio.Lock()

    @property
    def open(self) -> bool:
        """Whether the editor was asked something that the daemon may not wait for any more."""
        return bool(self._asked)

    async def look(self) -> None:
        async with self._looking:
            try:
                waiting = {_key(one): one for one in (await self._client.approvals.waiting(self._session)).approvals}
            except RoostError as error:
                _log.warning("cannot see which calls of %s wait: %s", self._session, error)
                return
            for key in self._asked.keys() - waiting.keys():
                self._asked.pop(key).cancel()
            for key in waiting.keys() - self._asked.keys():
                one = waiting[key]
                self._asked[key] = self._peer.spawn(lambda one=one: self._ask(one))

    def cancelled(self) -> None:
        """The person has cancelled the turn: the editor now closes its questions, which decides nothing."""
        self._closing = set(self._asked)

    def close(self) -> None:
        for task in self._asked.values():
            task.cancel()
        self._asked.clear()

    async def _ask(self, waiting: WaitingCall) -> None:
        own = waiting.session == self._session
        watching = None if own else self._peer.spawn(lambda: self._watch(waiting))
        id = self._id_of(waiting.call) if own else f"{waiting.session}:{waiting.call}"
        call = {"toolCallId": id, **tool_calls.question(waiting, self._folder)}
        if not own:
            call["title"] = f"{waiting.agent}: {call['title']}"
        try:
            wants = await wants_of(self._client, waiting)
            if can_ask(self._abilities, wants):
                await self._elicit(waiting, id, wants)
                return
            answer = await self._peer.request(
                "session/request_permission",
                {"sessionId": self._session, "toolCall": call, "options": _options(waiting)},
            )
            await self._tell(waiting, answer)
        except RoostError as error:
            _log.warning("cannot see what %s asks: %s", waiting.call, error)
        except RpcError as error:
            _log.warning("the editor does not answer questions (%s); another client can: roost approve", error)
        finally:
            if watching is not None:
                watching.cancel()

    async def _elicit(self, waiting: WaitingCall, id: str, wants: Mapping[str, dict[str, Any]]) -> None:
        server = (server_tool(waiting.tool) or ("", ""))[0]
        filled = await elicit(self._peer, self._session, id, wants, server)
        if filled.accepted is None and _key(waiting) in self._closing:
            return
        if not filled.accepted:
            await self._decide(waiting, "reject", None if filled.accepted is False else _CLOSED)
        elif filled.content is None:
            await self._decide(waiting, "approve")
        else:
            await self._decide(waiting, "modify", arguments=filled.content)

    async def _watch(self, waiting: WaitingCall) -> None:
        """Look again when a descendant's question was answered: its own log says so, the session's does not."""
        items = self._client.stream(waiting.session, after=waiting.asked, deltas=False)
        async for item in items:
            event = getattr(item, "event", None)
            if isinstance(event, ev.ApprovalResolved | ev.ToolCompleted | ev.TurnCompleted):
                break
        self._peer.spawn(self.look)

    async def _tell(self, waiting: WaitingCall, answer: object) -> None:
        try:
            chosen = msgspec.convert(answer, _Answer).outcome.option_id
        except msgspec.ValidationError:
            chosen = None
        if chosen is None and _key(waiting) in self._closing:
            return
        offer = narrowest(waiting.offers)
        always = [offer.rule] if chosen == "always" and offer is not None else []
        decision = "approve" if chosen in ("once", "always") else "reject"
        note = None if chosen in ("once", "always", "reject") else _CLOSED
        await self._decide(waiting, decision, note, always=always)

    async def _decide(
        self,
        waiting: WaitingCall,
        decision: Decision,
        note: str | None = None,
        *,
        always: Sequence[str] = (),
        arguments: dict[str, Any] | None = None,
    ) -> None:
        given = {"note": note, "always": [*always], "arguments": arguments, "asked": waiting.asked, "source": "acp"}
        answer: Any = self._client.approvals.answer
        try:
            await until_reached(lambda: answer(waiting.session, waiting.call, decision, **given))
        except RoostError as error:
            if error.code not in ("not_waiting", "not_found"):  # another client was first
                _log.warning("the answer about %s was not taken: %s", waiting.call, error)


def _key(waiting: WaitingCall) -> Key:
    return waiting.session, waiting.call, waiting.asked


def _options(waiting: WaitingCall) -> list[dict[str, str]]:
    options = [{"optionId": "once", "name": "Allow once", "kind": "allow_once"}]
    if (offer := narrowest(waiting.offers)) is not None:
        name = f"Always allow {visible(offer.says)}, in this session"
        options.append({"optionId": "always", "name": name, "kind": "allow_always"})
    return [*options, {"optionId": "reject", "name": "Reject", "kind": "reject_once"}]
