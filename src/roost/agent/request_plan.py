"""What the next model call of a session is made with: its model, its tools, and their size."""

from __future__ import annotations

from typing import Any

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


def answer_schema(session: Session) -> dict[str, Any] | None:
    """Return the JSON Schema that the answer of the next call must fit; None for any text."""
    for feature in asked(session, "answer_schema"):
        if (schema := feature.answer_schema(session)) is not None:
            return schema
    return None


class _Fixed:
    """The parts of a request that rarely change. specs: those of `tools`. tokens: size of the tools in `sized`, of
    `schema` and of `instruction`."""

    def __init__(self, session: Session) -> None:
        self.tools: tuple[Tool, ...] = tuple(session.means.tools.values())
        self.specs = tuple(tool.spec for tool in session.means.tools.values())
        self.instruction: str | None = None
        self.schema: dict[str, Any] | None = None
        self.sized: Toolbox | None = None
        self.tokens = 0


def tool_specs(session: Session) -> tuple[ToolSpec, ...]:
    """Return the specs of `tools_of`: the same object as long as the tools are the same."""
    known, tools = session.own(_Fixed), tools_of(session)
    if len(known.tools) != len(tools) or known.tools != tuple(tools.values()):
        known.tools, known.specs = tuple(tools.values()), tuple(tool.spec for tool in tools.values())
    return known.specs


def fixed_tokens(session: Session) -> int:
    """Return the tokens of what every request has: instruction, rules, tools, and the schema of the answer."""
    known, spec, schema = session.own(_Fixed), session.spec, answer_schema(session)
    instruction, tools = session.instruction, session.means.tools
    if known.instruction is not instruction or known.sized is not tools or known.schema is not schema:
        texts = (instruction, *spec.constraints, spec.output_hint or "")
        known.instruction, known.sized, known.schema = instruction, tools, schema
        known.tokens = _size(tools, schema) + sum(map(estimate_text, texts))
    return known.tokens


def _size(tools: Toolbox, schema: dict[str, Any] | None) -> int:
    shapes = [*(tool.spec for tool in tools.values()), *([] if schema is None else [schema])]
    return len(msgspec.json.encode(shapes)) // 4 if shapes else 0
