"""Extract a request's features for the router."""

from __future__ import annotations

from roost.models.request import Request
from roost.models.required_media import needed, shown
from roost.models.tokens import estimate_request
from roost.routing.guess import guess
from roost.routing.route import Features

ANSWER_TOKENS = 4_096
"""Tokens assumed for an answer if a request names no maximum."""


def features(request: Request) -> Features:
    return Features(
        media=needed(request.messages, request.since),
        shown=shown(request.messages),
        tokens=estimate_request(request),
        room=request.max_output or ANSWER_TOKENS,
        intent=request.intent or guess(request),
        long_horizon=request.meta.get("horizon") == "long",
        tools=bool(request.tools) and request.tool_choice != "none",
        schema=request.output_schema is not None,
    )
