"""Read and write the agents that were defined over HTTP, with all their versions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from roost.agent.definition import AgentSpec, encode_spec
from roost.errors import Conflict, Invalid, NotFound
from roost.log.documents import Document, DocumentQuery, Documents, Put
from roost.validated import WrongValue

KIND, VERSION = "definition", "definition.version"
_TRIES = 20
"""Most concurrent changes of others before a change without an expected version gives up."""


class Definition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version of an agent.

    name: of the agent, the same in all versions; unique in the store.
    version: counts from 1.
    spec: the definition, as a session pins it.
    door: the protocol through which it was made.
    shown: what that protocol's clients see of it besides; Roost does not read it.
    owner: the account that it belongs to; empty for the whole home.
    created, changed: seconds since 1970, of the first and of this version.
    archived: when it was closed to new sessions.
    """

    name: str
    version: int
    spec: msgspec.Raw
    door: str
    created: float
    changed: float
    shown: dict[str, Any] = {}
    owner: str = ""
    archived: float | None = None

    def agent(self) -> AgentSpec:
        """Return the definition. Raises `Conflict` for one of a newer Roost."""
        try:
            return msgspec.json.decode(self.spec, type=AgentSpec)
        except (msgspec.MsgspecError, WrongValue) as error:
            raise Conflict(f"this node cannot read the definition of agent {self.name!r}: {error}") from None


_decoder = msgspec.json.Decoder(Definition)


class Definitions:
    """The agents that a store keeps. `owner` limits a read to what belongs to that account; None reads all."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def make(self, spec: AgentSpec, *, door: str, shown: dict[str, Any], owner: str = "") -> Definition:
        """Keep a new agent as its version 1. Raises `Conflict` when the name is taken."""
        now = time.time()
        made = Definition(
            name=spec.name,
            version=1,
            spec=msgspec.Raw(encode_spec(spec)),
            door=door,
            created=now,
            changed=now,
            shown=shown,
            owner=owner,
        )
        await self._write(made, 0)
        return made

    async def change(
        self,
        name: str,
        edit: Callable[[Definition], tuple[AgentSpec, dict[str, Any]]],
        *,
        version: int | None = None,
        owner: str | None = None,
    ) -> Definition:
        """Add a version: `edit` returns the definition and what is shown, from the newest version; it may be called
        again when somebody else changes the agent meanwhile. Without a difference no version is added. version: the
        newest one that the caller knows; None accepts any. Raises `Conflict` (`version_conflict`) when it is another,
        `Conflict` (`agent_archived`), `NotFound`."""
        for _ in range(_TRIES):
            document, newest = await self._newest(name, owner)
            if version is not None and newest.version != version:
                raise Conflict(f"agent {name!r} is at version {newest.version}, not {version}", code="version_conflict")
            _open(newest)
            spec, shown = edit(newest)
            if (spec := spec_named(spec, name)) == newest.agent() and shown == newest.shown:
                return newest
            made = msgspec.structs.replace(
                newest,
                version=newest.version + 1,
                spec=msgspec.Raw(encode_spec(spec)),
                shown=shown,
                changed=max(time.time(), newest.changed),
            )
            if await self._won(made, document.revision):
                return made
        raise Conflict(f"agent {name!r} is changed by too many clients at once; try again", code="version_conflict")

    async def archive(self, name: str, *, owner: str | None = None) -> Definition:
        """Close an agent to new sessions and new versions, for good. Idempotent. Raises `NotFound`."""
        for _ in range(_TRIES):
            document, newest = await self._newest(name, owner)
            if newest.archived is not None:
                return newest
            closed = msgspec.structs.replace(newest, archived=time.time())
            if await self._won(closed, document.revision, versions=False):
                return closed
        raise Conflict(f"agent {name!r} is changed by too many clients at once; try again", code="version_conflict")

    async def get(self, name: str, *, version: int | None = None, owner: str | None = None) -> Definition:
        """Return an agent in one version, the newest by default; `archived` is always the present one. Raises
        `NotFound`."""
        _, newest = await self._newest(name, owner)
        if version is None or version == newest.version:
            return newest
        found = await self._documents.get(VERSION, _version_id(name, version)) if version > 0 else None
        if found is None:
            raise NotFound(f"agent {name!r} has no version {version}; its newest is {newest.version}")
        return msgspec.structs.replace(_decoder.decode(found.body), archived=newest.archived)

    async def versions(
        self, name: str, *, before: int | None = None, limit: int = 100, owner: str | None = None
    ) -> list[Definition]:
        """Return versions, the newest first, those below `before`. Raises `NotFound`."""
        _, newest = await self._newest(name, owner)
        first = newest.version if before is None else min(newest.version, before - 1)
        found = [
            await self._documents.get(VERSION, _version_id(name, number))
            for number in range(first, max(0, first - limit), -1)
        ]
        known = [_decoder.decode(one.body) for one in found if one is not None]
        return [msgspec.structs.replace(one, archived=newest.archived) for one in known]

    async def find(
        self, *, door: str | None = None, owner: str | None = None, after: str = "", limit: int = 100
    ) -> list[Definition]:
        """Return the newest version of agents, the last made first; `after`: the last name of the page before."""
        key = None if door is None else ("door", door)
        query = DocumentQuery(kind=KIND, owner=owner, key=key, after=after, newest=True, limit=limit)
        return [_decoder.decode(one.body) for one in await self._documents.find(query)]

    async def open_agent(self, name: str, *, owner: str | None = None) -> AgentSpec | None:
        """Return the newest version of an agent that new sessions may use; None if there is none of that name. Raises
        `Conflict` (`agent_archived`)."""
        found = await self._documents.get(KIND, name)
        if found is None or (owner is not None and found.owner != owner):
            return None
        newest = _decoder.decode(found.body)
        _open(newest)
        return newest.agent()

    async def _newest(self, name: str, owner: str | None) -> tuple[Document, Definition]:
        found = await self._documents.get(KIND, name)
        if found is None or (owner is not None and found.owner != owner):
            raise NotFound(f"there is no agent {name!r}")
        return found, _decoder.decode(found.body)

    async def _won(self, made: Definition, revision: int, *, versions: bool = True) -> bool:
        """Write, unless somebody else has changed the agent since it was read."""
        try:
            await self._write(made, revision, versions=versions)
        except Conflict as error:
            if error.code != "document_changed":
                raise
            return False
        return True

    async def _write(self, made: Definition, revision: int, *, versions: bool = True) -> None:
        body = msgspec.json.encode(made)
        newest = Put(
            kind=KIND, id=made.name, body=body, owner=made.owner, keys={"door": made.door}, revision=revision
        )  # fmt: skip
        id = _version_id(made.name, made.version)
        kept = Put(kind=VERSION, id=id, body=body, owner=made.owner, keys={"agent": made.name}, revision=0)
        await self._documents.write([newest, kept] if versions else [newest])


def spec_named(spec: AgentSpec, name: str) -> AgentSpec:
    """Check that a new version keeps the agent's name. Raises `Invalid`."""
    if spec.name != name:
        raise Invalid(f"a version of agent {name!r} cannot have the name {spec.name!r}")
    return spec


def _open(newest: Definition) -> None:
    if newest.archived is not None:
        raise Conflict(f"agent {newest.name!r} is archived", code="agent_archived")


def _version_id(name: str, version: int) -> str:
    return f"{name}/{version:09d}"
