"""Measure a conversation against the model's context window. All numbers are our estimates; `State.scale` relates them
to the counts of the providers."""

from __future__ import annotations

from typing import NamedTuple

from roost.agent.request_plan import fixed_tokens, model_of
from roost.agent.session import Session


class Size(NamedTuple):
    """tokens: size of the messages. room: context budget for messages, beside the answer and `fixed`. fixed: size of
    the parts of every request."""

    tokens: int
    room: int
    fixed: int


def measure(session: Session) -> Size:
    """Measure the context in constant time: messages are counted as they arrive."""
    state, model = session.state, model_of(session)
    profile, scale = model.profile, state.scale.get(model.name, 1.0)
    window = int(profile.window / scale)
    fixed = fixed_tokens(session)
    answer = int((session.spec.max_output or profile.max_output) / scale)
    return Size(state.tokens, max(window - answer - fixed, (window - fixed) // 4, 1), fixed)
