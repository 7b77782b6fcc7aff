"""An agent of our own: it asks a model over HTTP, and runs its tools. Each effect is a line of a file."""

import json
import os
import time
import urllib.request
from pathlib import Path

from roost_bridge import ToolRefused, tool

TOOLS = ("look", "pay")


@tool
def look(what: str) -> str:
    with Path("looked.txt").open("a") as file:
        file.write(f"{what}\n")
    return f"seen {what}"


@tool
def pay(amount: int) -> dict:
    with Path("paid.txt").open("a") as file:
        file.write(f"{amount}\n")
    time.sleep(0.05)  # long enough for a kill
    return {"paid": amount}


FUNCTIONS = {"look": look, "pay": pay}


def answer(text: str, history: list) -> str:
    """Ask and run tools until the model has an answer. `TWICE` asks one more question after it."""
    first = work([*history, {"role": "user", "content": text}])
    if "TWICE" not in text:
        return first
    return work([{"role": "user", "content": f"CHECK {first}"}]) + "!"


def work(messages: list) -> str:
    while calls := (said := ask(messages)).get("tool_calls"):
        messages.append(said)
        for call in calls:
            name, given = call["function"]["name"], json.loads(call["function"]["arguments"])
            try:
                result = json.dumps(FUNCTIONS[name](**given))
            except ToolRefused as refused:
                result = str(refused)
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    return said["content"]


def ask(messages: list) -> dict:
    specs = [
        {"type": "function", "function": {"name": name, "description": name, "parameters": {"type": "object"}}}
        for name in TOOLS
    ]
    body = json.dumps({"model": "m", "messages": messages, "tools": specs}).encode()
    headers = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "content-type": "application/json"}
    request = urllib.request.Request(f"{os.environ['OPENAI_BASE_URL']}/chat/completions", body, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=600) as response:
        return json.load(response)["choices"][0]["message"]
