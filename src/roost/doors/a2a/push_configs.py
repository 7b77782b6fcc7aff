"""Where a task's updates are pushed: documents of the store, made, listed and deleted by clients."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import msgspec

from roost.doors.a2a.tasks import TaskId
from roost.errors import Conflict, Invalid, NotFound
from roost.log.documents import Document, DocumentQuery, Documents, Put, Remove, find_all
from roost.policy.sealing import Sealing
from roost.tools.checked_http import allowed_hosts, judged, parts_of, place_of
from roost.tools.errors import ToolError

log = logging.getLogger("roost.a2a")
KIND = "a2a.push"
"""Documents that say where to. They change only by clients."""
SENT = "a2a.push_sent"
"""Documents that say how far: of the same id."""
_MOST = 10
"""Most of one task."""
_ID, _TEXT = 64, 2000


class _Authentication(msgspec.Struct):
    scheme: str = ""
    credentials: str = ""


class _Given(msgspec.Struct, rename="camel"):
    url: str
    id: str = ""
    token: str = ""
    authentication: _Authentication | None = None


class _Secrets(msgspec.Struct, frozen=True, omit_defaults=True):
    token: str = ""
    credentials: str = ""


class PushConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """task, context, agent: what is told of. url: where to. token, scheme, credentials: headers for the receiver.
    sealed: the token and the credentials as the store keeps them, which are empty then. Older versions sealed
    nothing."""

    id: str
    task: str
    context: str
    agent: str
    url: str
    token: str = ""
    scheme: str = ""
    credentials: str = ""
    sealed: str = ""

    def __repr__(self) -> str:
        return f"PushConfig({self.id!r}, {self.task!r})"

    def shape(self) -> dict[str, Any]:
        """Return it as a client gets it: the credentials are the receiver's, and nobody needs them back."""
        told: dict[str, Any] = {"id": self.id, "taskId": self.task, "url": self.url}
        if self.token:
            told["token"] = self.token
        if self.scheme:
            told["authentication"] = {"scheme": self.scheme}
        return told

    def headers(self) -> dict[str, str]:
        found = {"Content-Type": "application/a2a+json", "A2A-Version": "1.0"}
        if self.token:
            found["X-A2A-Notification-Token"] = self.token
        if self.scheme and self.credentials:
            found["Authorization"] = f"{self.scheme} {self.credentials}"
        return found


async def read_config(document: Document, sealing: Sealing) -> PushConfig:
    """Return a config with its secrets. Raises `Conflict` when they cannot be opened."""
    config = msgspec.json.decode(document.body, type=PushConfig)
    if not config.sealed:
        return config
    secrets = msgspec.json.decode(await sealing.open(config.sealed, f"{KIND}:{document.id}"), type=_Secrets)
    return msgspec.structs.replace(config, token=secrets.token, credentials=secrets.credentials, sealed="")


async def _body_of(config: PushConfig, name: str, sealing: Sealing) -> bytes:
    """Return what the store keeps of a config."""
    if config.token or config.credentials:
        secrets = msgspec.json.encode(_Secrets(config.token, config.credentials))
        sealed = await sealing.seal(secrets, f"{KIND}:{name}")
        config = msgspec.structs.replace(config, token="", credentials="", sealed=sealed)
    return msgspec.json.encode(config)


def name_of(task: TaskId, config: str) -> str:
    """Return the id of the document. A config of the same id replaces the former one of its task."""
    return f"{task}/{config}"


async def new_config(params: Any, task: TaskId, context: str, agent: str) -> PushConfig:
    """Check what a client asks for. Raises `Invalid`, also for an address that must not be reached from here."""
    try:
        given = msgspec.convert(params, _Given)
    except msgspec.ValidationError as error:
        raise Invalid(f"pushNotificationConfig: {error}") from None
    auth = given.authentication or _Authentication()
    for text in (given.token, auth.scheme, auth.credentials):
        if len(text) > _TEXT or not (text.isascii() and text.isprintable()):
            raise Invalid(f"pushNotificationConfig: a token, scheme or credentials have at most {_TEXT} ASCII letters")
    if len(given.id) > _ID or not all(one.isalnum() or one in "-_.:" for one in given.id):
        raise Invalid(f"pushNotificationConfig.id: letters, digits and -_.: name it, at most {_ID}")
    try:
        await judged(*place_of(parts_of(given.url)), allowed=allowed_hosts("ROOST_AGENTS_ALLOW"))
    except ToolError as error:
        raise Invalid(f"pushNotificationConfig.url: {error}", code="push_url_refused") from None
    return PushConfig(
        id=given.id or _id_of(task, given.url),
        task=str(task),
        context=context,
        agent=agent,
        url=given.url,
        token=given.token,
        scheme=auth.scheme,
        credentials=auth.credentials,
    )


def _id_of(task: TaskId, url: str) -> str:
    """Return the id of a config that its client gave none: the same when the request comes again."""
    return f"push_{hashlib.blake2b(f'{task} {url}'.encode(), digest_size=12).hexdigest()}"


class PushConfigs:
    """The configs of the tasks in one store."""

    def __init__(self, documents: Documents, sealing: Sealing) -> None:
        self._documents, self._sealing = documents, sealing

    async def put(self, task: TaskId, config: PushConfig) -> None:
        """Keep a config. What another one of this id was told is told again. Raises `Invalid`."""
        known = await self.of(task)
        if config in known:  # the request came before
            return
        if len(known) >= _MOST and config.id not in [one.id for one in known]:
            raise Invalid(f"task {str(task)!r} has {_MOST} push configs, the most: delete one", code="too_many_configs")
        name = name_of(task, config.id)
        body = await _body_of(config, name, self._sealing)
        await self._documents.write(
            [Put(kind=KIND, id=name, body=body, keys={"task": str(task)}), Remove(kind=SENT, id=name)]
        )

    async def get(self, task: TaskId, config: str) -> PushConfig:
        """Raises `NotFound`."""
        found = await self._documents.get(KIND, name_of(task, config)) if 0 < len(config) <= _ID else None
        if found is None:
            raise NotFound(f"task {str(task)!r} has no push config {config[:_ID]!r}", code="no_push_config")
        return await self._read(found)

    async def of(self, task: TaskId) -> list[PushConfig]:
        query = DocumentQuery(kind=KIND, key=("task", str(task)))
        return [await self._read(one) async for one in find_all(self._documents, query)]

    async def _read(self, document: Document) -> PushConfig:
        """Return a config; without its secrets if they cannot be opened, so that a client can see and replace it."""
        try:
            return await read_config(document, self._sealing)
        except Conflict as error:
            log.warning("push config %s: %s", document.id, error)
            return msgspec.json.decode(document.body, type=PushConfig)

    async def remove(self, task: TaskId, config: str) -> None:
        """Delete a config, if there is one."""
        if 0 < len(config) <= _ID:
            name = name_of(task, config)
            await self._documents.write([Remove(kind=KIND, id=name), Remove(kind=SENT, id=name)])
