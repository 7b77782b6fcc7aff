"""What the gate and a tool are told about a call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from roost.agent.feature import asked
from roost.agent.known_files import known_files
from roost.agent.session import Session
from roost.agent.state import Call
from roost.errors import NotFound
from roost.policy.gate import NOTHING, GateCall
from roost.policy.rules import Touches
from roost.tools.base import Tool, ToolContext
from roost.tools.errors import ToolError
from roost.tools.run_tool import arguments_of


def gate_call(session: Session, call: Call, tool: Tool) -> GateCall:
    """Describe a call to the gate."""
    return GateCall(
        session=session.id,
        call=call.call.id,
        tool=tool.name,
        arguments=call.arguments,
        safety=tool.safety,
        inside=tool.inside,
        private_workspace=session.means.workspace.private or not tool.files,
        root=session.means.workspace.place,
        touches=touches_of(session, call, tool),
        walled=session.means.sandbox.level > 0,
        tainted=session.state.tainted is not None,
        grants=grants_of(session),
    )


def grants_of(session: Session) -> tuple[str, ...]:
    """Return the standing rules that count in the session: its own, and those that features know."""
    rules = session.state.grants
    for feature in asked(session, "grants"):
        rules = [*rules, *feature.grants(session)]
    return tuple(rules)


def touches_of(session: Session, call: Call, tool: Tool) -> Touches:
    """Return what a call would touch; nothing if its arguments are invalid, since the tool reports that itself."""
    if tool.reach is None:
        return NOTHING
    arguments = arguments_of(tool, call.arguments)
    return NOTHING if isinstance(arguments, str) else tool.touches(arguments, session.means.workspace.place)


def outside_source(session: Session, call: Call, tool: Tool) -> str | None:
    """Return the source of untrusted content that the call may bring in, or None."""
    return tool.name if tool.taints or bool(touches_of(session, call, tool).hosts) else None


def key_of(session: Session, call: Call) -> str:
    """Return the idempotency key: the same for every attempt of this call, and unique to it."""
    return call.key or f"{session.id}:{session.state.steps}:{call.call.id}"


def context_of(session: Session, call: Call, tool: Tool, key: str) -> ToolContext:
    """Return the context in which a tool runs; the ports of the features are made when the tool looks for one."""
    means = session.means
    context = ToolContext(
        session=session.id,
        call=call.call.id,
        key=key,
        attempt=call.attempt,
        workspace=means.workspace,
        sandbox=means.sandbox,
        seen=known_files(session.state, means.workspace.place) if tool.files else {},
        emit=session.log.emit,
    )
    context.equip = partial(_equip, session, call)
    if tool.secrets:
        context.secret = _secrets(session, tool)
    return context


def _equip(session: Session, call: Call, context: ToolContext) -> None:
    for feature in asked(session, "equip"):
        feature.equip(session, call, context)


def _secrets(session: Session, tool: Tool) -> Callable[[str], str]:
    def value(name: str) -> str:
        bare = name.removeprefix("{{secret:").removesuffix("}}")
        if bare not in tool.secrets or session.means.vault is None:
            raise ToolError(f"{tool.name!r} may not have the secret {bare!r}")
        try:
            return session.means.vault.value(bare)
        except NotFound as error:
            raise ToolError(error.message) from None

    return value
