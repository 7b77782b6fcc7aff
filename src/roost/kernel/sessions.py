"""Operations on sessions. The server, the command line and Python programs all call these."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from roost.agent.definition import Agent, AgentSpec, decode_spec
from roost.agent.state import Call, State, transcript
from roost.authority import current
from roost.errors import Conflict, Invalid, NotFound, StoreFailed, TooLarge
from roost.ids import is_id
from roost.kernel.node import Node
from roost.kernel.placement import PartsUnknown
from roost.kernel.state_loader import load_state
from roost.kernel.stream import frames
from roost.kernel.timer_names import check_timer
from roost.log import events as ev
from roost.log.content import Message, Text, UserPart
from roost.log.frames import Frame
from roost.log.inputs import (
    ControlInput,
    EmitInput,
    Input,
    MessageInput,
    SetTimerInput,
    decode_input,
    encode_input,
)
from roost.log.protocols import Accepted, Record, SessionQuery
from roost.log.session_info import ControlAction, InputMode, LastTurn, SessionInfo
from roost.log.session_views import PendingApproval, RunningJob, SessionView
from roost.log.tail import Follower, follow
from roost.policy.vault import Vault
from roost.validated import WrongValue

TEXT_BYTES = 1024 * 1024
"""Most bytes of text in one message."""
_ENDED = b'{"type":"turn.completed"'
_LOOKED = 64
"""Events at a log's end that are searched for the end of the last turn."""
_APPLIED = b'{"type":"control.applied"'


def pending_approval(call: Call) -> PendingApproval:
    """Return the question of a call that waits for a person."""
    return PendingApproval(
        call.call.id,
        call.call.name,
        call.arguments,
        call.reason or "",
        asked=call.asked,
        dangers=call.dangers,
        prefixes=call.prefixes,
        offers=call.offers,
    )


class Sessions:
    """Operations on the sessions of the store, on whichever node they run. Raises `StoreFailed` when the store
    fails."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._store = node.tenants
        self.create = node.creation.over(self._store).create

    async def named(self, name: str, *, model: str | None = None) -> Agent:
        """Return the agent of a name, from this node or from the store, optionally with another `model`. Raises
        `Invalid`, `StoreFailed`, and `Conflict` (`agent_archived`)."""
        known = await self._node.agents.resolve(name)
        return known if model is None else known.replace(model=model)

    def variant(self, name: str, *, model: str | None = None, definition: AgentSpec) -> Agent:
        """Return an agent by `definition`, optionally with another `model`. It may use the Python tools known here
        under the name, and keeps the hooks and guardrails. Raises `Invalid`."""
        if not is_id(name):
            raise Invalid(f"{name[:128]!r} cannot name an agent: use letters, digits and ._:- (at most 128)")
        if definition.name != name:
            raise Invalid(f"the definition is of {definition.name!r}, not of an agent {name!r}")
        if model is not None:  # first, so that a Python model of this name is kept
            definition = msgspec.structs.replace(definition, model=model)
        try:
            return Agent.of(definition, self._node.agents.python(name))
        except WrongValue as error:
            raise Invalid(f"{error}; this node knows no other") from error

    async def send(
        self,
        session: str,
        content: str | Sequence[UserPart],
        *,
        mode: InputMode = "follow_up",
        key: str | None = None,
        source: str | None = None,
        note: dict[str, Any] | None = None,
        aside: dict[str, Any] | None = None,
    ) -> Accepted:
        """Send a message to the agent. On return the message is on disk and will be answered. `note`: as in
        `InputReceived`; aside: more of it, in which repetitions of a key may differ. Raises `Invalid`, `NotFound`,
        `Busy`, `TooLarge`, and `Conflict` when the session is stopped."""
        parts: tuple[UserPart, ...] = (Text(content),) if isinstance(content, str) else tuple(content)
        check_message(parts)
        if note is not None and len(msgspec.json.encode(note)) > TEXT_BYTES:
            raise TooLarge(f"what belongs to a message besides its words has at most {TEXT_BYTES} bytes")
        sent = MessageInput(_clean(parts), mode, source, note=note)
        if aside is None:
            return await self.put(session, sent, key=key)
        item = msgspec.structs.replace(sent, note={**(note or {}), **aside})
        return await self.put(session, item, key=key, sent=sent)

    async def control(
        self,
        session: str,
        action: ControlAction,
        *,
        input: int | None = None,
        key: str | None = None,
        wait: float | None = None,
    ) -> SessionInfo:
        """Start, pause, resume, cancel, stop, trust or `compact`. Returns when the order took effect, or after `wait`
        seconds (10) with the order accepted and still pending. A compaction has begun then, and not ended. input: the
        message that began the turn to cancel; no other turn is. Raises `Invalid` for an `input` of another action."""
        if input is not None and action != "cancel":
            raise Invalid(f"input: only a cancel is meant for one message, not {action!r}")
        accepted = await self.put(session, ControlInput(action, input=input), key=key)
        if not accepted.duplicate and (wait is None or wait > 0):
            await self.effect(session, accepted, _APPLIED, wait=10.0 if wait is None else wait)
        return await self._store.sessions.get(session)

    async def emit(self, session: str, name: str, data: Any = None, *, key: str | None = None) -> Accepted:
        """Put a program's own event into the session's log."""
        return await self.put(session, EmitInput(name, data), key=key)

    async def set_timer(self, session: str, timer: str, due: float, text: str, *, key: str | None = None) -> Accepted:
        """Send `text` to the agent at wall time `due` (seconds since 1970), exactly once, also after crashes."""
        check_timer(timer)
        return await self.put(session, SetTimerInput(timer, due, (Text(text),)), key=key)

    async def clear_timer(self, session: str, timer: str) -> Accepted:
        check_timer(timer)
        return await self.put(session, SetTimerInput(timer, None))

    async def get(self, session: str) -> SessionInfo:
        return await self._store.sessions.get(session)

    async def find(self, query: SessionQuery, *, turns: bool = False) -> list[SessionInfo]:
        """Query the index. `turns`: also set `last_turn` (how the last turn ended), which reads the end of each log."""
        found = await self._store.sessions.find(query)
        return await self.with_turns(found) if turns else found

    async def with_turns(self, infos: Sequence[SessionInfo]) -> list[SessionInfo]:
        """Return the sessions with how the last turn of each ended."""
        return [msgspec.structs.replace(info, last_turn=await self._last_turn(info)) for info in infos]

    async def _last_turn(self, info: SessionInfo) -> LastTurn | None:
        if info.phase != "idle" or info.state == "created":
            return None
        try:
            records = await self._store.logs.read(info.id, after=max(0, info.head - _LOOKED), limit=_LOOKED)
        except NotFound:  # deleted under way
            return None
        event = next((one.event for one in reversed(records) if one.body.startswith(_ENDED)), None)
        return LastTurn(event.turn, event.outcome, event.reason) if isinstance(event, ev.TurnCompleted) else None

    async def inspect(self, session: str) -> SessionView:
        """Return a session's state by its committed log. Raises `NotFound`."""
        info, state = await self.state(session)
        (info,) = await self.with_turns([info])
        pinned = None
        with contextlib.suppress(msgspec.MsgspecError):  # a newer version's: what else is known is still shown
            pinned = decode_spec(state.spec)
        return SessionView(
            info=info,
            reason=state.reason,
            turns=state.turns,
            steps=state.steps,
            usage=state.usage,
            context_tokens=state.tokens,
            approvals=tuple(map(pending_approval, state.asking)),
            timers=dict(state.timers),
            pins=state.pinned,
            turn=None if state.turn is None else state.turn.number,
            jobs=tuple(RunningJob(key, one.command, one.began, one.due) for key, one in state.background.items()),
            unknown=tuple(await self._node.membership.unknown_everywhere(info)),
            model=None if pinned is None else pinned.model,
            permissions="" if pinned is None else pinned.permissions,
        )

    async def spec(self, session: str) -> AgentSpec:
        """Return the definition that the session pins. Raises `NotFound`, and `Conflict` for one of a newer version."""
        try:
            return decode_spec((await self.state(session))[1].spec)
        except msgspec.MsgspecError as error:
            raise Conflict(f"this version cannot read the definition of session {session!r}: {error}") from None

    async def demand_parts(self, session: str, info: SessionInfo | None = None) -> None:
        """Raise `PartsUnknown` when no running node knows all Python parts of the session's agent. info: the session's
        row, if it was just read."""
        info = info or await self._store.sessions.get(session)
        if unknown := await self._node.membership.unknown_everywhere(info):
            raise PartsUnknown(session, unknown)

    async def waits_for(self, session: str) -> list[str]:
        """Return the agent's Python parts that no running node knows: until one does, the session's inputs wait.
        Returns nothing when the store cannot tell now: an accepted input stays accepted."""
        try:
            return await self._node.membership.unknown_everywhere(await self._store.sessions.get(session))
        except (NotFound, StoreFailed):
            return []

    async def history(self, session: str, *, after: int = 0, limit: int = 1000) -> list[Record]:
        return await self._store.logs.read(session, after=after, limit=limit)

    async def base(self, session: str) -> int:
        """Return the position at which the session's own log begins; earlier events are those of the session it was
        copied from. Raises `NotFound`."""
        return (await self.state(session))[1].base

    async def transcript(self, session: str) -> list[Message]:
        """Return the messages in the model's context, as a provider gets them. Raises `NotFound`."""
        _, state = await self.state(session)
        return list(transcript(state))

    def tail(self, session: str, *, after: int = 0) -> AsyncIterator[Record]:
        """Yield the log's records after a position, then follow it."""
        return follow(self._store, session, after=after)

    def listen(self, session: str) -> Follower:
        """Open a follower that collects records from now on. The caller sets its position once known, and closes it."""
        return Follower(self._store, session, None)

    def stream(
        self, session: str, *, after: int | Follower = 0, deltas: bool = True, idle: float | None = None
    ) -> AsyncIterator[list[Frame]]:
        """See `roost.kernel.stream.frames`. Raises `NotFound` at the first step when there is no such session."""
        return frames(self._store, self._node.hub, session, after, deltas=deltas, idle=idle)

    async def delete(self, session: str) -> None:
        """Delete the session, its log and its private files. Cuts a step in progress on any node. Raises `NotFound`,
        and `Conflict` when the node that owns it cannot be asked."""
        if (who := current()).confined:
            who.demand("use")
            await self.get(session)
        await self._node.deletions.delete(session)

    def scrubbed(self, text: str) -> str:
        """Mask every value of the vault in a text."""
        return self._node.resources.vault.scrub(text)

    async def put(self, session: str, item: Input, *, key: str | None = None, sent: Input | None = None) -> Accepted:
        """Put any input into the inbox. sent: as in `Inboxes.accept`, which also says what this raises."""
        if key is not None and not 1 <= len(key) <= 255:
            raise Invalid("an idempotency key has 1 to 255 characters")
        vault = self._node.resources.vault
        kept = _masked(item, vault) if vault else item
        if (account := current().account) is not None:
            kept = msgspec.structs.replace(kept, account=account)
        return await self._store.inboxes.accept(session, kept, key=key, sent=sent or item)

    async def effect(
        self, session: str, accepted: Accepted, kind: bytes | tuple[bytes, ...], *, wait: float
    ) -> Record | None:
        """Return the event by which an accepted input took effect, or None after `wait` seconds. kind: the beginning of
        its body, or of each that it may be."""
        after = await self.base(session) if accepted.duplicate else accepted.head
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                async for record in follow(self._store, session, after=after):
                    if record.body.startswith(kind) and getattr(record.event, "input", None) == accepted.id:
                        return record
        return None

    async def state(self, session: str, info: SessionInfo | None = None) -> tuple[SessionInfo, State]:
        """Return a session's index row and its state, at this row's head or later, folded from the newest state
        snapshot and the tail. info: the row, if it was just read. Raises `NotFound`."""
        info = info or await self._store.sessions.get(session)
        return info, await load_state(self._store, session, head=info.head)


def check_message(parts: Sequence[UserPart]) -> None:
    """Check what `send` is given. Raises `Invalid` and `TooLarge`."""
    if not parts or all(isinstance(part, Text) and not part.text.strip() for part in parts):
        raise Invalid("the message is empty", code="empty_message")
    if sum(len(part.text.encode(errors="replace")) for part in parts if isinstance(part, Text)) > TEXT_BYTES:
        raise TooLarge(f"a message has at most {TEXT_BYTES} bytes of text; put more into a file of the workspace")


def _masked(item: Input, vault: Vault) -> Input:
    body = encode_input(item).decode()
    clean = vault.scrub(body)
    return item if clean is body else decode_input(clean.encode())


def _clean(parts: tuple[UserPart, ...]) -> tuple[UserPart, ...]:
    """Replace lone surrogates, which UTF-8 cannot store."""
    return tuple(
        Text(part.text.encode("utf-8", "replace").decode()) if isinstance(part, Text) else part for part in parts
    )
