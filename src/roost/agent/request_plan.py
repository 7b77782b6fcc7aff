"""What the next model call of a session is made with: its model, its tools, and their size."""

from __future__ import annotations

import msgspec

from roost.agent.feature import asked
from roost.agent.session import Session
from roost.models.request import Model, ToolSpec
from roost.models.tokens import estimate_text
from roost.tools.base import Tool, Toolbox


def model_of(session: Session) -> Model:
    """Return the model of the next call: the agent's, unless a feature chooses another one."""
    for feature in asked(session, "model"):
        if (chosen := feature.model(session)) is not None:
            return chosen
    return session.means.model


def tools_of(session: Session) -> Toolbox:
    """Return the tools of this turn: the agent's, unless a feature allows only some of them."""
    for feature in asked(session, "tools"):
        if (chosen := feature.tools(session)) is not None:
            return chosen
    return session.means.tools


class _Fixed:
    """The parts of a request that rarely change. specs: those of the tools named in `named`. tokens: size of all tools
    and of `instruction`."""

    def __init__(self, session: Session) -> None:
        self.tools: tuple[Tool, ...] = tuple(session.means.tools.values())
        self.specs = tuple(tool.spec for tool in session.means.tools.values())
        self.instruction: str | None = None
        self.sized: Toolbox | None = None
        self.tokens = 0


def tool_specs(session: Session) -> tuple[ToolSpec, ...]:
    """Return the specs of `tools_of`: the same object as long as the tools are the same."""
    known, tools = session.own(_Fixed), tools_of(session)
    if len(known.tools) != len(tools) or known.tools != tuple(tools.values()):
        known.tools, known.specs = tuple(tools.values()), tuple(tool.spec for tool in tools.values())
    return known.specs


def fixed_tokens(session: Session) -> int:
    """Return the tokens that every request begins with: instruction, rules and tools."""
    known, spec = session.own(_Fixed), session.spec
    if known.instruction is not session.instruction or known.sized is not session.means.tools:
        texts = (session.instruction, *spec.constraints, spec.output_hint or "")
        known.instruction, known.sized = session.instruction, session.means.tools
        known.tokens = _size(session.means.tools) + sum(map(estimate_text, texts))
    return known.tokens


def _size(tools: Toolbox) -> int:
    return len(msgspec.json.encode([tool.spec for tool in tools.values()])) // 4 if tools else 0
