"""What tests of MCP servers share: the kit's server, a model that makes calls, and the log."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.harness import mcp_server

from roost import Agent, Runtime
from roost.agent.servers import McpServer
from roost.log import events as ev
from roost.log.content import Text
from roost.policy.rules import Rule
from roost.testing.scripted import Answer, Call, ScriptedModel

KIT = str(Path(mcp_server.__file__))
ALLOW = Rule(effect="allow", tool="*__*")


def kit(folder: Path, *modes: str, trust: bool = True, **options: object) -> McpServer:
    args = [KIT, str(folder), *modes]
    return McpServer(name="kit", command=sys.executable, args=args, trust=trust, **options)


def calling(*calls: tuple[str, dict]) -> ScriptedModel:
    """A model that makes one call in each turn."""
    left = list(calls)

    def script(request):
        said = request.messages[-1]
        if type(said).__name__ == "UserMessage" and left:
            name, arguments = left.pop(0)
            return Answer(calls=(Call(name, arguments),))
        return "done"

    return ScriptedModel(script)


def clerk(folder: Path, model: ScriptedModel, *modes: str, **options: object) -> Agent:
    given = {"rules": [ALLOW], "servers": [kit(folder, *modes)], **options}
    return Agent("clerk", model=model, **given)


async def events(runtime: Runtime, session: str) -> list[ev.Event]:
    return [record.event for record in await runtime.node.store.logs.read(session)]


async def results(runtime: Runtime, session: str) -> list[tuple[str, str]]:
    found = [one for one in await events(runtime, session) if isinstance(one, ev.ToolCompleted)]
    return [(one.outcome, "".join(part.text for part in one.parts if isinstance(part, Text))) for one in found]
