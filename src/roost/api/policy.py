"""The policy: what the gate would decide about a call."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from msgspec import Meta

from roost.api.shapes import Answer, Name
from roost.operation import POST

_Text = Annotated[str, Meta(min_length=1, max_length=65_536)]
_Path = Annotated[str, Meta(min_length=1, max_length=4096)]


class LayerSays(Answer):
    """What one layer of the gate decides. `decision`: None where it has no rule for the call. `rule`: the one that
    decides."""

    layer: str
    decision: Literal["allow", "ask", "deny"] | None = None
    reason: str = ""
    rule: str | None = None


class Decided(Answer):
    """`decision` is that of `layer`. `layers`: what each would decide, the first one that counts first. `dangers`:
    parts of the command that a person should see, and why."""

    decision: Literal["allow", "ask", "deny"]
    reason: str
    layer: str
    layers: list[LayerSays]
    rule: str | None = None
    dangers: list[str] = []


class PolicyApi(Protocol):
    @POST("/policy/check", body="PolicyCheckBody", errors=(409,), repeatable=True, right="operate")
    async def check(
        self,
        *,
        agent: Annotated[str, Meta(max_length=128)] = "assistant",
        command: _Text | None = None,
        path: _Path | None = None,
        tool: Name | None = None,
        workspace: _Path | None = None,
        walled: bool = False,
    ) -> Decided:
        """Return what the gate would decide about a call of an agent. Nothing runs.

        Either a shell `command`, or the `path` that a `tool` gets (`write_file` by default). `workspace`: an absolute
        path of the folder whose rules count too. `walled`: as if commands ran at isolation level 1 or more.
        """
        ...
