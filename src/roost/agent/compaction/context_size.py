"""Measure a conversation against the model's context window. All numbers are our estimates; `State.scale` relates them
to the counts of the providers."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from roost.agent.session import Session
from roost.models.tokens import estimate_text
from roost.tools.base import Toolbox


class Size(NamedTuple):
    """tokens: size of the messages. room: context budget for messages, beside the answer and `fixed`. fixed: size of
    the parts of every request."""

    tokens: int
    room: int
    fixed: int


def measure(session: Session) -> Size:
    """Measure the context in constant time: messages are counted as they arrive."""
    state, model = session.state, session.model
    profile, scale = model.profile, state.scale.get(model.name, 1.0)
    window = int(profile.window / scale)
    fixed = fixed_tokens(session)
    answer = int((session.spec.max_output or profile.max_output) / scale)
    return Size(state.tokens, max(window - answer - fixed, (window - fixed) // 4, 1), fixed)


def fixed_tokens(session: Session) -> int:
    """Return the tokens that every request begins with: instruction, rules and tools."""
    known, spec = session.fixed, session.spec
    if known is None or known[0] is not session.instruction:
        texts = (session.instruction, *spec.constraints, spec.output_hint or "")
        known = session.fixed = session.instruction, _tools(session.means.tools) + sum(map(estimate_text, texts))
    return known[1]


def _tools(tools: Toolbox) -> int:
    return len(msgspec.json.encode([tool.spec for tool in tools.values()])) // 4 if tools else 0
