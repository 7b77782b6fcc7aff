"""Push the updates of tasks to where clients want them: at least once, in order for each config.

The outbox is the log: a document says how far its updates were delivered. A node that dies between a delivery and this
note leaves it to the next holder of the duty, which delivers that update again, with the same number
(`A2A-Notification-Id`). One node of the cluster has the duty."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import msgspec

from roost.doors.a2a.push_configs import KIND, SENT, PushConfig, name_of, read_config
from roost.doors.a2a.task_log import TaskLog, Update
from roost.doors.a2a.tasks import task_id
from roost.errors import Conflict, NotFound, RoostError
from roost.log.documents import Document, DocumentQuery, Put, Remove, find_all
from roost.server.app_state import Api
from roost.tools.checked_http import allowed_hosts, ask, judged, parts_of, place_of
from roost.tools.errors import ToolError

log = logging.getLogger("roost.a2a")
DUTY = "a2a.push"
GIVE_UP_SECONDS = 24 * 3600.0
"""After so long without a success the config is deleted, and the session's log says so."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0
_LOOKS_APART = 0.5
"""Seconds between two looks at all configs, at least."""
_DUTY_SECONDS = 2.0
"""Seconds after which a node without the duty asks again, while there are configs."""
_PER_HOST = 16
"""Most requests to one receiver at once: it may be slow."""
_ANSWER = 64 * 1024
_GONE = 410


class _Sent(msgspec.Struct, omit_defaults=True):
    """number: of the last update that was delivered. failing: since when (wall time, seconds) the next one cannot.
    config: the revision of the config that this is about; 0 in what older versions wrote."""

    number: int = 0
    failing: float | None = None
    config: int = 0


class Pusher:
    """Follows each config by a task of its own."""

    def __init__(self, api: Api) -> None:
        self._api, self._documents = api, api.runtime.node.store.documents
        self._sealing = api.runtime.node.sealing()
        self._following: dict[str, tuple[int, asyncio.Task[None]]] = {}
        self._hosts: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._look = asyncio.Event()
        self._read = False
        """Whether what is followed is all there was at the last change."""

    async def run(self) -> None:
        """Follow all configs while this node has the duty; forever."""
        stop = self._documents.watch(KIND, self._look.set)
        try:
            while True:
                if self._look.is_set():
                    self._look.clear()
                    self._read = False
                wait: float | None = _DUTY_SECONDS
                try:
                    wait = await self._reconcile()
                except RoostError as error:
                    log.warning("cannot look for push notifications: %s", error)
                await asyncio.sleep(_LOOKS_APART)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._look.wait(), wait)
        finally:
            stop()
            self._drop(list(self._following))

    async def _reconcile(self) -> float | None:
        """Follow exactly what there is, if this node has the duty. Return the seconds until the next look, None if only
        a change leads to it."""
        if not self._read and not await self._documents.find(DocumentQuery(kind=KIND, limit=1)):
            self._drop(list(self._following))
            return None
        if not await self._api.runtime.node.membership.holds(DUTY):
            self._drop(list(self._following))
            self._read = False
            return _DUTY_SECONDS
        if self._read and not any(task.done() for _, task in self._following.values()):
            return _DUTY_SECONDS
        found = {one.id: one async for one in find_all(self._documents, DocumentQuery(kind=KIND, limit=1000))}
        known = {name: revision for name, (revision, task) in self._following.items() if not task.done()}
        self._drop([name for name in self._following if name not in found or known.get(name) != found[name].revision])
        for name, one in found.items():
            if name not in self._following:
                self._following[name] = one.revision, asyncio.create_task(self._follow(one))
        self._read = True
        return _DUTY_SECONDS

    def _drop(self, names: list[str]) -> None:
        for name in names:
            _, task = self._following.pop(name)
            task.cancel()

    async def _follow(self, document: Document) -> None:
        """Deliver the updates of one config until its task has ended."""
        try:
            config = await read_config(document, self._sealing)
        except RoostError as error:  # nothing is told without its token; the next look begins again
            log.warning("push notifications of %s wait: %s", document.id, error)
            return
        task = task_id(config.task)
        changed = asyncio.Event()
        stop = self._api.runtime.node.store.changes.watch(lambda change: changed.set(), session=task.session)
        outbox = _Outbox(self._api, config, document.revision, self._host(config.url))
        try:
            await outbox.load()
            updates = TaskLog(self._api.runtime, task, config.context)
            while True:
                changed.clear()
                async for update in updates.read():
                    if not await outbox.deliver(update):
                        return
                await changed.wait()
        except NotFound:  # the session is gone
            await outbox.remove()
        except Conflict:
            log.info("push notifications of %s are another node's now, or go elsewhere", config.task)
        except RoostError as error:  # the next look begins again
            log.warning("push notifications of %s wait: %s", config.task, error)
        finally:
            stop()

    def _host(self, url: str) -> asyncio.Semaphore:
        """Return what the outboxes of this host share, as long as there is one."""
        return self._hosts.setdefault(urlsplit(url).netloc, asyncio.Semaphore(_PER_HOST))


class _Outbox:
    """One config, and how far it is delivered. of: its revision. A client may replace it under way, also while its last
    update is on the way to the former receiver: then the new one is told everything."""

    def __init__(self, api: Api, config: PushConfig, of: int, host: asyncio.Semaphore) -> None:
        self._api, self._config, self._of, self._host = api, config, of, host
        self._documents = api.runtime.node.store.documents
        self._name = name_of(task_id(config.task), config.id)
        self._sent, self._revision = _Sent(), 0

    async def load(self) -> None:
        if (found := await self._documents.get(SENT, self._name)) is not None:
            sent, self._revision = msgspec.json.decode(found.body, type=_Sent), found.revision
            self._sent = sent if sent.config in (0, self._of) else _Sent()

    async def deliver(self, update: Update) -> bool:
        """Deliver an update that was not, however often it takes. Return False when nothing is to be delivered any
        more. Raises `Conflict` when another node delivers."""
        if update.number > self._sent.number:
            pause = _FIRST_PAUSE
            while (why := await self._post(update)) is not None:
                if not await self._failed(why):
                    return False
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))
                pause = min(pause * 2, _LONGEST_PAUSE)
            await self._note(update.number)
        if update.last:
            await self.remove()
        return not update.last

    async def remove(self) -> None:
        """Delete the config, unless a client has replaced it."""
        config = Remove(kind=KIND, id=self._name, revision=self._of)
        with contextlib.suppress(Conflict):
            await self._documents.write([config, Remove(kind=SENT, id=self._name)])

    async def _failed(self, why: str) -> bool:
        """Note a failure. Return False when it is the last one."""
        now = time.time()
        since = self._sent.failing or now
        if why != str(_GONE) and now - since < GIVE_UP_SECONDS:
            if self._sent.failing is None:
                log.warning("cannot push to %s of task %s: %s", self._shown, self._config.task, why)
                await self._note(self._sent.number, failing=now)
            return True
        log.error("gave up pushing to %s of task %s: %s", self._shown, self._config.task, why)
        data = {"task": self._config.task, "config": self._config.id, "url": self._shown, "why": why, "since": since}
        with contextlib.suppress(RoostError):  # a session that takes no inputs any more
            await self._api.sessions.emit(
                task_id(self._config.task).session, "a2a.push_failed", data, key=f"a2a.push:{self._name}:{int(since)}"
            )
        await self.remove()
        return False

    async def _note(self, number: int, *, failing: float | None = None) -> None:
        sent = _Sent(number, failing, self._of)
        put = Put(kind=SENT, id=self._name, body=msgspec.json.encode(sent), revision=self._revision)
        (document,) = await self._documents.write([put])
        assert document is not None
        self._sent, self._revision = sent, document.revision

    async def _post(self, update: Update) -> str | None:
        """Send the update once. Return why it failed, None when it was taken."""
        config = self._config
        headers = {**config.headers(), "A2A-Notification-Id": f"{self._name}/{update.number}"}
        try:
            async with self._host:
                addresses = await judged(*place_of(parts_of(config.url)), allowed=allowed_hosts("ROOST_AGENTS_ALLOW"))
                answer = await ask("POST", config.url, addresses, cap=_ANSWER, headers=headers, json=update.body)
        except ToolError as error:
            return str(error)
        return None if 200 <= answer.status < 300 else str(answer.status)

    @property
    def _shown(self) -> str:
        """The address without its query, which may hold a secret."""
        return self._config.url.partition("?")[0]
