"""Replays of sessions, on a running node."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AbstractContextManager
from typing import NamedTuple

import msgspec

from roost.agent.definition import AgentSpec, PythonParts, decode_spec
from roost.agent.resources import Resources
from roost.authority import ACCOUNT, current
from roost.errors import Conflict, Forbidden, Invalid
from roost.features.replay.api import Replayed, ReplaysApi
from roost.features.replay.differences import request_text
from roost.features.replay.duties import ReplayDuties
from roost.features.replay.live_files import LiveFolders, live_tools, read_files
from roost.features.replay.modes import Compare, Tools
from roost.features.replay.playback import Options, Playback, unusable
from roost.features.replay.player import log_of
from roost.features.replay.record import Item, Record, read_record
from roost.features.replay.stage import NoModel, NoSandbox, Unheard, is_system_call, nothing_to_read, play, stage
from roost.ids import new_id
from roost.kernel.sandboxes import SessionSandbox
from roost.kernel.service_host import ServiceHost
from roost.log.content import Usage
from roost.log.protocols import SessionQuery
from roost.money.budgets import NANO
from roost.sandbox.backend import SandboxSpec
from roost.sandbox.choose import Isolation
from roost.tools.base import Toolbox
from roost.workspace.files import Workspace

MODELS_AT_ONCE = 8
"""Replays that call a model, or run tools, at the same time."""
RECORDED = "recorded"
"""Names the definition in the log."""
_PAGE = 500
_VERSIONS = 200
"""Newest sessions of an agent in which a version is looked for."""


class Asked(NamedTuple):
    """A replay as it was asked for; fields as in `ReplaysApi.run`."""

    tools: Tools
    model: str | None
    agent: str | None
    prompt: str | None
    compare: Compare | None
    network: bool
    folder: str | None
    files: list[str]

    @property
    def modelled(self) -> bool:
        """Whether a model is asked."""
        return self.model is not None or self.prompt is not None or self.agent not in (None, RECORDED)


class Chosen(NamedTuple):
    """The definition that runs, and its Python parts. notes: how it was found."""

    spec: AgentSpec
    parts: PythonParts
    notes: list[str]


class ReplayService(ReplaysApi):
    """A replay lives in the request: when that ends, nothing is left of it."""

    def __init__(self, host: ServiceHost) -> None:
        self._host, self._node = host, host.node
        self._busy = asyncio.Semaphore(MODELS_AT_ONCE)

    async def run(
        self,
        session: str,
        *,
        tools: Tools = "recorded",
        model: str | None = None,
        agent: str | None = None,
        prompt: str | None = None,
        compare: Compare | None = None,
        network: bool = False,
        folder: str | None = None,
        files: list[str] | None = None,
    ) -> Replayed:
        asked = Asked(tools, model, agent, prompt, compare, network, folder, files or [])
        _allow(asked)
        info = await self._host.store.sessions.get(session)
        record = await self._read(session, info.head)
        record.account = info.labels.get(ACCOUNT)
        return await self._replay(record, asked, trusted=True)

    async def log(
        self,
        log: str,
        *,
        tools: Tools = "recorded",
        model: str | None = None,
        agent: str | None = None,
        prompt: str | None = None,
        compare: Compare | None = None,
        network: bool = False,
        folder: str | None = None,
        files: list[str] | None = None,
    ) -> Replayed:
        asked = Asked(tools, model, agent, prompt, compare, network, folder, files or [])
        _allow(asked)
        from roost.features.replay.exported import read_log

        record = await asyncio.to_thread(read_log, log)
        return await self._replay(record, asked, trusted=not current().confined)

    async def _read(self, session: str, head: int) -> Record:
        items: list[Item] = []
        after = 0
        while after < head and (page := await self._host.store.logs.read(session, after=after, limit=_PAGE)):
            items += [Item(record.seq, record.event) for record in page]
            after = page[-1].seq
        return await asyncio.to_thread(read_record, session, items) if head > _PAGE else read_record(session, items)

    async def _replay(self, record: Record, asked: Asked, *, trusted: bool) -> Replayed:
        chosen = await self._choose(record, asked, trusted=trusted)
        if not record.turns:
            raise Conflict(f"no turn of session {record.session!r} has ended: there is nothing to replay",
                           code="not_replayable")  # fmt: skip
        if asked.tools == "live" or asked.modelled:
            async with self._busy:
                return await self._play(record, asked, chosen, trusted=trusted)
        return await self._play(record, asked, chosen, trusted=trusted)

    async def _play(self, record: Record, asked: Asked, chosen: Chosen, *, trusted: bool) -> Replayed:
        id = new_id("rpl")
        if asked.tools != "live":
            folder = record.created.workspace if trusted else None
            files = self._node.resources.workspace(id if folder is None else record.session, folder)
            return await self._played(id, record, asked, chosen, files, trusted=trusted)
        lent = self._folders.lent(id, private=record.created.workspace is None, begin=asked.folder)
        files = await _entered(lent)
        try:
            return await self._played(id, record, asked, chosen, files, trusted=trusted)
        finally:
            await asyncio.shield(asyncio.to_thread(lent.__exit__, None, None, None))

    async def _played(
        self, id: str, record: Record, asked: Asked, chosen: Chosen, files: Workspace, *, trusted: bool
    ) -> Replayed:
        began = time.monotonic()
        means = await asyncio.to_thread(self._means, id, record, asked, chosen, files, trusted)
        session = stage(id, record, chosen.spec, means, self._options(record, asked, chosen, trusted=trusted))
        playback = session.own(Playback)
        _tell_tools(playback, record, chosen.spec, means.tools)
        if asked.tools == "live":
            playback.live = live_tools(chosen.spec, chosen.parts)
            places = (
                str(self._node.resources.private(record.session)),
                record.created.workspace or "",
                str(files.place),
            )
            log_of(session).workspace = tuple(filter(None, places))
            await self._node.sandboxes.prepare(session)
        try:
            turns = await play(session, record)
            found = await asyncio.to_thread(read_files, files, asked.files) if asked.files else {}
        finally:
            if asked.tools == "live":
                await asyncio.shield(means.sandbox.close())
            if asked.modelled:
                await asyncio.shield(self._node.model_pool.forget_session(id))
        model = means.model.name if asked.modelled else RECORDED
        return _found(record, model, chosen, playback, turns, time.monotonic() - began, found)

    def _options(self, record: Record, asked: Asked, chosen: Chosen, *, trusted: bool) -> Options:
        before, now = request_text(_recorded(record)), request_text(chosen.spec)
        policy, parts = self._node.resources.policy, chosen.parts
        return Options(
            tools=asked.tools,
            modelled=asked.modelled,
            compare=asked.compare or ("calls" if asked.modelled else "all"),
            changed="" if before == now else f"{before}\0{now}",
            own=max(record.own, record.moved if asked.agent == RECORDED else 0),
            doubted=record.own if trusted else sys.maxsize,
            checked=bool(policy.hooks or policy.guardrails or policy.classifier or parts.hooks or parts.guards),
        )

    @property
    def _folders(self) -> LiveFolders:
        return self._node.feature(ReplayDuties).folders

    async def _choose(self, record: Record, asked: Asked, *, trusted: bool) -> Chosen:
        """Return the definition that runs. Raises `Invalid` (`unknown_agent`, `unknown_version`), `Forbidden`, and
        `Conflict` (`not_replayable`)."""
        name, agents, notes = record.created.agent, self._node.agents, list[str]()
        if asked.agent == RECORDED:
            if not trusted:
                raise Forbidden("an account names the agent that is to run: the definition in a log does not count")
            chosen = _recorded(record)
        else:
            wanted, _, version = (asked.agent or name).partition("@")
            try:
                agent = await self._host.sessions.named(wanted)
                chosen = agent.spec if not version or agent.version == version else await self._version(wanted, version)
            except Invalid as error:
                if asked.agent is not None or not trusted or error.code != "unknown_agent":
                    raise
                chosen = _recorded(record)
                notes.append(f"there is no agent {wanted!r} here: the definition in the log ran")
        for one in (chosen, _recorded(record)):
            if one.program is not None or one.framework is not None:
                raise Conflict(f"{one.name!r} is a program that keeps its loop to itself: it cannot be replayed",
                               code="not_replayable")  # fmt: skip
        model, prompt = asked.model or chosen.model, asked.prompt or chosen.instructions
        chosen = msgspec.structs.replace(chosen, model=model, instructions=prompt)
        return Chosen(chosen, agents.python(chosen.name), notes)

    async def _version(self, name: str, version: str) -> AgentSpec:
        """Return an earlier version, from the newest sessions that have it."""
        query = SessionQuery(agent=name, limit=_VERSIONS)
        for info in await self._host.store.sessions.find(query):
            if info.version == version:
                return await self._host.sessions.spec(info.id)
        raise Invalid(f"no session of {name!r} has its version {version!r}; `roost agents` shows the present one",
                      code="unknown_version")  # fmt: skip

    def _means(
        self, id: str, record: Record, asked: Asked, chosen: Chosen, files: Workspace, trusted: bool
    ) -> Resources:
        """Return what the replay acts with: no port of any feature is among it. Blocks."""
        resources, spec, who = self._node.resources, chosen.spec, current()
        account = who.account if who.confined else record.account
        live, toolbox = asked.tools == "live", chosen.parts.toolbox(spec.tools)
        runs = live_tools(spec, chosen.parts) if live else ()
        isolation = resources.isolation(spec, account)
        gate = resources.gate(spec, record.created.workspace if trusted else None)
        if live:
            files.unseen = lambda tool, searched: gate.unseen(tool, files.root, searched)
        return Resources(
            model=resources.model(spec) if asked.modelled else NoModel(),
            tools={name: tool if name in runs else unusable(tool) for name, tool in toolbox.items()},
            gate=gate,
            workspace=files,
            sandbox=self._sandbox(id, isolation, files, account, network=asked.network)
            if live
            else NoSandbox(isolation.wanted if record.level is None else record.level),
            deltas=Unheard(),
            read=nothing_to_read,
            now=time.time,
            account=account,
            vault=(resources.vault.of_account(account) or None) if live or asked.modelled else None,
        )

    def _sandbox(
        self, id: str, isolation: Isolation, files: Workspace, account: str | None, *, network: bool
    ) -> SessionSandbox:
        """Return the sandbox of live tools. Without a network its level is 1 at least: below, nothing holds it off."""
        if not network:
            isolation = msgspec.structs.replace(isolation, hosts=(), required=max(isolation.required, 1))
        home = self._node.resources.home_folder

        def place() -> SandboxSpec:
            return SandboxSpec(
                session=id, workspace=files.root, marker="", account=account, hidden=(home,), user=files.user
            )

        notes = home / "replays" / f"{id}.notes"
        return self._node.sandboxes.of(id, isolation, place, notes, files, private=files.private)


def _allow(asked: Asked) -> None:
    """Raise `Forbidden` and `Invalid` for what may not be asked."""
    who = current()
    if asked.modelled or asked.tools == "live":
        who.demand("use")
    if asked.model is not None:
        who.demand_model(asked.model)
    if asked.folder is not None and who.confined:
        raise Forbidden("an account chooses no folder of the machine")
    if asked.tools != "live" and (asked.network or asked.folder is not None or asked.files):
        raise Invalid("network, folder and files belong to live tools: add tools=live")
    if asked.tools == "live" and asked.modelled:
        raise Invalid(
            "with another model the tools come from the record: leave out live, or the model, agent and prompt"
        )


async def _entered(lent: AbstractContextManager[Workspace]) -> Workspace:
    """Make a folder, and remove it again if the request ends meanwhile."""
    work = asyncio.ensure_future(asyncio.to_thread(lent.__enter__))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if not work.cancelled() and work.exception() is None:
            await asyncio.to_thread(lent.__exit__, None, None, None)
        raise


def _recorded(record: Record) -> AgentSpec:
    try:
        return decode_spec(record.spec)
    except msgspec.MsgspecError as error:
        raise Conflict(f"this version cannot read the definition in the log: {error}", code="not_replayable") from None


def _tell_tools(playback: Playback, record: Record, spec: AgentSpec, tools: Toolbox) -> None:
    """Note which tools are known, and whether the size of requests can be compared."""
    recorded, calls = set(_recorded(record).tools), [call for turn in record.turns for call in turn.calls]
    playback.gone = frozenset(recorded - tools.keys())
    playback.dynamic = frozenset(call.call.name for call in calls if call.started) - recorded - tools.keys()
    offered = spec.servers or spec.openapi or spec.packages or spec.remote_agents or spec.roster or spec.memory_stores
    judged = any(call.judged for call in calls)
    sized = record.measured and not (offered or playback.dynamic or judged)
    playback.options = msgspec.structs.replace(playback.options, sized=sized)


def _found(
    record: Record,
    model: str,
    chosen: Chosen,
    playback: Playback,
    turns: int,
    seconds: float,
    files: dict[str, str | None],
) -> Replayed:
    notes = list(chosen.notes)
    if record.own:
        notes.append(f"what was imported, up to event {record.own}, was not judged again, nor its requests measured")
    if record.open:
        notes.append("the last turn of the record had not ended: it was left out")
    if any(map(is_system_call, record.turns)):
        notes.append("turns that only call a tool for another agent were taken as they are")
    if playback.dynamic:
        names = ", ".join(sorted(playback.dynamic))
        notes.append(f"servers or clients offered {names}: these calls were not judged again, nor requests measured")
    return Replayed(
        session=record.session,
        agent=chosen.spec.name,
        version=chosen.spec.version,
        model=model,
        divergence=playback.found,
        turns=turns,
        steps=playback.steps,
        calls=len(playback.calls),
        outcome=playback.outcome,
        answer=playback.answer,
        tools=playback.calls,
        cost=_dollars(playback.usage),
        recorded_cost=_dollars(playback.recorded),
        input_tokens=playback.usage.input,
        output_tokens=playback.usage.output,
        files=files,
        notes=notes,
        seconds=round(seconds, 6),
    )


def _dollars(usage: Usage) -> float | None:
    return None if usage.cost is None else usage.cost / NANO


SERVICE = ReplayService
