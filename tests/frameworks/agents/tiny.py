"""A framework of three classes, for the adapter of `docs/extend/first-adapter.md`."""

import asyncio
import json
import os
import urllib.request


class Tool:
    def __init__(self, function):
        self.name, self._function = function.__name__, function

    async def call(self, **arguments):
        return self._function(**arguments)


class Model:
    def ask(self, messages, tools):
        specs = [
            {
                "type": "function",
                "function": {"name": one.name, "description": one.name, "parameters": {"type": "object"}},
            }
            for one in tools
        ]
        body = json.dumps({"model": "m", "messages": messages, "tools": specs}).encode()
        headers = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "content-type": "application/json"}
        request = urllib.request.Request(f"{os.environ['OPENAI_BASE_URL']}/chat/completions", body, headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=600) as response:
            return json.load(response)["choices"][0]["message"]


class Agent:
    def __init__(self, tools):
        self._tools, self._model = {one.name: one for one in tools}, Model()

    async def run(self, messages):
        messages = list(messages)
        while True:
            said = await asyncio.to_thread(self._model.ask, messages, self._tools.values())
            messages.append(said)
            if not said.get("tool_calls"):
                return messages
            results = await asyncio.gather(*(self._result(call) for call in said["tool_calls"]))
            messages += results

    async def _result(self, call):
        tool, given = self._tools[call["function"]["name"]], json.loads(call["function"]["arguments"])
        return {"role": "tool", "tool_call_id": call["id"], "content": await tool.call(**given)}
