"""System calls: the model, the memory, the files and the tools of a session, for programs and other agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol

from msgspec import UNSET, Meta, UnsetType

from roost.api.shapes import Answer
from roost.operation import GET, POST

_Tool = Annotated[str, Meta(min_length=1, max_length=128)]
_Id = Annotated[str, Meta(max_length=128)]


class CallView(Answer, kw_only=True):
    """A call. `input`: its number. `state`: `queued` in the inbox; `running`, which may wait for a person; `done`.
    `outcome`, `text`: once it is done: how it ended, as of a tool call (`failed`: its turn ended before), and what it
    returned. `duplicate`: this Idempotency-Key was accepted before, and nothing was added."""

    input: int
    state: Literal["queued", "running", "done"]
    outcome: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    duplicate: bool = False


def _status(result: CallView, given: Mapping[str, Any]) -> int:
    return 200 if result.state == "done" else 202


class CallsApi(Protocol):
    @POST(
        "/sessions/{session}/calls",
        (200, 202),
        status=_status,
        body="SystemCallBody",
        errors=(403, 404, 409),
        keyed=True,
        right="use",
    )
    async def call(
        self,
        session: str,
        tool: _Tool,
        arguments: dict[str, Any] | None = None,
        *,
        caller: _Id = "",
        key: str | None = None,
        wait: float | None = None,
    ) -> CallView:
        """Call a tool of a session, or its `model`. With `Prefer: wait=SECONDS` the answer has the result, if it came.

        `caller`: a session of the agent that calls; without one it is a program. The called agent's `serves` allows it.
        """
        ...

    @GET("/sessions/{session}/calls/{input}", errors=(404,), right="read")
    async def get(self, session: str, input: str) -> CallView:
        """A call, with its result once it is done."""
        ...
