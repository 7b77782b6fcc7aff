"""How a replay runs, and what it can find."""

from __future__ import annotations

from typing import Literal, TypeAlias

Tools: TypeAlias = Literal["recorded", "live"]
Compare: TypeAlias = Literal["all", "calls"]
Kind: TypeAlias = Literal["request", "call", "gate", "result", "answer", "missing", "end", "model"]
"""request: the model is sent something else. call: a call that is not in the record. gate: the gate decides otherwise.
result: a tool returns something else. answer: the answer's text. missing: recorded calls were not made. end: the turn
ends otherwise. model: the model failed."""
