"""Import a session: all of it or nothing, once for a key, and nothing of it runs."""

from __future__ import annotations

import asyncio
import base64
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from roost.agent.definition import Agent, decode_spec, encode_spec
from roost.agent.state import STATE_VERSION, encode_state
from roost.authority import ACCOUNT, current, key_of, owned_labels, session_id
from roost.errors import Conflict, Forbidden, Invalid, NotFound
from roost.features.exchange import native_format
from roost.features.exchange.close_imported import IMPORT, Folded, closing
from roost.features.exchange.conversation_items import Brought, Report, Source
from roost.features.exchange.convert import convert, format_of
from roost.features.upgrades.events import SessionMoved
from roost.ids import is_id, new_id
from roost.kernel.allowed_folders import check_folder
from roost.kernel.labels import fold, masked_names
from roost.kernel.node import Node
from roost.kernel.sessions import Sessions
from roost.log import events as ev
from roost.log.portable import SessionDump
from roost.log.protocols import CheckpointRow, NewSession, Record, Snapshot
from roost.log.session_info import SessionInfo

DEFAULT_AGENT = "assistant"
_USER = "user"
"""The label that gives a person's facts and agent messages to a session: a file must not set it."""
_LEFT = f"label {_USER}"
_PATIENCE = 100
"""Tenths of a second to wait for a concurrent import."""
_PAGE = 500
_PAGE_BYTES = 4 * 1024 * 1024


async def bring(
    node: Node,
    path: Path,
    *,
    format: Source | None = None,
    id: str | None = None,
    agent: str | None = None,
    title: str | None = None,
    workspace: str | None = None,
    user: str | None = None,
    key: str | None = None,
) -> Brought:
    """Create a session from a file. With a `key` seen before, return the session that it created, if the request is the
    same.

    agent: an agent that this node knows; without it, a file of Roost's brings its own definition, and a foreign log
        gets the agent `assistant`.
    workspace: an existing folder of the user; without it, the session begins with no files.
    user: its label of that name, which gives it memory and colleagues; the file's own is ignored.

    Raises `Invalid` with the number of a wrong line, `TooLarge`, `Conflict` when the id is taken or the key was used
    for another file, agent, title, workspace or user, `IsolationUnavailable`. Then nothing was created.
    """
    if id is not None and not is_id(id):
        raise Invalid(f"{id!r} cannot be a session's id: use letters, digits and ._:- (at most 128)")
    if workspace is not None:
        if current().confined:
            raise Forbidden("an account chooses no folder of the machine")
        await asyncio.to_thread(check_folder, workspace, node.resources.home_folder)
    title, _ = masked_names(node.resources.vault, title, None)
    whose = owned_labels({} if not user else {_USER: user})
    account, user = whose.get(ACCOUNT), whose.get(_USER)
    key = key if key is None or account is None else key_of(account, key)
    create_key = None if key is None else f"import:{await asyncio.to_thread(_digest, path)}:{_short(key)}"
    session = session_id(id or (new_id("ses") if key is None else f"ses_{_short(key)}"), account)
    asked = _Asked(agent, title or None, workspace, user or None)
    if (known := await _known(node, session, create_key, asked)) is not None:
        return known
    with tempfile.TemporaryDirectory(prefix="roost-import-") as folder:
        work = _Work(node, path, Path(folder), format, workspace, user)
        await work.read(agent, title)
        try:
            return await work.store(session, create_key)
        except Conflict:
            if create_key is None or (known := await _soon(node, session, create_key, asked)) is None:
                raise
            return known


class _Asked(NamedTuple):
    """Values that replace the file's, where not None."""

    agent: str | None
    title: str | None
    workspace: str | None
    user: str | None

    def unmet(self, info: SessionInfo) -> str:
        present = (info.agent, info.title, info.workspace, info.labels.get(_USER))
        pairs = zip(self._fields, present, self, strict=True)
        return ", ".join(
            f"the {name} {has!r} and not {value!r}" for name, has, value in pairs if value is not None and has != value
        )


class _Work:
    def __init__(
        self,
        node: Node,
        path: Path,
        folder: Path,
        format: Source | None,
        workspace: str | None,
        user: str | None,
    ) -> None:
        self._node = node
        self._path = path
        self._folder = folder
        self._format: Source | None = format
        self._workspace = workspace
        self._user = user
        self._report = Report()
        self._last: list[bytes] = []

    async def read(self, name: str | None, title: str | None) -> None:
        """Read the whole file, so that its errors are known before anything is written."""
        format: Source = self._format or await asyncio.to_thread(format_of, self._path)
        self._report.format = format
        sessions = Sessions(self._node)
        if format == "claude-code" or format == "codex":
            self._agent = await sessions.named(name or DEFAULT_AGENT)
            given, self._path = self._path, self._folder / "converted.jsonl"
            self._report = await asyncio.to_thread(convert, given, format, self._agent.spec, self._path)
        else:
            own = None if name is None else await sessions.named(name)
            if own is None and current().confined:
                raise Forbidden("an account names the agent that is to take the file: its own does not count")
            self._agent = own or await asyncio.to_thread(self._defined, sessions)
        self._header = await asyncio.to_thread(native_format.header_of, self._path)
        self._marks = await asyncio.to_thread(native_format.marks_of, self._path)
        self._title = title or fold(self._header.title or "") or None
        self._labels = {name: value for name, value in self._header.labels.items() if name not in (_USER, ACCOUNT)}
        if self._user:
            self._labels[_USER] = self._user
        elif _USER in self._header.labels:
            self._report.leave_out(_LEFT)
        self._title, self._labels = masked_names(self._node.resources.vault, self._title, self._labels)
        self._labels = owned_labels(self._labels)
        self._spec = msgspec.Raw(encode_spec(self._agent.spec))
        self._folded = await asyncio.to_thread(Folded, self._path, self._marks, self._ours)
        for event in closing(self._folded.state, self._header.id, format):
            self._folded.folding.add(event)
            self._last.append(ev.encode_event(event))
        self._report.events = self._folded.head

    def _defined(self, sessions: Sessions) -> Agent:
        """Return the agent as the file defines it."""
        spec = b"{}"
        for _, event in native_format.events_of(self._path):
            if isinstance(event, ev.SessionCreated | SessionMoved):
                spec = bytes(event.spec)
        try:
            definition = decode_spec(spec)
        except msgspec.MsgspecError as error:
            raise Invalid(f"the definition of the file's agent cannot be read: {error}; name one of your own") from None
        try:
            return sessions.variant(definition.name, definition=definition)
        except Invalid as error:
            raise Invalid(f"{error}; name an agent of your own to take it instead", code=error.code) from None

    async def store(self, session: str, create_key: str | None) -> Brought:
        node, spec = self._node, self._agent.spec
        isolation = node.resources.demanded(self._agent, self._labels.get(ACCOUNT))
        await node.sandboxes.demand(isolation, node.membership.offered)
        wanted = NewSession(
            id=session,
            agent=spec.name,
            version=spec.version,
            title=self._title,
            labels=self._labels,
            workspace=self._workspace,
            needs=node.membership.needs(self._agent, self._workspace, floor=isolation.required),
        )
        await node.membership.announce(wanted.needs)
        await node.store.portable.restore(self._dump(wanted, create_key), self._pages())
        return Brought(session=await node.tenants.sessions.get(session), report=self._report)

    def _dump(self, new: NewSession, create_key: str | None) -> SessionDump:
        state, now = self._folded.state, time.time()
        head = self._folded.head + len(self._last)
        info = SessionInfo(
            **new.kept,
            state=state.state,
            phase=state.phase,
            head=head,
            created_at=now,
            updated_at=now,
            format=ev.FORMAT,
        )
        return SessionDump(
            info=info,
            create_key=create_key,
            inputs=self._folded.inputs,
            inbox=(),
            timers=(),
            snapshot=Snapshot(head, STATE_VERSION, encode_state(state)),
            checkpoints=tuple(self._checkpoint(mark) for mark in sorted(self._marks, key=lambda one: one.seq)),
        )

    def _checkpoint(self, mark: native_format.Mark) -> CheckpointRow:
        snapshot = Snapshot(mark.seq, STATE_VERSION, self._folded.marked[mark.seq])
        return CheckpointRow(mark.seq, mark.label, mark.made_at, mark.cause, None, None, snapshot)

    async def _pages(self) -> AsyncIterator[list[Record]]:
        bodies = self._bodies()
        while page := await asyncio.to_thread(_page, bodies):
            yield page

    def _bodies(self) -> Iterator[Record]:
        seq = 0
        for _, event in native_format.events_of(self._path):
            seq += 1
            yield Record(seq, ev.encode_event(self._ours(event)))
        for body in self._last:
            seq += 1
            yield Record(seq, body)

    def _ours(self, event: ev.Event) -> ev.Event:
        """Return an event with the definition pinned and the vault's values masked."""
        event, vault = self._pinned(event), self._node.resources.vault
        if vault:
            text = ev.encode_event(event).decode()
            if (clean := vault.scrub(text)) is not text:
                return ev.decode_event(clean.encode())
        return event

    def _pinned(self, event: ev.Event) -> ev.Event:
        """Replace definitions and places of another machine, so that no fork or rollback restores them."""
        spec = self._agent.spec
        match event:
            case ev.SessionCreated(at=at):
                return ev.SessionCreated(
                    at=at,
                    agent=spec.name,
                    version=spec.version,
                    spec=self._spec,
                    workspace=self._workspace,
                    title=self._title,
                    labels=self._labels,
                    tainted=IMPORT,
                )
            case SessionMoved():
                return msgspec.structs.replace(event, version=spec.version, spec=self._spec)
            case _:
                named = getattr(event, "account", None) is not None  # one of another place, or nobody's word
                return msgspec.structs.replace(event, account=None) if named else event


def _page(records: Iterator[Record]) -> list[Record]:
    page: list[Record] = []
    size = 0
    for record in islice(records, _PAGE):
        page.append(record)
        size += len(record.body)
        if size >= _PAGE_BYTES:
            break
    return page


async def _soon(node: Node, session: str, create_key: str, asked: _Asked) -> Brought | None:
    """Wait for the same request's concurrent import; None if it does not end in time."""
    for _ in range(_PATIENCE):
        if (known := await _known(node, session, create_key, asked)) is not None:
            return known
        await asyncio.sleep(0.1)
    return None


async def _known(node: Node, session: str, create_key: str | None, asked: _Asked) -> Brought | None:
    """Return the session, if the same request has created it. Raises `Conflict` when it is another."""
    try:
        dump = await node.store.portable.dump(session)
    except NotFound:
        return None
    if create_key is None or dump.create_key is None or not dump.create_key.startswith("import:"):
        raise Conflict(f"there is already a session {session!r}", code="session_exists")
    if dump.create_key != create_key:
        raise Conflict(f"the key was used to import another file, as session {session!r}", code="idempotency_mismatch")
    if unmet := asked.unmet(dump.info):
        raise Conflict(
            f"this file is the session {session!r} already, which has {unmet}: leave that out to have this session, or"
            " make a new one (--again on the command line, another key in a program)",
            code="idempotency_mismatch",
        )
    return Brought(session=dump.info, report=Report(), duplicate=True)


def _digest(path: Path) -> str:
    found = blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(1024 * 1024):
            found.update(chunk)
    return found.hexdigest()


def _short(key: str) -> str:
    return base64.b32encode(blake2b(key.encode(), digest_size=15).digest()).decode().lower()
