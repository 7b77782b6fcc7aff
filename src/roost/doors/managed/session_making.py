"""Make sessions: from an agent's version, an environment, files and first events."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from roost.agent.definition import Agent, AgentSpec
from roost.agent.memory_mounts import MountedStore
from roost.authority import current
from roost.doors.managed.agent_shapes import AgentPatch, ModelGiven, patched_agent, session_agent, tools_of
from roost.doors.managed.agent_tools import ToolGiven
from roost.doors.managed.agents import Agents
from roost.doors.managed.environments import Environments
from roost.doors.managed.files import Files
from roost.doors.managed.mcp_toolsets import ServerGiven
from roost.doors.managed.multiagent import with_members
from roost.doors.managed.requests import Asking, Metadata, made_by, metadata_of, text_within
from roost.doors.managed.sending import DefineOutcome, Sending, SendOrder, SystemMessage, UserMessage
from roost.doors.managed.session_records import BudgetGiven, Mount, Resource, SessionRecord, cents_of
from roost.doors.managed.skills import SkillGiven
from roost.doors.managed.vaults import Vaults
from roost.doors.requested import Answered, capped
from roost.errors import Conflict, Invalid, NotFound, RoostError
from roost.features.client_tools.events import ClientOfferInput
from roost.features.memory_stores import TOOLS
from roost.features.memory_stores.duties import MemoryStoresDuties
from roost.features.uploads.events import FileToPlace, PlaceFilesInput
from roost.ids import new_id
from roost.kernel.labels import fold
from roost.log.records import Records
from roost.server.app_state import Api

_RESOURCES, _STORES, _VAULTS = 100, 8, 50


class AgentReference(Asking, tag_field="type", tag="agent"):
    id: str
    version: int | None = None


class AgentOverrides(Asking, tag_field="type", tag="agent_with_overrides"):
    """An agent with other settings for this session alone."""

    id: str
    version: int | None = None
    model: str | ModelGiven | UnsetType = UNSET
    system: str | UnsetType | None = UNSET
    tools: list[ToolGiven] | UnsetType = UNSET
    mcp_servers: list[ServerGiven] | UnsetType = UNSET
    skills: list[SkillGiven] | UnsetType = UNSET


class FileGiven(Asking, tag_field="type", tag="file"):
    file_id: str
    mount_path: str | None = None


class MemoryGiven(Asking, tag_field="type", tag="memory_store"):
    memory_store_id: str
    access: Literal["read_write", "read_only"] | None = None
    instructions: str | None = None


class RepositoryGiven(Asking, tag_field="type", tag="github_repository"):
    url: str
    authorization_token: str | None = None
    checkout: Any = None
    mount_path: str | None = None


ResourceGiven: TypeAlias = FileGiven | MemoryGiven | RepositoryGiven
ResourcesGiven: TypeAlias = Annotated[list[ResourceGiven], Meta(max_length=_RESOURCES)]
VaultIds: TypeAlias = Annotated[list[str], Meta(max_length=_VAULTS)]
FirstEvent: TypeAlias = UserMessage | DefineOutcome | SystemMessage


class SessionGiven(Asking):
    agent: str | AgentReference | AgentOverrides
    environment_id: str
    title: str | None = None
    metadata: Metadata = {}
    resources: ResourcesGiven = []
    vault_ids: VaultIds = []
    budget: BudgetGiven | None = None
    initial_events: list[FirstEvent] = []


class Origin(NamedTuple):
    """Who orders a session. digest: of the request. again: the request may be a repetition. deployment: that it is a
    run of. id: of the session; None makes one."""

    owner: str | None
    digest: str
    again: bool = False
    deployment: str | None = None
    id: str | None = None


class SessionMaking:
    def __init__(
        self,
        api: Api,
        agents: Agents,
        environments: Environments,
        files: Files,
        vaults: Vaults,
        sending: Sending,
        answered: Answered,
    ) -> None:
        self._api, self._agents, self._environments = api, agents, environments
        self._files, self._vaults, self._sending, self.answered = files, vaults, sending, answered
        self.records = Records(api.runtime.node.store.documents, SessionRecord)

    async def make(self, given: SessionGiven, origin: Origin) -> SessionRecord:
        """Make a session, once for an origin. What a crash leaves unfinished is finished by the same request sent
        again. What is refused leaves nothing. Raises `RoostError`."""
        before = await self._before(origin)
        if before is None:
            planned = await self._planned(given, origin)
            await self._sending.check(given.initial_events)
            record = await self.records.make(planned)
        else:
            record = before
        try:
            await self._open(record)
        except RoostError as error:
            if before is None and error.status < 500:
                await self._undo(record)
            raise
        await self._sending.send(record.id, given.initial_events, SendOrder(origin.digest, first=True))
        return record

    async def _undo(self, record: SessionRecord) -> None:
        """Remove the record of a session that could not be made."""
        try:
            await self._api.sessions.get(record.id)
        except NotFound:
            await self.records.remove(record.id)

    async def _before(self, origin: Origin) -> SessionRecord | None:
        """Return what the same request made before."""
        if origin.id is not None:
            try:
                return await self.records.get(origin.id)
            except NotFound:
                return None
        if not origin.again:
            return None
        return await made_by(self.records, origin.owner, origin.digest, self.answered)

    async def agent(self, agent: AgentReference, owner: str | None) -> tuple[str, int]:
        """Return the name and the version of an agent that new sessions may use. Raises `NotFound` and `Invalid`."""
        name, version, _, _ = await self._agents.of_session(agent.id, agent.version, owner)
        return name, version

    async def check(self, given: SessionGiven, owner: str | None) -> None:
        """Check what a session would be made from. Raises `RoostError`."""
        await self._planned(given, Origin(owner, ""))
        await self._sending.check(given.initial_events)

    async def _planned(self, given: SessionGiven, origin: Origin) -> SessionRecord:
        agent = AgentReference(given.agent) if isinstance(given.agent, str) else given.agent
        name, version, shown, known = await self._agents.of_session(agent.id, agent.version, origin.owner)
        if isinstance(agent, AgentOverrides):
            if known is not None:
                raise Invalid(f"agent: {name!r} is an agent of a file, which keeps its own settings")
            shown = _overridden(shown, agent)
            if agent.skills is not UNSET:
                shown = {**shown, "skills": await self._agents.skills(agent.skills)}
        environment = await self._environments.records.get(given.environment_id, owner=origin.owner)
        if environment.archived is not None:
            raise Invalid(f"environment_id: {environment.id!r} is archived: it takes no new sessions")
        for vault in given.vault_ids:
            await self.check_vault(vault, origin.owner)
        planned = SessionRecord(
            id=origin.id or new_session_id(),
            owner=origin.owner or "",
            agent=name,
            version=version,
            shown=await self._with_roster(shown, origin.owner),
            environment=environment.id,
            title=None if given.title is None else fold(given.title),
            metadata=metadata_of(given.metadata),
            vaults=tuple(dict.fromkeys(given.vault_ids)),
            resources=await self.resources(given.resources, origin.owner),
            mounts=await self._mounts(given.resources, origin.owner),
            cents=cents_of(given.budget),
            deployment=origin.deployment,
            request=origin.digest,
        )
        await self.spec(planned)  # refused before a record is made
        return planned

    async def _with_roster(self, shown: dict[str, Any], owner: str | None) -> dict[str, Any]:
        """Return what clients see of a session's agent, with those that it calls."""
        members = await self._agents.roster(shown, owner)
        roster = [session_agent(one.name, one.version, one.shown) for one in members]
        return {**shown, "roster": roster} if roster else shown

    async def check_vault(self, id: str, owner: str | None) -> None:
        """Check that a session may name a vault. Raises `NotFound` and `Invalid`."""
        await self._vaults.usable(id, owner)

    async def resources(self, given: Sequence[ResourceGiven], owner: str | None) -> tuple[Resource, ...]:
        """Check the resources of a session. Raises `RoostError`."""
        found: list[Resource] = []
        for at, one in enumerate(given):
            match one:
                case FileGiven():
                    upload = await self._files.get(one.file_id, owner)
                    path = workspace_path(one.mount_path or upload.name, f"resources[{at}].mount_path")
                    found.append(Resource(id=new_id("sesrsc"), file=upload.id, path=path, created=time.time()))
                case MemoryGiven():
                    pass  # `_mounts` takes it
                case RepositoryGiven():
                    raise Invalid(f"resources[{at}]: Roost clones no repositories; let the agent do it, or mount files")
        if len({one.path for one in found}) < len(found):
            raise Invalid("resources: two have the same mount_path")
        return tuple(found)

    async def _mounts(self, given: Sequence[ResourceGiven], owner: str | None) -> tuple[Mount, ...]:
        """Check the memory stores of a session. Raises `RoostError`."""
        stores = self._api.runtime.node.feature(MemoryStoresDuties).stores
        found: dict[str, Mount] = {}
        for one in given:
            if not isinstance(one, MemoryGiven):
                continue
            store = await stores.get(one.memory_store_id, owner=owner)
            if store.archived is not None or store.id in [each.store for each in found.values()]:
                raise Invalid(f"resources: memory store {store.id!r} is archived, or there twice")
            slug = re.sub(r"[^a-z0-9]+", "-", store.name.lower()).strip("-")[:48] or "memory"
            name = slug if slug not in found else f"{slug}-{len(found) + 1}"
            found[name] = Mount(
                id=new_id("sesrsc"),
                store=store.id,
                name=name,
                access=one.access or "read_write",
                created=time.time(),
                description=store.description,
                told=None if one.instructions is None else text_within(one.instructions, "instructions", 4096, 0),
            )
        if len(found) > _STORES:
            raise Invalid(f"resources: at most {_STORES} memory stores")
        return tuple(found.values())

    async def spec(self, record: SessionRecord) -> Agent:
        """Return the definition that a session runs. Raises `RoostError`."""
        known, environment = self.file_agent(record), await self._environments.records.get(record.environment)
        owner = record.owner or None
        spec = await self._agents.spec(record.agent, record.shown, owner) if known is None else known.spec

        def here(spec: AgentSpec) -> AgentSpec:
            spec = environment.around(spec, within=known is not None or bool(record.owner))
            if known is None:
                environment.admit(spec.servers)
            limits = capped(spec.limits, None if record.cents is None else record.cents / 100)
            return msgspec.structs.replace(spec, limits=limits, vaults=record.vaults)

        members = [here(one) for one in await self._agents.members(record.shown, owner)]
        spec = with_members(_mounting(_told_of_files(here(spec), record.resources), record.mounts), members)
        return self._api.sessions.variant(spec.name, definition=spec)

    def file_agent(self, record: SessionRecord) -> Agent | None:
        """Return the agent of a session if this node knows it from a file."""
        return self._api.runtime.agents.find(record.agent)

    async def _open(self, record: SessionRecord) -> None:
        """Create the session of a record, and give it its tools and files, unless that was done before."""
        sessions, id = self._api.sessions, record.id
        try:
            await sessions.get(id)
        except NotFound:
            agent = await self.spec(record)
            try:
                await sessions.create(agent, id=id, title=record.title, labels={"managed.agent": record.agent})
            except Conflict:
                await sessions.get(id)  # the same request, at the same time
        custom = tools_of(record.shown).custom
        if custom:
            await sessions.put(id, ClientOfferInput(custom), key="managed:tools")
        if record.resources:
            files = tuple(FileToPlace(one.file, one.path) for one in record.resources)
            await sessions.put(id, PlaceFilesInput(files), key="managed:files")


def new_session_id() -> str:
    """Return the id of a new session, which begins with the name of the account that acts."""
    return current().session_id(new_id("ses"))


def workspace_path(given: str, where: str) -> str:
    """Return where a file goes in the workspace: a relative path stands below `uploads`, an absolute one below the
    workspace. Raises `Invalid`."""
    path = given.strip("/") if given.startswith("/") else f"uploads/{given.strip('/')}"
    names = path.split("/")
    if not given.strip("/") or len(path) > 1000 or "\0" in path or any(name in ("", ".", "..") for name in names):
        raise Invalid(f"{where}: {given[:80]!r} is no path of a file")
    return path


def _overridden(shown: dict[str, Any], agent: AgentOverrides) -> dict[str, Any]:
    patch = AgentPatch(
        model=agent.model, system=agent.system, tools=agent.tools, mcp_servers=agent.mcp_servers, skills=agent.skills
    )
    return patched_agent(shown, patch)


def _told_of_files(spec: AgentSpec, resources: Sequence[Resource]) -> AgentSpec:
    if not resources:
        return spec
    files = "\n".join(f"- {one.path}" for one in resources)
    told = f"{spec.instructions}\n\nThe user has put these files into your working folder:\n{files}"
    return msgspec.structs.replace(spec, instructions=told)


def _mounting(spec: AgentSpec, mounts: Sequence[Mount]) -> AgentSpec:
    """Return a definition that uses memory stores, and is told of them."""
    if not mounts:
        return spec
    told = ["You have memory stores, which outlive this session. Look into them first, and keep there what you learn:"]
    for one in mounts:
        how = "read only" if one.access == "read_only" else "read and write"
        told.append(" ".join(part for part in (f"- {one.name} ({how}):", one.description, one.told) if part))
    tools = tuple(dict.fromkeys((*spec.tools, *TOOLS)))
    stores = tuple(MountedStore(store=one.store, name=one.name, access=one.access) for one in mounts)
    instructions = f"{spec.instructions}\n\n" + "\n".join(told)
    return msgspec.structs.replace(spec, instructions=instructions, tools=tools, memory_stores=stores)
