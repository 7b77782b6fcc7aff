"""The gate: the one decision that every tool call passes before it runs."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

import msgspec

Safety: TypeAlias = Literal["read_only", "safe_write", "destructive", "high_risk"]
Permissions: TypeAlias = Literal["read_only", "ask", "workspace", "all"]


class GateCall(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate may judge. `arguments` is the JSON text of the call, as the model wrote it; `inside` says whether
    the tool keeps itself inside the session's own files."""

    session: str
    call: str
    tool: str
    arguments: str
    safety: Safety
    inside: bool
    private_workspace: bool


class Verdict(msgspec.Struct, frozen=True):
    decision: Literal["allow", "ask", "deny"]
    reason: str


class Gate(Protocol):
    """Must not raise and must not block; a call that it cannot understand gets `ask` or `deny`, never `allow`."""

    def decide(self, call: GateCall) -> Verdict: ...


class ModeGate:
    """Decides by the agent's permission mode and the tool's safety class.

    - `read_only`: read-only tools run, everything else is denied.
    - `ask`: read-only tools run, everything else waits for a person.
    - `workspace`: as `ask`, but tools that keep inside the session's own private workspace run.
    - `all`: everything runs.
    """

    def __init__(self, mode: Permissions) -> None:
        self._mode: Permissions = mode

    def decide(self, call: GateCall) -> Verdict:
        if self._mode == "all":
            return Verdict("allow", "the agent's permissions are 'all'")
        if call.safety == "read_only":
            return Verdict("allow", "the tool only reads")
        if self._mode == "read_only":
            return Verdict("deny", f"{call.tool!r} changes things and the agent's permissions are 'read_only'")
        if self._mode == "workspace" and call.inside and call.private_workspace:
            return Verdict("allow", "the tool stays inside the session's own workspace")
        return Verdict("ask", f"{call.tool!r} is {call.safety} and needs a person's yes")
