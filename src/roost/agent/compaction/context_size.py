"""How much of a model's window a conversation takes. All numbers are of our own estimate, which `State.scale` relates
to what the session's providers have counted."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from roost.agent.session import LiveSession
from roost.models.tokens import estimate_text
from roost.tools.base import Toolbox


class Size(NamedTuple):
    """`tokens` that the messages take of the `room` that there is for them beside what is always sent (`fixed`) and the
    answer."""

    tokens: int
    room: int
    fixed: int


def measure(session: LiveSession) -> Size:
    """In constant time: the messages were counted one by one as they came."""
    state, model = session.state, session.model
    profile, scale = model.profile, state.scale.get(model.name, 1.0)
    window = int(profile.window / scale)
    fixed = fixed_tokens(session)
    answer = int((session.spec.max_output or profile.max_output) / scale)
    return Size(state.tokens, max(window - answer - fixed, (window - fixed) // 4, 1), fixed)


def fixed_tokens(session: LiveSession) -> int:
    """Of what every request begins with: the instruction, the rules, the tools."""
    known, spec = session.fixed, session.spec
    if known is None or known[0] is not session.instruction:
        texts = (session.instruction, *spec.constraints, spec.output_hint or "")
        known = session.fixed = session.instruction, _tools(session.means.tools) + sum(map(estimate_text, texts))
    return known[1]


def _tools(tools: Toolbox) -> int:
    return len(msgspec.json.encode([tool.spec for tool in tools.values()])) // 4 if tools else 0
