"""List the calls that wait for a person, and take the answers to them, on a running node."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from roost.agent.known_files import known_files
from roost.agent.state import Call, State
from roost.api.shapes import AcceptedInput
from roost.authority import current
from roost.errors import Conflict, Forbidden, Invalid, NotFound
from roost.features.approvals.api import ApprovalsApi, WaitingCalls
from roost.kernel.lineage import below
from roost.kernel.service_host import ServiceHost
from roost.kernel.sessions import pending_approval
from roost.log import events as ev
from roost.log.inputs import ApprovalInput
from roost.log.session_info import Decision, GrantScope, SessionInfo
from roost.log.session_views import FileDiff, WaitingCall
from roost.models.tool_arguments import misfit


class ApprovalService(ApprovalsApi):
    def __init__(self, host: ServiceHost) -> None:
        self._host, self._sessions, self._store = host, host.sessions, host.store

    async def waiting(self, session: str) -> WaitingCalls:
        """List the calls that wait for a person, in the session and its descendants. Raises `NotFound`."""
        found: list[WaitingCall] = []
        for info in (await self._store.sessions.get(session), *await below(self._store, session)):
            if info.phase == "waiting" or info.id == session:
                with contextlib.suppress(NotFound):  # deleted under way
                    state = (await self._sessions.state(info.id))[1]
                    found += [await self._waiting(info, state, call) for call in state.asking]
        return WaitingCalls(approvals=found)

    async def unanswered(self, session: str, call: str) -> WaitingCall | None:
        """Return the call if it waits for a person and no answer is in the inbox. Raises `NotFound`."""
        # The inbox first: an answer leaves it in the commit that the state shows.
        coming = [item.input for item in await self._store.inboxes.pending(session)]
        if any(isinstance(item, ApprovalInput) and item.call == call for item in coming):
            return None
        info, state = await self._sessions.state(session)
        found = next((one for one in state.asking if one.call.id == call), None)
        return None if found is None else await self._waiting(info, state, found)

    async def answer(
        self,
        session: str,
        call: str,
        decision: Decision,
        *,
        note: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        always: Sequence[str] = (),
        scope: GrantScope | None = None,
        asked: int | None = None,
        source: str | None = None,
    ) -> AcceptedInput:
        """Answer a waiting call. Of several answers the first counts, through whichever nodes they come. Raises
        `Conflict` when the call does not wait (any more), `Invalid` for arguments that its tool does not take and for
        prefixes that the question does not offer.

        decision: with `modify` the call runs with `arguments` instead; they count as approved where the policy would
            ask, and are denied where it denies.
        always: rules that the question offers, which count from now on. scope: where: in this session (the default), in
            all sessions of its user with its agent, or in all sessions of its user.
        asked: the position of the question; without it the call's open one.
        """
        if (decision == "modify") != (arguments is not None):
            raise Invalid("`arguments` belong to the decision 'modify', and to no other")
        _, state = await self._sessions.state(session)
        waiting = next((one for one in state.asking if one.call.id == call), None)
        if waiting is not None and asked in (None, waiting.asked):
            chosen, scope = _granted(waiting, decision, always, scope)
            with contextlib.suppress(Conflict):  # another answer has the key
                key = f"approval:{call}:{waiting.cause}:{waiting.attempt}:{waiting.asked}"
                changed = None if arguments is None else self._fitting(state, waiting.call.name, arguments)
                answer = ApprovalInput(call, decision, note, source, changed, chosen, scope, waiting.asked)
                accepted = await self._sessions.put(session, answer, key=key[-255:])
                if not accepted.duplicate:
                    return AcceptedInput(input=accepted.id, duplicate=False, head=accepted.head)
        said = await self._answered(session, call)
        raise Conflict(f"no call {call!r} of session {session!r} waits for an answer{said}", code="not_waiting")

    async def _answered(self, session: str, call: str) -> str:
        """Return who answered the newest question about the call, as the end of a sentence; empty if that is far
        back."""
        for item in await self._store.inboxes.pending(session):
            if isinstance(item.input, ApprovalInput) and item.input.call == call:
                return f": {_told(item.input)}"
        head = (await self._store.sessions.get(session)).head
        records = await self._store.logs.read(session, after=max(0, head - _LOOKED), limit=_LOOKED)
        for record in reversed(records):
            event = record.event if record.body.startswith(_RESOLVED) else None
            if isinstance(event, ev.ApprovalResolved) and event.call == call:
                return f": {_told(event)}"
        return ""

    async def _waiting(self, info: SessionInfo, state: State, call: Call) -> WaitingCall:
        diffs: tuple[FileDiff, ...] = ()
        if call.call.name not in self._host.node.agents.python(state.agent).tools:
            diffs = await asyncio.to_thread(self._diffs, info.id, state, call)
        pending = msgspec.structs.replace(pending_approval(call), files=diffs)
        return WaitingCall(**msgspec.structs.asdict(pending), session=info.id, agent=info.agent)

    def _diffs(self, session: str, state: State, call: Call) -> tuple[FileDiff, ...]:
        from roost.tools.preview import file_diffs

        workspace = self._host.node.resources.workspace(session, state.workspace)
        diffs = file_diffs(workspace, call.call.name, call.arguments, known_files(state, workspace.place))
        return tuple(FileDiff(one.path, self._host.vault.scrub(one.diff)) for one in diffs)

    def _fitting(self, state: State, name: str, arguments: Mapping[str, Any]) -> str:
        """Encode arguments as JSON after checking them against the tool's schema, if this node knows the tool."""
        tool = self._host.node.agents.python(state.agent).toolbox([name]).get(name)
        wrong = misfit(dict(arguments), tool.schema) if tool is not None else None
        if wrong is not None:
            raise Invalid(f"{name!r} does not take this: {wrong}", code="bad_arguments")
        return msgspec.json.encode(arguments).decode()


def _granted(
    waiting: Call, decision: Decision, always: Sequence[str], scope: GrantScope | None
) -> tuple[tuple[str, ...], GrantScope | None]:
    """Check an answer's grant against the question's offer. Raises `Invalid`, and `Forbidden` for a scope beyond the
    token's."""
    if not always:
        if scope is not None:
            raise Invalid("`scope` says where `always` applies; name the rules in `always`")
        return (), None
    if decision != "approve":
        raise Invalid("`always` belongs to the decision 'approve', and to no other")
    offered = {one.rule: one.scopes for one in waiting.offers} or dict.fromkeys(waiting.prefixes, _HERE)
    for rule in always:
        if rule not in offered:
            known = ", ".join(map(repr, offered)) or "none"
            raise Invalid(f"{rule!r} is not offered for this call; the rules offered are: {known}")
        if (scope or "session") not in offered[rule]:
            raise Invalid(f"the rule {rule!r} can be given for: {', '.join(offered[rule])}; not for: {scope}")
    if scope == "user" and current().confined and current().scopes:
        raise Forbidden("this token is for some agents only, and the scope 'user' is for all of them: use 'agent'")
    return tuple(dict.fromkeys(always)), scope or "session"


_HERE: tuple[GrantScope, ...] = ("session",)
_LOOKED = 1000
"""Most events in which the answer to a former question is searched."""
_RESOLVED = ev.beginning_of(ev.ApprovalResolved)
_DONE = {"approve": "approved", "reject": "rejected", "modify": "approved with other arguments"}


def _told(answer: ApprovalInput | ev.ApprovalResolved) -> str:
    """Say who gave an answer."""
    by = ", ".join(part for part in (answer.account and f"account {answer.account!r}", answer.source) if part)
    return f"it was {_DONE[answer.decision]}{f' by {by}' if by else ''}"


SERVICE = ApprovalService
