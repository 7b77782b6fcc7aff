"""The stub provider for the models' bench: `PORT DELTAS SECONDS`. "slow" is answered over so many seconds."""

from __future__ import annotations

import sys

from roost.stub.provider import Provider, serve
from roost.stub.script import Reply, Rule, Script
from roost.stub.serving import listen

SLOW_DELTAS = 100
PIECE = 5
"""Characters. Every piece is another one: LiteLLM takes the same one many times for a loop of the model."""


def script(deltas: int, seconds: float) -> Script:
    slow = Reply(text=_text(SLOW_DELTAS), piece=PIECE, pace=seconds / SLOW_DELTAS)
    quick = Reply(text=_text(deltas), piece=PIECE)
    return Script(rules=(Rule(when="slow", answers=(slow,)), Rule(answers=(quick,))))


def _text(pieces: int) -> str:
    return "".join(f"{number:04} " for number in range(pieces))


if __name__ == "__main__":
    serve(Provider(script(int(sys.argv[2]), float(sys.argv[3])), keep=0), listen("127.0.0.1", int(sys.argv[1])))
