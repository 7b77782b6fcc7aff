"""termo-agent's server with an instant agent behind it.

    python -m bench.servers.termo canned|agents PORT

`canned`: an adapter of the five required methods that answers at once: the server alone, no agent, nothing stored.
`agents`: termo's own adapter for the OpenAI Agents SDK, its LiteLLM model replaced by one that answers in this process
at once, with one tool.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from bench.payload import ANSWER, RESULT


def canned() -> Any:
    from termo_agent.adapter import AgentAdapter, StreamEvent

    class Canned(AgentAdapter):
        def __init__(self) -> None:
            self.history: dict[str, list[dict[str, Any]]] = {}

        async def initialize(self, config_path: str | None = None) -> None: ...

        async def shutdown(self) -> None: ...

        async def send_message(self, message: str, session_key: str) -> str:
            self.history.setdefault(session_key, []).append({"role": "user", "content": message})
            return ANSWER

        async def send_message_stream(self, message: str, session_key: str) -> AsyncIterator[Any]:
            await self.send_message(message, session_key)
            yield StreamEvent(type="tool_start", name="look")
            yield StreamEvent(type="tool_end", name="look")
            yield StreamEvent(type="done", content=ANSWER)

        async def get_history(self, session_key: str) -> list[dict[str, Any]]:
            return self.history.get(session_key, [])

    return Canned()


def with_agents() -> Any:
    from agents import Agent, function_tool, set_tracing_disabled
    from termo_agent.adapters.openai_agents import Adapter

    from bench.workers.peer_openai_agents import streaming_model

    set_tracing_disabled(True)

    @function_tool
    async def look(what: str, why: str) -> str:
        """Look at a part."""
        return RESULT

    class Instant(Adapter):
        def _build_agent(self) -> None:
            self._agent = Agent(name="worker", instructions=self.soul_md, tools=[look], model=streaming_model())

    return Instant()


async def main(kind: str, port: int) -> None:
    from termo_agent.server import AgentServer

    adapter = canned() if kind == "canned" else with_agents()
    await adapter.initialize()
    server = AgentServer(adapter, host="127.0.0.1", port=port)
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
