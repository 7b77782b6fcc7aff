"""Deployments: what begins a session, kept under a name, to be run by hand or on a schedule.

A run by hand makes a session. A deployment with a schedule has one session, whose schedule (`features/schedules`) sends
the first message each time, in a turn that does not see the ones before."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace
from starlette.types import Receive, Scope

from roost.doors.managed.content import TextGiven, instruction
from roost.doors.managed.deployment_records import SCHEDULE, Deployment, Run
from roost.doors.managed.deployment_runs import DeploymentRuns, run_view
from roost.doors.managed.owners import account
from roost.doors.managed.requests import (
    TIMES,
    Asking,
    Metadata,
    MetadataPatch,
    Query,
    answer,
    body_of,
    made_by,
    maybe_stamp,
    metadata_of,
    page_of,
    patched,
    repeated,
    stamp,
    text_within,
)
from roost.doors.managed.sending import SystemMessage, UserMessage, digest_of
from roost.doors.managed.session_making import (
    AgentReference,
    FirstEvent,
    Origin,
    ResourcesGiven,
    SessionGiven,
    SessionMaking,
    VaultIds,
    new_session_id,
)
from roost.doors.managed.session_records import BudgetGiven, budget_view, cents_of
from roost.doors.managed.unheard import Unheard
from roost.doors.requested import Answered
from roost.errors import Conflict, Invalid, NotFound, RoostError
from roost.features.schedules.recurrence import check
from roost.ids import new_id
from roost.log.records import Records
from roost.log.schedule_events import ScheduleSpec
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.responses import ReplyCall

_NAME, _DESCRIPTION, _CLOCKS = 256, 2048, 20
_CRON = re.compile(r"[0-9*/,-]+( [0-9A-Za-z*/,-]+){4}")


class ScheduleGiven(Asking, tag_field="type", tag="cron"):
    expression: str
    timezone: str


class DeploymentGiven(Asking):
    name: str
    agent: str | AgentReference
    environment_id: str
    initial_events: Annotated[list[FirstEvent], Meta(min_length=1)]
    budget: BudgetGiven | None = None
    description: str | None = None
    metadata: Metadata = {}
    resources: ResourcesGiven = []
    schedule: ScheduleGiven | None = None
    vault_ids: VaultIds = []


class DeploymentPatch(Asking):
    name: str | UnsetType = UNSET
    agent: str | AgentReference | UnsetType = UNSET
    environment_id: str | UnsetType = UNSET
    initial_events: list[FirstEvent] | UnsetType = UNSET
    budget: BudgetGiven | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    metadata: MetadataPatch | UnsetType | None = UNSET
    resources: ResourcesGiven | UnsetType | None = UNSET
    schedule: ScheduleGiven | UnsetType | None = UNSET
    vault_ids: VaultIds | UnsetType | None = UNSET


_create, _change = msgspec.json.Decoder(DeploymentGiven), msgspec.json.Decoder(DeploymentPatch)


class Deployments:
    def __init__(self, api: Api, making: SessionMaking, unheard: Unheard, answered: Answered) -> None:
        documents = api.runtime.node.store.documents
        self._api, self._making, self._unheard, self._answered = api, making, unheard, answered
        self._records, self._runs = Records(documents, Deployment), Records(documents, Run)

    def routes(self) -> Mapping[str, Methods]:
        one = "/v1/deployments/{deployment}"
        return {
            "/v1/deployments": {"GET": self.list, "POST": self.create},
            one: {"GET": self.get, "POST": self.change},
            f"{one}/archive": {"POST": self.archive},
            f"{one}/pause": {"POST": self.pause},
            f"{one}/unpause": {"POST": self.unpause},
            f"{one}/run": {"POST": self.run},
            **DeploymentRuns(self._api, self._records, self._runs).routes(),
        }

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        given, owner = await body_of(scope, receive, _create), account()
        request = digest_of("deployment", given)
        made = await made_by(self._records, owner, request, self._answered) if repeated(scope) else None
        if made is None:
            made = await self._records.make(await self._planned(given, owner, request))
        if given.schedule is not None:
            made = await self._time(made, given.schedule)
        return self._answered.reply(made.id, answer(await self._view(made)))

    async def _planned(self, given: DeploymentGiven, owner: str | None, request: str) -> Deployment:
        agent, version = await self._agent(given.agent, owner)
        order = SessionGiven(
            agent=AgentReference(agent, version),
            environment_id=given.environment_id,
            title=given.name,
            resources=given.resources,
            vault_ids=given.vault_ids,
            budget=given.budget,
            initial_events=given.initial_events,
        )
        await self._making.check(order, owner)
        await _check(order, given.schedule)
        return Deployment(
            id=new_id("depl"),
            owner=owner or "",
            name=text_within(given.name, "name", _NAME),
            description=_described(given.description),
            metadata=metadata_of(given.metadata),
            agent=agent,
            version=version,
            order=msgspec.Raw(msgspec.json.encode(order)),
            clock=None if given.schedule is None else new_session_id(),
            request=request,
        )

    async def _agent(self, given: str | AgentReference, owner: str | None) -> tuple[str, int]:
        agent = AgentReference(given) if isinstance(given, str) else given
        return agent.id, (await self._making.agent(agent, owner))[1]

    @needs("use")
    async def change(self, scope: Scope, receive: Receive) -> ReplyCall:
        patch, owner = await body_of(scope, receive, _change), account()
        before = await self._open(scope)
        agent = None if patch.agent is UNSET else await self._agent(patch.agent, owner)
        clock = before.clock or new_session_id()

        def edit(one: Deployment) -> Deployment:
            return _patched(one, patch, agent, clock)

        after = edit(before)
        await self._making.check(after.given(), owner)
        if patch.schedule is not UNSET:
            await _check(after.given(), patch.schedule)
        made = await self._records.change(before.id, edit, owner=owner)
        if patch.schedule is None:
            made = await self._untime(made)
        elif patch.schedule is not UNSET:
            made = await self._time(made, patch.schedule)
        return answer(await self._view(made))

    async def _time(self, one: Deployment, schedule: ScheduleGiven) -> Deployment:
        """Make the session and the schedule of a deployment. Its record, which names that session already, shows the
        schedule from then on. Raises `RoostError`."""
        if one.clock is None:  # a request at the same time has taken the schedule away
            raise Conflict(f"deployment {one.id!r} was changed meanwhile; try again")
        order = one.given()
        quiet = msgspec.structs.replace(order, initial_events=[])
        origin = Origin(one.owner or None, digest_of(one.clock), deployment=one.id, id=one.clock)
        await self._making.make(quiet, origin)
        await self._api.runtime.schedules.set(one.clock, SCHEDULE, _spec(order, schedule))
        timed = await self._records.change(
            one.id,
            lambda each: (
                replace(each, expression=schedule.expression, zone=schedule.timezone)
                if each.clock == one.clock
                else each
            ),
        )
        if timed.archived is not None or timed.clock is None:  # meanwhile
            await self._order(one.clock, "delete")
        elif timed.paused:
            await self._order(one.clock, "pause")
        return timed

    async def _untime(self, one: Deployment) -> Deployment:
        """Take the schedule of a deployment away. The record names its session until it is gone."""
        await self._order(one.clock, "delete")
        return await self._records.change(one.id, lambda each: _untimed(each) if each.clock == one.clock else each)

    async def _order(self, clock: str | None, order: Literal["delete", "pause", "resume"]) -> None:
        """Do something with a schedule, if there is one."""
        if clock is not None:
            with contextlib.suppress(NotFound):  # it never came to it, or the session was deleted
                await getattr(self._api.runtime.schedules, order)(clock, SCHEDULE)

    @needs("read")
    async def get(self, scope: Scope, receive: Receive) -> ReplyCall:
        return answer(await self._view(await self._record(scope)))

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        query = Query(scope, ("limit", "page", "include_archived", "agent_id", "status", *TIMES))
        status, agent = query.one_of("status", "active", "paused"), query.text("agent_id")
        return await page_of(
            self._records,
            query,
            lambda one: _view(one, {}),
            owner=account(),
            key=("agent", agent) if agent else None,
            fits=lambda one: not status or (status == "paused") is one.paused,
        )

    @needs("use")
    async def archive(self, scope: Scope, receive: Receive) -> ReplyCall:
        before = await self._record(scope)
        await self._order(before.clock, "delete")
        one = await self._records.archive(before.id)
        await self._order(one.clock, "delete")  # another request may have made it meanwhile
        return answer(await self._view(one))

    @needs("use")
    async def pause(self, scope: Scope, receive: Receive) -> ReplyCall:
        return await self._pause(scope, True)

    @needs("use")
    async def unpause(self, scope: Scope, receive: Receive) -> ReplyCall:
        return await self._pause(scope, False)

    async def _pause(self, scope: Scope, paused: bool) -> ReplyCall:
        before = await self._open(scope)
        if paused:
            await self._order(before.clock, "pause")
        one = await self._records.change(before.id, lambda each: replace(each, paused=paused))
        await self._order(one.clock, "pause" if paused else "resume")
        return answer(await self._view(one))

    @needs("use")
    async def run(self, scope: Scope, receive: Receive) -> ReplyCall:
        one, owner = await self._open(scope), account()
        request = digest_of("run", one.id)
        made = await made_by(self._runs, owner, request, self._answered) if repeated(scope) else None
        if made is None:
            planned = Run(
                id=new_id("drun"),
                owner=one.owner,
                deployment=one.id,
                agent=one.agent,
                version=one.version,
                session=new_session_id(),
                request=request,
            )
            made = await self._runs.make(planned)
        self._unheard.sent(made.session, 0)
        try:
            await self._making.make(one.given(), Origin(owner, digest_of(made.id), deployment=one.id, id=made.session))
        except (Invalid, NotFound) as error:
            failed = ("session_creation_rejected_error", error.message)
            made = await self._runs.change(made.id, lambda each: replace(each, error=failed))
        return self._answered.reply(made.id, answer(run_view(made)))

    async def _record(self, scope: Scope) -> Deployment:
        return await self._records.get(scope["path_params"]["deployment"], owner=account())

    async def _open(self, scope: Scope) -> Deployment:
        one = await self._record(scope)
        if one.owner != (account() or ""):  # its sessions would be the home's
            raise Invalid(f"deployment {one.id!r} belongs to the account {one.owner!r}: use a token of it")
        if one.archived is not None:
            raise Invalid(f"deployment {one.id!r} is archived")
        return one

    async def _view(self, one: Deployment) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if one.clock is not None and one.archived is None:
            try:
                known = await self._api.runtime.schedules.get(one.clock, SCHEDULE)
            except RoostError:  # its session was deleted
                return _view(one, more)
            more["upcoming_runs_at"] = [stamp(each.at) for each in known.coming]
            more["last_run_at"] = None if known.last is None else stamp(known.last.at)
        return _view(one, more)


def _view(one: Deployment, more: dict[str, Any]) -> dict[str, Any]:
    order = one.given()
    schedule = {"type": "cron", "expression": one.expression, "timezone": one.zone, **more}
    status: Literal["active", "paused"] = "paused" if one.paused else "active"
    return {
        "type": "deployment",
        "id": one.id,
        "name": one.name,
        "description": one.description,
        "metadata": one.metadata,
        "agent": {"type": "agent", "id": one.agent, "version": one.version},
        "environment_id": order.environment_id,
        "initial_events": msgspec.to_builtins(order.initial_events),
        "resources": msgspec.to_builtins(order.resources),
        "vault_ids": order.vault_ids,
        "budget": budget_view(cents_of(order.budget)),
        "schedule": None if one.expression is None else schedule,
        "status": status,
        "paused_reason": {"type": "manual"} if one.paused else None,
        "created_at": stamp(one.created),
        "updated_at": stamp(one.changed),
        "archived_at": maybe_stamp(one.archived),
    }


def _patched(one: Deployment, patch: DeploymentPatch, agent: tuple[str, int] | None, clock: str) -> Deployment:
    """Return a deployment as a request wants it. agent: another one, with its version. clock: the session of its
    schedule, if it is to have one. Raises `Invalid`."""
    if one.archived is not None:
        raise Invalid(f"deployment {one.id!r} is archived")
    order = one.given()
    if agent is not None:
        order.agent = AgentReference(*agent)
        one = replace(one, agent=agent[0], version=agent[1])
    for field in ("environment_id", "initial_events", "budget", "resources", "vault_ids"):
        if (value := getattr(patch, field)) is not UNSET:
            setattr(order, field, [] if value is None and field != "budget" else value)
    body = msgspec.json.encode(order)
    if one.clock is not None and body != bytes(one.order):
        raise Invalid("a deployment with a schedule keeps what its session was made from; make another deployment")
    timed = isinstance(patch.schedule, ScheduleGiven)
    return replace(
        one,
        order=msgspec.Raw(body),
        metadata=patched(one.metadata, patch.metadata),
        name=one.name if patch.name is UNSET else text_within(patch.name, "name", _NAME),
        description=one.description if patch.description is UNSET else _described(patch.description),
        clock=one.clock or clock if timed else one.clock,
    )


def _untimed(one: Deployment) -> Deployment:
    clocks = one.clocks if one.clock is None else (*one.clocks, one.clock)[-_CLOCKS:]
    return replace(one, expression=None, clock=None, clocks=clocks)


def _spec(order: SessionGiven, schedule: ScheduleGiven) -> ScheduleSpec:
    return ScheduleSpec(text=_text(order), cron=schedule.expression, zone=schedule.timezone, fresh=True)


async def _check(order: SessionGiven, schedule: ScheduleGiven | None) -> None:
    """Check a schedule. Raises `Invalid`."""
    if schedule is not None:
        if not _CRON.fullmatch(schedule.expression):
            raise Invalid("schedule.expression: five fields of cron, such as '0 9 * * 1-5'")
        await asyncio.to_thread(check, _spec(order, schedule), time.time())


def _text(order: SessionGiven) -> str:
    """Return the words of the first events, which a schedule sends. Raises `Invalid` for anything else."""
    texts: list[str] = []
    for event in order.initial_events:
        if isinstance(event, SystemMessage):
            texts.append(instruction([block.text for block in event.content]).text)
            continue
        blocks = event.content if isinstance(event, UserMessage) else [None]
        for block in blocks:
            if not isinstance(block, TextGiven):
                raise Invalid("initial_events: a schedule sends text; put files into `resources`")
            texts.append(block.text)
    return "\n\n".join(texts)


def _described(given: str | None) -> str | None:
    return None if given is None else text_within(given, "description", _DESCRIPTION, 0)
