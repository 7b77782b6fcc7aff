"""The system calls of AIOS, by what a session of Roost has: its model, and the tools of Roost that its agent may use.

A call is what the SDK sends to a kernel's `/query`: a type (`llm`, `memory`, `storage`, `tool`), the agent's name and
the data. What the definition of the agent does not name (`remember`, `write_file` …) is refused here."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from typing import Any

from . import aios_files, aios_memory, aios_tools
from .gate import scope

_FILE_TOOLS = {
    "write_file": {"path": "string", "content": "string"},
    "read_file": {"path": "string"},
    "grep": {"pattern": "string"},
}
"""Tools of Roost that the model is given to work with files."""


def query(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Answer one system call as a kernel does."""
    began = time.time()
    try:
        response = _ANSWERS[kind](data)
    except KeyError as missing:
        response = _failed(kind, 400, f"{missing} is missing, or is not known here")
    except aios_tools.NoTool as error:
        response = _failed(kind, 404, str(error))
    ended = time.time()
    times = {"start_times": [began], "end_times": [ended]}
    return {"response": response, **times, "waiting_times": [0.0], "turnaround_times": [ended - began]}


def models() -> list[dict[str, Any]]:
    return [{"name": os.environ["ROOST_MODEL"], "backend": "roost", "provider": "roost"}]


def _failed(kind: str, status: int, error: str) -> dict[str, Any]:
    more = {"success": False} if kind == "memory" else {"response_message": None}
    return {"response_class": kind, **more, "finished": True, "error": error, "status_code": status}


def _done(kind: str, message: Any, **more: Any) -> dict[str, Any]:
    shown = {"response_class": kind, "response_message": message, "finished": True, "error": None, "status_code": 200}
    return {**shown, **more}


# Models


def _llm(data: dict[str, Any]) -> dict[str, Any]:
    action = data.get("action_type") or "chat"
    if action == "operate_file":
        data = {**data, "tools": [_file_tool(name, fields) for name, fields in _FILE_TOOLS.items()]}
    try:
        said = _asked(data, action)
    except urllib.error.HTTPError as error:
        return {**_failed("llm", error.code, error.read().decode("utf-8", "replace")[:2000]), "tool_calls": None}
    names = {_wire_name(one["function"]["name"]): one["function"]["name"] for one in _formats(data)}
    calls = [
        {"id": one["id"], "type": "function", "name": names.get(name := one["function"]["name"], name)}
        | {"parameters": json.loads(one["function"]["arguments"] or "{}")}
        for one in said.get("tool_calls") or ()
    ]
    if calls and action in ("call_tool", "tool_use", "operate_file"):
        return {**_tool({"tool_calls": calls}), "tool_calls": calls}
    wanted = action == "chat_with_tool_call_output"
    return _done("llm", said.get("content"), tool_calls=calls if calls or wanted else None)


def _asked(data: dict[str, Any], action: str) -> dict[str, Any]:
    """Return the model's message. Raises `HTTPError`."""
    body: dict[str, Any] = {"model": os.environ["ROOST_MODEL"], "messages": data["messages"]}
    if tools := _formats(data):
        body["tools"] = [
            {"type": "function", "function": {**one["function"], "name": _wire_name(one["function"]["name"])}}
            for one in tools
        ]
    if action == "chat_with_json_output" or data.get("message_return_type") == "json":
        body["response_format"] = data.get("response_format") or {"type": "json_object"}
    for given, sent in (("temperature", "temperature"), ("max_new_tokens", "max_tokens")):
        if data.get(given) not in (None, 1.0, 1000):  # the SDK's defaults say nothing
            body[sent] = data[given]
    headers = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "content-type": "application/json"}
    if inner := scope():
        headers["x-roost-scope"] = inner
    url = f"{os.environ['OPENAI_BASE_URL']}/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
        return json.load(response)["choices"][0]["message"]


def _formats(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tools of a call in one form: agents give them with or without `function`."""
    return [one if "function" in one else {"function": one} for one in data.get("tools") or () if one]


def _wire_name(name: str) -> str:
    """Return a name that models take: those of AIOS are `author/name`."""
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_-") else "__" for letter in name)


def _file_tool(name: str, fields: dict[str, str]) -> dict[str, Any]:
    properties = {field: {"type": kind} for field, kind in fields.items()}
    shape = {"type": "object", "properties": properties, "required": [*fields]}
    about = {"name": name, "description": f"{name} in the workspace", "parameters": shape}
    return {"type": "function", "function": about}


# The others


def _memory(data: dict[str, Any]) -> dict[str, Any]:
    return {"response_class": "memory", **aios_memory.operate(data["operation_type"], data.get("params") or {})}


def _storage(data: dict[str, Any]) -> dict[str, Any]:
    message, error, status = aios_files.operate(data["operation_type"], data.get("params") or {})
    return _done("storage", message) if error is None else _failed("storage", status, error)


def _tool(data: dict[str, Any]) -> dict[str, Any]:
    told: list[str] = []
    for one in data["tool_calls"]:
        text, failed = aios_tools.run(one["name"], one.get("parameters") or {}, one.get("id") or "")
        if failed:
            return _failed("tool", 500, text)
        told.append(text)
    return _done("tool", "\n".join(told))


_ANSWERS = {"llm": _llm, "memory": _memory, "storage": _storage, "tool": _tool}
