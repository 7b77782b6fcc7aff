"""An adapter of termo-agent, as its README makes one: it keeps conversations in memory, and has routes of its own."""

import asyncio
import json
import os
from pathlib import Path

from aiohttp import web
from counting import work
from termo_agent import AgentAdapter, StreamEvent

DATA = Path(os.environ["AGENT_DATA_DIR"])


class Adapter(AgentAdapter):
    def __init__(self):
        self.config = {"name": "adapter"}
        self._sessions = {}
        self._lock = asyncio.Lock()

    async def initialize(self, config_path=None):
        self.greeting = json.loads(Path(config_path).read_text())["greeting"] if config_path else ""

    async def shutdown(self):
        self._sessions.clear()

    def _heard(self, message, session_key):
        """Keep a message in memory and on the disk, as adapters do: before the model is asked."""
        with (DATA / "heard.txt").open("a") as file:
            file.write(f"{session_key}: {message}\n")
        history = self._sessions.setdefault(session_key, [])
        history.append({"role": "user", "content": message})
        return history

    async def send_message(self, message, session_key):
        history = self._heard(message, session_key)
        said = await asyncio.to_thread(work, list(history))
        history.append({"role": "assistant", "content": said})
        return said

    async def send_message_stream(self, message, session_key):
        said = await self.send_message(message, session_key)
        for word in said.split(" "):
            yield StreamEvent(type="token", content=f"{word} ")
        yield StreamEvent(type="done", content=said, usage={"prompt_tokens": 1, "completion_tokens": 1})

    async def get_history(self, session_key):
        return self._sessions.get(session_key, [])

    async def get_config(self):
        return self.config

    async def update_config(self, updates):
        self.config.update(updates)

    def extra_routes(self):
        return [("POST", "/api/custom", self.custom), ("POST", "/api/webhook/{name}", self.webhook)]

    def public_route_prefixes(self):
        return ["/health", "/api/webhook"]

    async def custom(self, request):
        said = await self.send_message((await request.json())["ask"], request.query["key"])
        return web.json_response({"said": said, "config": self.config}, status=201, headers={"x-mine": "yes"})

    async def webhook(self, request):
        body = await request.read()
        return web.Response(body=bytes(reversed(body)) + b"\xff", content_type="application/octet-stream")
