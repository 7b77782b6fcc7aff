"""The editor of a session: attach one, and run the calls that wait for it."""

from __future__ import annotations

from typing import Annotated, Protocol

from msgspec import Meta

from roost.api.shapes import AcceptedInput
from roost.log.content import ResultPart
from roost.operation import DELETE, POST, PUT

_Editor = Annotated[str, Meta(min_length=1, max_length=64)]


class EditorApi(Protocol):
    @PUT("/sessions/{session}/editor", 202, body="EditorBody", errors=(404,), repeatable=True, right="use")
    async def attach(
        self, session: str, editor: _Editor, *, reads: bool = False, writes: bool = False, terminals: bool = False
    ) -> AcceptedInput:
        """Attach an editor, in place of another one.

        `reads`, `writes`: it runs calls of file tools. `terminals`: it runs commands.
        """
        ...

    @DELETE("/sessions/{session}/editor/{editor}", 202, errors=(404,), right="use")
    async def detach(self, session: str, editor: _Editor) -> AcceptedInput:
        """Take an editor from a session. Calls that it has begun end as interrupted."""
        ...

    @POST("/sessions/{session}/editor/{editor}/take/{call:path}", 202, errors=(404,), repeatable=True, right="use")
    async def take(self, session: str, editor: _Editor, call: str) -> AcceptedInput:
        """Ask to run a call. The event `editor.took` says that the editor may begin."""
        ...

    @POST(
        "/sessions/{session}/editor/{editor}/result/{call:path}",
        202,
        body="EditorResultBody",
        errors=(404,),
        repeatable=True,
        right="use",
    )
    async def result(
        self,
        session: str,
        editor: _Editor,
        call: str,
        *,
        parts: Annotated[list[ResultPart], Meta(max_length=64)] = [],  # noqa: B006 - never changed
        error: bool = False,
        passed: Annotated[str, Meta(max_length=1000)] | None = None,
        seen: Annotated[dict[str, str], Meta(max_length=64)] = {},  # noqa: B006 - never changed
        exit: int | None = None,
    ) -> AcceptedInput:
        """Give the outcome of a call that the editor took.

        `passed`: why it has not run it. `seen`: digests of files. `exit`: status of a command.
        """
        ...
