"""Templates of environments."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.types import Receive, Scope

from roost.doors.openai_agents.context import Context, body_of
from roost.doors.openai_agents.environment_config import Hosted, parts_of
from roost.doors.openai_agents.environments import Environments
from roost.doors.openai_agents.paging import Page, documents, page_of
from roost.doors.openai_agents.records import TEMPLATE, TemplateRecord, read
from roost.errors import Conflict, Invalid
from roost.ids import new_id
from roost.log.documents import Document, Remove
from roost.server.door import Methods, needs
from roost.server.responses import ReplyCall, json

_ALL = "/v1/agents/environments/templates"
_TRIES = 8
_OWN = ("environment_id", "environment_template_id", "type", "container_size")


class Templates:
    def __init__(self, context: Context, environments: Environments) -> None:
        self._context, self._environments = context, environments

    def routes(self) -> Mapping[str, Methods]:
        return {
            _ALL: {"GET": self.list, "POST": self.create},
            f"{_ALL}/{{template}}": {"GET": self.retrieve, "POST": self.update, "DELETE": self.delete},
        }

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        given, owner = await self._given(scope, receive), self._context.owner(scope)
        hosted, now = await self._environments.hosted(given, "template", owner), time.time()
        record = TemplateRecord(
            id=new_id("envt"), owner=owner, created=now, changed=now, name=_name(given), hosted=hosted
        )
        await self._context.documents.write([record.put(0)])
        return json(200, _shown(record))

    @needs("read")
    async def retrieve(self, scope: Scope, receive: Receive) -> ReplyCall:
        return json(200, _shown((await self._find(scope))[0]))

    @needs("use")
    async def update(self, scope: Scope, receive: Receive) -> ReplyCall:
        given = await self._given(scope, receive)
        hosted = await self._environments.hosted(given, "template", self._context.owner(scope))
        for _ in range(_TRIES):
            known, revision = await self._find(scope)
            record = _updated(known, given, hosted)
            try:
                await self._context.documents.write([record.put(revision)])
            except Conflict as error:
                if error.code != "document_changed":
                    raise
            else:
                return json(200, _shown(record))
        raise Conflict("the template is changed by too many clients at once", code="document_changed")

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        page = Page.of(scope)
        found = documents(self._context.documents, TEMPLATE, page, owner=self._context.owner(scope))
        return json(200, await page_of(found, page, _entry))

    @needs("use")
    async def delete(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Delete a template. Environments that were made of it stay."""
        record, _ = await self._find(scope)
        await self._context.documents.write([Remove(kind=TEMPLATE, id=record.id)])
        return json(200, {"id": record.id, "object": "agent.environment.template.deleted", "deleted": True})

    async def _find(self, scope: Scope) -> tuple[TemplateRecord, int]:
        return await self._environments.template(scope["path_params"]["template"], self._context.owner(scope))

    async def _given(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        given = await body_of(scope, receive, dict[str, Any])
        for name in _OWN:
            if name in given:
                raise Invalid(f"{name}: a template has none")
        return given


def _updated(known: TemplateRecord, given: dict[str, Any], hosted: Hosted) -> TemplateRecord:
    changes: dict[str, Any] = {name: getattr(hosted, name) for name in ("files", "network") if name in given}
    name = _name(given) if "name" in given else known.name
    merged = msgspec.structs.replace(known.hosted, **changes)
    return msgspec.structs.replace(known, hosted=merged, name=name, changed=time.time())


def _name(given: dict[str, Any]) -> str | None:
    name = given.get("name")
    if not isinstance(name, str | None) or len(name or "") > 1024:
        raise Invalid("name: a text of at most 1024 characters")
    return name


async def _entry(document: Document) -> dict[str, Any]:
    return _shown(read(document, TemplateRecord))


def _shown(record: TemplateRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "object": "agent.environment.template",
        "created_at": int(record.created),
        "updated_at": int(record.changed),
        "name": record.name,
        **parts_of(record.hosted, template=True),
    }
