"""Environments: where the commands of a session run, and what they reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, UnsetType
from starlette.types import Receive, Scope

from roost.agent.definition import AgentSpec
from roost.agent.servers import McpServer
from roost.doors.managed.owners import account
from roost.doors.managed.record_room import RecordRoom
from roost.doors.managed.requests import (
    Asking,
    Metadata,
    MetadataPatch,
    answer,
    body_of,
    maybe_stamp,
    metadata_of,
    patched,
    stamp,
    text_within,
)
from roost.doors.requested import narrowed
from roost.errors import Invalid
from roost.ids import new_id
from roost.log.records import Record, Records
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.responses import ReplyCall

_NAME, _DESCRIPTION, _HOSTS, _HOST = 256, 4096, 256, 253
_MANAGERS = ("apt", "cargo", "gem", "go", "npm", "pip")
Scopes: TypeAlias = Literal["organization", "account"]


class Unrestricted(Asking, tag_field="type", tag="unrestricted"):
    pass


class Limited(Asking, tag_field="type", tag="limited"):
    allow_mcp_servers: bool | None = None
    allow_package_managers: bool | None = None
    allowed_hosts: list[str] | None = None


class Packages(Asking):
    type: Literal["packages"] = "packages"
    apt: list[str] | None = None
    cargo: list[str] | None = None
    gem: list[str] | None = None
    go: list[str] | None = None
    npm: list[str] | None = None
    pip: list[str] | None = None


class Cloud(Asking, tag_field="type", tag="cloud"):
    networking: Unrestricted | Limited | None = None
    packages: Packages | None = None


class SelfHosted(Asking, tag_field="type", tag="self_hosted"):
    pass


class EnvironmentGiven(Asking):
    name: str
    config: Cloud | SelfHosted | None = None
    description: str | None = None
    metadata: Metadata = {}
    scope: Scopes | None = None


class EnvironmentPatch(Asking):
    name: str | UnsetType | None = UNSET
    config: Cloud | SelfHosted | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    metadata: MetadataPatch | UnsetType = UNSET
    scope: Scopes | UnsetType | None = UNSET


class Environment(Record, frozen=True, kw_only=True, omit_defaults=True):
    """hosts: that commands reach; None for all."""

    kind: ClassVar[str] = "managed.environment"
    noun: ClassVar[str] = "environment"

    name: str
    description: str | None = None
    metadata: dict[str, str] = {}
    scope: str = "organization"
    hosts: tuple[str, ...] | None = None
    mcp_servers: bool = False

    def around(self, spec: AgentSpec, *, within: bool = False) -> AgentSpec:
        """Return a definition whose commands run in this environment. within: they reach nothing that the definition
        does not allow, also where the environment is not limited. Raises `Invalid` for hosts that it does not."""
        if within and self.hosts is None:
            return spec
        hosts = ("*",) if self.hosts is None else self.hosts
        return msgspec.structs.replace(spec, isolation=narrowed(spec.isolation, hosts, within=within))

    def admit(self, servers: Sequence[McpServer | str]) -> None:
        """Refuse MCP servers that a limited environment does not allow. Raises `Invalid`."""
        if self.hosts is None or self.mcp_servers:
            return
        for one in servers:
            host = urlsplit(one.url or "").hostname or "" if isinstance(one, McpServer) else ""
            if host and not any(fnmatchcase(host, glob.lower()) for glob in self.hosts):
                raise Invalid(
                    f"environment_id: environment {self.id!r} does not allow {host!r}, the host of an MCP server; say"
                    " allow_mcp_servers, or name it in allowed_hosts"
                )


_create, _change = msgspec.json.Decoder(EnvironmentGiven), msgspec.json.Decoder(EnvironmentPatch)


class Environments(RecordRoom[Environment]):
    def __init__(self, api: Api) -> None:
        super().__init__("environment", Records(api.runtime.node.store.documents, Environment))

    def routes(self) -> Mapping[str, Methods]:
        return {
            "/v1/environments": {"GET": self.list, "POST": self.create},
            "/v1/environments/{environment}": {"GET": self.get, "POST": self.change, "DELETE": self.delete},
            "/v1/environments/{environment}/archive": {"POST": self.archive},
        }

    def view(self, one: Environment) -> dict[str, Any]:
        return environment_view(one)

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        given = await body_of(scope, receive, _create)
        hosts, servers = _network(given.config)
        made = Environment(
            id=new_id("env"),
            owner=account() or "",
            name=text_within(given.name, "name", _NAME),
            description=_described(given.description),
            metadata=metadata_of(given.metadata),
            scope=given.scope or "organization",
            hosts=hosts,
            mcp_servers=servers,
        )
        return answer(self.view(await self.records.make(made)))

    @needs("use")
    async def change(self, scope: Scope, receive: Receive) -> ReplyCall:
        patch = await body_of(scope, receive, _change)
        changed = await self.records.change(self.id(scope), lambda one: _patched(one, patch), owner=account())
        return answer(self.view(changed))


def environment_view(one: Environment) -> dict[str, Any]:
    limited = {
        "type": "limited",
        "allowed_hosts": one.hosts,
        "allow_mcp_servers": one.mcp_servers,
        "allow_package_managers": False,
    }
    return {
        "type": "environment",
        "id": one.id,
        "name": one.name,
        "description": one.description,
        "metadata": one.metadata,
        "scope": one.scope,
        "config": {
            "type": "cloud",
            "networking": {"type": "unrestricted"} if one.hosts is None else limited,
            "packages": {"type": "packages", **{name: [] for name in _MANAGERS}},
        },
        "created_at": stamp(one.created),
        "updated_at": stamp(one.changed),
        "archived_at": maybe_stamp(one.archived),
    }


def _patched(one: Environment, patch: EnvironmentPatch) -> Environment:
    if one.archived is not None:
        raise Invalid(f"environment {one.id!r} is archived: it takes no changes")
    hosts, servers = (one.hosts, one.mcp_servers) if patch.config is UNSET else _network(patch.config)
    name, description, scope = (
        before if given is UNSET else given
        for given, before in ((patch.name, one.name), (patch.description, one.description), (patch.scope, one.scope))
    )
    return msgspec.structs.replace(
        one,
        name=one.name if name is None else text_within(name, "name", _NAME),
        description=_described(description),
        metadata=patched(one.metadata, patch.metadata),
        scope=scope or one.scope,
        hosts=hosts,
        mcp_servers=servers,
    )


def _network(config: Cloud | SelfHosted | None) -> tuple[tuple[str, ...] | None, bool]:
    """Return the hosts that a configuration allows, None for all. Raises `Invalid` for what Roost cannot do."""
    if isinstance(config, SelfHosted):
        raise Invalid("config.type: Roost runs the commands of a session itself; type 'cloud' says so")
    if config is None:
        return None, False
    if config.packages is not None and any(getattr(config.packages, name) for name in _MANAGERS):
        raise Invalid("config.packages: Roost installs no packages; put them into the sandbox's image")
    if not isinstance(config.networking, Limited):
        return None, False
    if config.networking.allow_package_managers:
        raise Invalid("config.networking.allow_package_managers: name the hosts of the registries in allowed_hosts")
    hosts = tuple(dict.fromkeys(map(_host, config.networking.allowed_hosts or ())))
    if len(hosts) > _HOSTS:
        raise Invalid(f"config.networking.allowed_hosts: at most {_HOSTS}")
    return hosts, bool(config.networking.allow_mcp_servers)


def _host(given: str) -> str:
    host = given.removeprefix("https://").removeprefix("http://").rstrip("/")
    if not 1 <= len(host) <= _HOST or "/" in host or any(mark.isspace() for mark in host):
        raise Invalid(f"config.networking.allowed_hosts: {given[:80]!r} is no name of a host")
    return host


def _described(given: str | None) -> str | None:
    return None if given is None else text_within(given, "description", _DESCRIPTION, 0)
