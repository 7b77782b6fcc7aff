"""Make the tools of an API in a session."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from roost.agent.openapi_options import OpenApi
from roost.agent.session import Session
from roost.agent.tool_offers import ToolEntry, ToolSource
from roost.features.openapi.calling import Called, Caller
from roost.features.openapi.catalog import Catalog, Operation, as_schema
from roost.features.openapi.credentials import Signer, Tokens, needs_of
from roost.features.openapi.events import ApiResponse
from roost.features.openapi.kept_responses import part_of
from roost.features.openapi.naming import first_of, offered, tool_name
from roost.features.openapi.request_building import UploadFile, build_request, file_paths
from roost.features.openapi.results import shown
from roost.features.openapi.servers import BadServer, base_of, host_of
from roost.log.content import Replay, Text
from roost.models.tool_arguments import misfit
from roost.policy.gate import Safety
from roost.policy.rules import Touches
from roost.policy.touched_paths import files, words
from roost.threads import finished_in_thread
from roost.tools.base import Tool, ToolContext, ToolResult
from roost.tools.errors import ToolError
from roost.workspace.safe_paths import read_file, write_file

_UPLOAD = 32 * 1024 * 1024
_OVERHEAD = 5.0


class Loaded(NamedTuple):
    """An API of a session. document: path or URL of its document."""

    api: OpenApi
    catalog: Catalog
    document: str


def source_of(session: Session, loaded: Loaded, tokens: Tokens) -> tuple[ToolSource, str]:
    """Return the tools of an API, and why it has none. Operations without a usable server are left out."""
    api, catalog = loaded.api, loaded.catalog
    entries: list[ToolEntry] = []
    why = "the document has no operation that the agent is offered"
    for operation in offered(api, catalog.operations):
        try:
            base = base_of(api, catalog, operation, loaded.document)
        except BadServer as error:
            why = str(error)
            continue
        make = _Maker(session, loaded, operation, base, tokens)
        entries.append(ToolEntry(tool_name(api.name, operation), operation.about, make))
    return ToolSource(api.name, catalog.title, entries), "" if entries else why


def safety_for(api: OpenApi, operation: Operation) -> Safety:
    """Return the safety of an operation's tool. One that can save its response writes, whatever the API does."""
    safety = _effect(api, operation)
    return "safe_write" if safety == "read_only" and operation.saves else safety


def _effect(api: OpenApi, operation: Operation) -> Safety:
    """Return what an operation does at the API: as the agent says, else as derived."""
    return first_of(operation, api.safety) or operation.safety


def replay_for(api: OpenApi, operation: Operation) -> Replay:
    """Return what happens to a call that was cut off: as the agent says, else by the method (RFC 9110, section 9.2.2)
    and by keys that let the server drop repetitions."""
    if (said := first_of(operation, api.replay)) is not None:
        return said
    if operation.method in ("GET", "HEAD"):
        return "safe" if _effect(api, operation) == "read_only" else "never"
    return "safe" if operation.method in ("PUT", "DELETE") or key_header(api, operation) else "never"


def key_header(api: OpenApi, operation: Operation) -> str | None:
    """Return the header that carries the key of a call, if the server has one."""
    writes = operation.method not in ("GET", "HEAD")
    return (operation.key_header or api.idempotency_key) if writes else None


class _Maker:
    """Makes the tool of one operation."""

    def __init__(self, session: Session, loaded: Loaded, operation: Operation, base: str, tokens: Tokens) -> None:
        self._session, self._loaded, self._operation = session, loaded, operation
        self._base, self._tokens = base, tokens

    def __call__(self) -> Tool:
        api, operation = self._loaded.api, self._operation
        has_files = operation.saves or _has_files(operation)
        return Tool(
            name=tool_name(api.name, operation),
            description=operation.about,
            schema=as_schema(operation),
            run=self._run,
            replay=replay_for(api, operation),
            safety=safety_for(api, operation),
            files=has_files,
            timeout=api.seconds + _OVERHEAD,
            taints=True,
            reach=reach_of(host_of(self._base), operation, outside=_effect(api, operation) != "read_only"),
            secrets=api.secrets,
            early=False,
        )

    async def _run(self, ctx: ToolContext, arguments: dict[str, Any]) -> ToolResult:
        api, operation = self._loaded.api, self._operation
        if (wrong := misfit(arguments, as_schema(operation))) is not None:
            raise ToolError(f"{wrong}. Correct the arguments and call it again")
        needs, missing = needs_of(api, self._loaded.catalog, operation)
        reader = _reader(ctx, file_paths(operation, arguments))
        draft = await asyncio.to_thread(build_request, operation, arguments, reader)
        headers = {**draft.headers, **api.headers}
        if (key := key_header(api, operation)) is not None:
            headers[key] = hashlib.blake2b(ctx.key.encode("utf-8", "replace"), digest_size=16).hexdigest()
        vault = self._session.means.vault
        caller = Caller(api, Signer(api, vault, self._tokens), self._tokens, self._base)
        repeatable = replay_for(api, operation) == "safe"
        called = await caller.call(draft._replace(headers=headers), tuple(needs), repeatable=repeatable)
        return await self._result(ctx, called, arguments, missing)

    async def _result(self, ctx: ToolContext, called: Called, arguments: Mapping[str, Any], missing: str) -> ToolResult:
        status = called.answer.status
        found = await asyncio.to_thread(shown, self._operation, called)
        head = [*found.head]
        if status in (401, 403) and missing:
            head.append(f"[{missing}]")
        failed = status >= 300
        if (path := arguments.get("save_to")) and self._operation.saves and not failed:
            if called.answer.cut:
                raise ToolError(f"the response is too large to be saved: more than {len(called.answer.body)} bytes")
            await finished_in_thread(lambda: _save(ctx, str(path), called.answer.body))
            return ToolResult.of("\n".join([*head, f"saved {len(called.answer.body)} bytes as {path}"]))
        if found.image is not None:
            return ToolResult((Text("\n".join(head)), found.image), failed)
        text = self._session.means.scrubbed(found.text)
        if len(text) > self._loaded.api.shown:
            ctx.confirm()
            self._session.log.note(ApiResponse(at=time.time(), call=ctx.call, text=text))
        return ToolResult.of("\n".join([*head, part_of(text, 0, self._loaded.api.shown, ctx.call)]), error=failed)


def _has_files(operation: Operation) -> bool:
    return operation.body is not None and (operation.body.form == "binary" or bool(operation.body.files))


def reach_of(host: str, operation: Operation, *, outside: bool) -> Callable[[Mapping[str, Any], Path], Touches]:
    """Tell the gate the host of an API, and the files that a call reads or writes. A read is no effect outside: its
    host is pinned, so it can carry nothing elsewhere."""

    def reach(arguments: Mapping[str, Any], root: Path) -> Touches:
        reads = file_paths(operation, arguments)
        writes = list(words(arguments, "save_to")) if operation.saves else []
        touched = files(root, reads=reads, writes=writes)
        return msgspec.structs.replace(touched, hosts=(host,), outside=outside or bool(reads))

    return reach


def _reader(ctx: ToolContext, known: Collection[str]) -> Callable[[str], UploadFile]:
    """Return a function that reads the files which the gate was told of, and no other."""

    def read(path: str) -> UploadFile:
        if path not in known:
            raise ToolError(f"{path!r} was not named as a file of this call")
        real = ctx.workspace.resolve(path)
        return UploadFile(real.name, read_file(ctx.workspace, real, cap=_UPLOAD).data)

    return read


def _save(ctx: ToolContext, path: str, data: bytes) -> None:
    real = ctx.workspace.resolve(path)
    if real.exists():
        if real.stat().st_size == len(data) and read_file(ctx.workspace, real, cap=len(data)).data == data:
            return  # the call was cut off after it had saved
        raise ToolError(f"{path!r} exists; save the response under another name")
    write_file(ctx.workspace, real, data, expected=None, create_folders=True)
