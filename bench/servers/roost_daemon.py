"""The Roost daemon with two more agents, whose models answer in this process at once: `worker` calls one tool and then
answers; `talker` says something long, in pieces (`pieces` deltas) or in many steps (`steps` steps).

    python -m bench.servers.roost_daemon HOME PORT
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.payload import ANSWER, ARGUMENTS, RESULT
from roost.agent.definition import Agent, Limits
from roost.log.content import UserMessage
from roost.models.request import Request
from roost.server.daemon import Options, main
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.tools.base import Tool
from roost.tools.function import tool

TALK_STEPS = 99
TALK_PIECES = 1000


def _look() -> Tool:
    @tool(replay="safe", safety="read_only")
    async def look(what: str, why: str) -> str:
        """Look at a part."""
        return RESULT

    return look


def _said(request: Request) -> int:
    """Messages since the user's last one."""
    count = 0
    for message in reversed(request.messages):
        if isinstance(message, UserMessage):
            break
        count += 1
    return count


def agents() -> list[Agent]:
    call = Answer(calls=(Call("look", ARGUMENTS),))

    def work(request: Request) -> Answer:
        return Answer(text=ANSWER) if _said(request) else call

    def stride(request: Request) -> Answer:
        return Answer(text=ANSWER) if _said(request) >= TALK_STEPS - 1 else call

    talk = ScriptedModel([Answer(text="word " * TALK_PIECES, piece=5)] * 100, deltas=True, keep=0, name="talk")
    free = Limits(steps=None)
    return [
        Agent("worker", model=ScriptedModel(work, keep=0, name="work"), tools=[_look()], permissions="all"),
        Agent(
            "strider",
            model=ScriptedModel(stride, keep=0, name="stride"),
            tools=[_look()],
            permissions="all",
            limits=free,
        ),
        Agent("talker", model=talk),
    ]


if __name__ == "__main__":
    main(Options(home=Path(sys.argv[1]), port=int(sys.argv[2]), token="bench"), agents=agents())
