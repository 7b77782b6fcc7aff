"""Automations: schedules of sessions, with the runs that their logs tell of."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

import msgspec
from starlette.types import Receive, Scope

from roost.doors.openai_agents.agent_config import metadata_of
from roost.doors.openai_agents.context import (
    BODY_BYTES,
    Context,
    body_of,
    digest,
    is_repeated,
    missing,
    request_key,
)
from roost.doors.openai_agents.paging import Page, documents, listed, page_of
from roost.doors.openai_agents.records import AUTOMATION, AutomationRecord, read
from roost.doors.openai_agents.session_store import SessionStore
from roost.errors import Conflict, Invalid, NotFound, RoostError
from roost.features.schedules.api import ScheduleView
from roost.features.schedules.events import DueInput, ScheduleFired
from roost.features.schedules.recurrence import check
from roost.ids import is_id, new_id
from roost.kernel.turn_watch import window
from roost.log import events as ev
from roost.log.documents import Document, DocumentQuery, Remove
from roost.log.schedule_events import ScheduleSpec
from roost.server.door import Methods, needs
from roost.server.request_body import decode_body, read_body
from roost.server.responses import ReplyCall, json

_ALL = "/v1/agents/automations"
_ONE = f"{_ALL}/{{automation}}"
_FIRED = ev.beginning_of(ScheduleFired)
_PAGE = 500
_NAME = 256
_TRIES = 8
_AGAIN, _SAME = 600.0, 20
"""Seconds, and automations, among which a request that says that it is repeated finds the one that it made."""


class _Target(msgspec.Struct, forbid_unknown_fields=False):
    type: str
    session_id: str | None = None
    instructions: str | None = None


class _Given(msgspec.Struct, forbid_unknown_fields=True):
    """A request. What is not given stays."""

    type: Literal["periodic", "once"] | None = None
    name: str | None = None
    target: _Target | None = None
    expression: str | None = None
    timezone: str | None = None
    run_at: int | None = None
    metadata: dict[str, str] | None = None


_given = msgspec.json.Decoder(_Given)


class Automations:
    def __init__(self, context: Context, store: SessionStore) -> None:
        self._context, self._store = context, store
        self._schedules = context.runtime.schedules

    def routes(self) -> Mapping[str, Methods]:
        return {
            _ALL: {"GET": self.list, "POST": self.create},
            _ONE: {"GET": self.retrieve, "POST": self.update, "DELETE": self.delete},
            f"{_ONE}/pause": {"POST": self.pause},
            f"{_ONE}/resume": {"POST": self.resume},
            f"{_ONE}/invocations": {"GET": self.invocations, "POST": self.invoke},
            f"{_ONE}/invocations/{{invocation}}": {"GET": self.invocation},
        }

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        data = await read_body(scope, receive, limit=BODY_BYTES)
        given, request = decode_body(scope, data, _given), digest(data.decode("utf-8", "replace"))
        owner, key = self._context.owner(scope), request_key(scope)
        record = await self._made_before(owner, key, request, repeated=is_repeated(scope))
        if record is None:
            id = new_id("auto") if key is None else f"auto_{digest(owner, key)}"
            record = _new(id, owner, given, request)
            await self._session(record.session, owner)
            await self._context.documents.write([record.put(0)])
            try:
                await self._set(record, 1)
            except RoostError as error:
                if error.status < 500:  # refused before it was ordered; else the order may be there
                    await self._context.documents.write([Remove(kind=AUTOMATION, id=record.id)])
                raise
        elif await self._schedule(record) is None:
            with contextlib.suppress(Invalid):  # its time is over
                await self._set(record, 1)
        return self._context.answered.reply(record.id, json(200, await self._shown(record)))

    async def _made_before(
        self, owner: str, key: str | None, request: str, *, repeated: bool
    ) -> AutomationRecord | None:
        """Return the automation that this request made when it came first."""
        if key is not None:
            found = await self._context.documents.get(AUTOMATION, f"auto_{digest(owner, key)}")
            record = None if found is None else read(found, AutomationRecord)
            if record is not None and record.request != request:
                raise Conflict("the Idempotency-Key made another automation", code="idempotency_mismatch")
            return record
        query = DocumentQuery(kind=AUTOMATION, owner=owner, key=("request", request), newest=True, limit=_SAME)
        for one in await self._context.documents.find(query) if repeated else ():
            if one.created > time.time() - _AGAIN and self._context.answered.may_be_lost(one.id):
                return read(one, AutomationRecord)
        return None

    @needs("read")
    async def retrieve(self, scope: Scope, receive: Receive) -> ReplyCall:
        return json(200, await self._shown((await self._find(scope))[0]))

    @needs("use")
    async def update(self, scope: Scope, receive: Receive) -> ReplyCall:
        given = await body_of(scope, receive, _Given)
        for _ in range(_TRIES):
            known, revision = await self._find(scope)
            record = _changed(known, given)
            if record.session != known.session or (given.type or known.kind) != known.kind:
                raise Invalid("an automation stays with its session and its type; make another", code="unsupported")
            change = await self._changes(known, record)
            try:
                await self._context.documents.write([record.put(revision)])
            except Conflict as error:
                if error.code != "document_changed":
                    raise
                continue
            if change:
                await self._set(record, revision + 1)
            return json(200, await self._shown(record))
        raise Conflict("the automation is changed by too many clients at once", code="document_changed")

    async def _changes(self, known: AutomationRecord, record: AutomationRecord) -> bool:
        """Whether the schedule has to be set: it is not that of the record, unless it ended. Raises `Invalid`."""
        schedule, spec, now = await self._schedule(record), _spec(record), time.time()
        ended = schedule is None and record.kind == "once" and record.run_at == known.run_at
        if (schedule is not None and schedule.spec == spec) or (ended and (record.run_at or 0) <= now):
            return False
        await asyncio.to_thread(check, spec, now)
        return True

    async def _set(self, record: AutomationRecord, number: int) -> None:
        await self._schedules.set(record.session, record.id, _spec(record), key=f"{record.id}:{number}")

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        page = Page.of(scope)
        session = page.one("session_id")
        key = None if session is None else ("session", session)
        found = documents(self._context.documents, AUTOMATION, page, owner=self._context.owner(scope), key=key)

        async def show(one: Document) -> dict[str, Any] | None:
            record = read(one, AutomationRecord)
            with contextlib.suppress(NotFound):
                return await self._shown(record)
            return None

        return json(200, await page_of(found, page, show))

    @needs("use")
    async def delete(self, scope: Scope, receive: Receive) -> ReplyCall:
        record, _ = await self._find(scope)
        with contextlib.suppress(NotFound):  # it ended, or its session was deleted
            await self._schedules.delete(record.session, record.id, key=f"{record.id}:delete")
        await self._context.documents.write([Remove(kind=AUTOMATION, id=record.id)])
        return json(200, {"id": record.id, "object": "agent.automation.deleted", "deleted": True})

    @needs("use")
    async def pause(self, scope: Scope, receive: Receive) -> ReplyCall:
        record, _ = await self._find(scope)
        await self._schedules.pause(record.session, record.id)
        return json(200, await self._shown(record))

    @needs("use")
    async def resume(self, scope: Scope, receive: Receive) -> ReplyCall:
        record, _ = await self._find(scope)
        await self._schedules.resume(record.session, record.id)
        return json(200, await self._shown(record))

    @needs("use")
    async def invoke(self, scope: Scope, receive: Receive) -> ReplyCall:
        record, _ = await self._find(scope)
        key = request_key(scope)
        accepted = await self._schedules.run(record.session, record.id, key=key and f"{record.id}:{key}"[-255:])
        return json(200, _invocation(record, accepted.input, time.time(), "queued", None, {"type": "manual"}))

    @needs("read")
    async def invocation(self, scope: Scope, receive: Receive) -> ReplyCall:
        record, _ = await self._find(scope)
        id = scope["path_params"]["invocation"]
        async for one in self._runs(record):
            if one["id"] == id:
                return json(200, one)
        raise missing("invocation", id)

    @needs("read")
    async def invocations(self, scope: Scope, receive: Receive) -> ReplyCall:
        record, _ = await self._find(scope)
        page = Page.of(scope)
        if page.newest:
            return json(200, await page_of(_behind(self._runs(record), page.after), page, _same))
        found = [one async for one in self._runs(record)][::-1]
        if page.after:
            places = [at for at, one in enumerate(found) if one["id"] == page.after]
            if not places:
                raise missing("invocation", page.after)
            found = found[places[0] + 1 :]
        return json(200, listed(found[: page.limit], more=len(found) > page.limit))

    async def _runs(self, record: AutomationRecord) -> AsyncIterator[dict[str, Any]]:
        """Yield what the log and the inbox of the session tell of its runs, the newest first."""
        shown = await self._shown(record)
        automatic = {"type": "automation", "automation": shown}
        pending = await self._context.runtime.node.tenants.inboxes.pending(record.session)
        for item in reversed(pending):
            if isinstance(item.input, DueInput) and item.input.name == record.id:
                source = {"type": "manual"} if item.input.due is None else automatic
                yield _invocation(record, item.id, item.accepted_at, "queued", item.input.due, source)
        before = (await self._context.sessions.get(record.session)).head
        while before > 0:
            after = max(0, before - _PAGE)
            for one in reversed(await window(self._context.sessions, record.session, after, before)):
                event = one.event if one.body.startswith(_FIRED) else None
                if isinstance(event, ScheduleFired) and event.name == record.id:
                    source = {"type": "manual"} if event.due is None else automatic
                    status = "completed" if event.run else "skipped"
                    yield _invocation(record, event.input, event.at, status, event.due, source)
            before = after

    async def _find(self, scope: Scope) -> tuple[AutomationRecord, int]:
        id = scope["path_params"]["automation"]
        found = await self._context.documents.get(AUTOMATION, id) if is_id(id) else None
        if found is None or found.owner != self._context.owner(scope):
            raise missing("automation", id)
        self._context.answered.known(id)
        return read(found, AutomationRecord), found.revision

    async def _session(self, session: str, owner: str) -> None:
        """Check that a session is there, and the owner's. Raises `NotFound`."""
        found = await self._store.document(session) if is_id(session) else None
        if not is_id(session) or (found is not None and found.owner != owner):
            raise missing("session", session)
        try:
            await self._context.sessions.get(session)
        except NotFound:
            raise missing("session", session) from None

    async def _schedule(self, record: AutomationRecord) -> ScheduleView | None:
        try:
            return await self._schedules.get(record.session, record.id)
        except NotFound:
            return None

    async def _shown(self, record: AutomationRecord) -> dict[str, Any]:
        view = await self._schedule(record)
        status = "completed" if record.kind == "once" else "paused"
        if view is not None:
            status = "active" if view.state == "active" else "paused"
        when: dict[str, Any] = {"run_at": record.run_at}
        if record.kind == "periodic":
            when = {"expression": record.expression, "timezone": record.zone}
        return {
            "id": record.id,
            "object": "agent.automation",
            "type": record.kind,
            "name": record.name,
            "created_at": int(record.created),
            "created_by": {"type": "developer"},
            "metadata": record.metadata,
            "status": status,
            "pause_reason": None,
            "target": {"type": "existing_session", "session_id": record.session, "instructions": record.text},
            **when,
        }


async def _behind(found: AsyncIterator[dict[str, Any]], after: str) -> AsyncIterator[dict[str, Any]]:
    """Yield what comes behind one of them. Raises `NotFound`."""
    passed = not after
    async for one in found:
        if passed:
            yield one
        passed = passed or one["id"] == after
    if not passed:
        raise missing("invocation", after)


async def _same(one: dict[str, Any]) -> dict[str, Any]:
    return one


def _target(given: _Target) -> tuple[str, str]:
    """Return the session and the text of a target. Raises `Invalid`."""
    if given.type == "new_session":
        why = "a schedule belongs to a session here: create the session, then target it as existing_session"
        raise Invalid(f"target: {why}", code="unsupported")
    if given.type != "existing_session" or given.session_id is None or not (given.instructions or "").strip():
        raise Invalid("target: an existing_session has a session_id and instructions")
    return given.session_id, given.instructions or ""


def _new(id: str, owner: str, given: _Given, request: str) -> AutomationRecord:
    """Return the record of a new automation. Raises `Invalid`."""
    if given.type is None or given.name is None or given.target is None:
        raise Invalid("an automation has a type (periodic or once), a name and a target")
    session, text = _target(given.target)
    now, kind = time.time(), given.type
    record = AutomationRecord(
        id=id, owner=owner, session=session, created=now, kind=kind, text=text, name=given.name, request=request
    )
    return _changed(record, given)


def _changed(record: AutomationRecord, given: _Given) -> AutomationRecord:
    """Return the record with what a request gives. Raises `Invalid`."""
    changes: dict[str, Any] = {}
    if given.name is not None:
        if not 1 <= len(given.name) <= _NAME or "\0" in given.name:
            raise Invalid(f"name: 1 to {_NAME} characters")
        changes["name"] = given.name
    if given.target is not None:
        changes["session"], changes["text"] = _target(given.target)
    if given.metadata is not None:
        changes["metadata"] = metadata_of(given.metadata)
    for field, own in (("expression", "expression"), ("timezone", "zone"), ("run_at", "run_at")):
        if getattr(given, field) is not None:
            changes[own] = getattr(given, field)
    found = msgspec.structs.replace(record, **changes)
    if found.kind == "periodic" and (found.expression is None or found.zone is None or found.run_at is not None):
        raise Invalid("a periodic automation has an expression and a timezone, and no run_at")
    if found.kind == "once" and (found.run_at is None or found.expression is not None or found.zone is not None):
        raise Invalid("an automation of type once has run_at, and neither expression nor timezone")
    return found


def _spec(record: AutomationRecord) -> ScheduleSpec:
    if record.kind == "once":
        return ScheduleSpec(text=record.text, at=float(record.run_at or 0))
    return ScheduleSpec(text=record.text, cron=record.expression, zone=record.zone or "UTC")


def _invocation(
    record: AutomationRecord, item: int, at: float, status: str, due: float | None, source: dict[str, Any]
) -> dict[str, Any]:
    return {
        "id": f"inv_{record.id}_{item}",
        "object": "agent.automation.invocation",
        "automation_id": record.id,
        "created_at": int(at),
        "scheduled_at": None if due is None else int(due),
        "session_id": record.session,
        "status": status,
        "skip_reason": "pending_delivery" if status == "skipped" else None,
        "error": None,
        "source": source,
    }
