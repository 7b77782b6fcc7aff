"""Tools of AIOS: classes with `run` and `get_tool_call_format` in folders beside the agent, `tools/NAME` or
`tools/AUTHOR/NAME`. Nothing is fetched from a hub. Each run of one is judged and recorded."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from typing import Any

from . import runtime_tools
from .gate import announce, guarded_sync, source


class NoTool(LookupError):
    """There is no tool of this name."""


def load(name: str) -> Any:
    """Return a tool. Its `run` passes the gate. Raises `NoTool`."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    folders = [os.path.join(source(), "tools", *parts), os.path.join(source(), "tools", parts[-1] if parts else "")]
    for folder in folders:
        if os.path.isfile(os.path.join(folder, "config.json")):
            return _gated(name, _class_of(folder)())
    raise NoTool(
        f"there is no tool {name!r}: put its folder, with config.json, into tools/{name} beside the agent's code"
    )


def run(name: str, arguments: dict[str, Any], call_id: str = "") -> tuple[str, bool]:
    """Run a tool, or a tool of Roost of that name. Returns what it said, and whether that is an error."""
    try:
        tool = load(name)
    except NoTool:
        if name not in runtime_tools.names():
            raise
        return _of_roost(name, arguments, call_id) if call_id else runtime_tools.call(name, arguments)
    ended = tool.roost_run(arguments, call_id)
    return ended.text, ended.is_error


def _of_roost(name: str, arguments: dict[str, Any], call_id: str) -> tuple[str, bool]:
    """Return the outcome of a tool of Roost that the session's model has called: the session runs it."""
    ended = guarded_sync(name, json.dumps(arguments, default=str), lambda: f"{name} is not here", call_id=call_id)
    return ended.text, ended.is_error


def _class_of(folder: str) -> Any:
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        build = json.load(file)["build"]
    path = os.path.join(folder, build["entry"])
    module = f"roost_aios_tool_{abs(hash(path))}"
    if module not in sys.modules:
        spec = importlib.util.spec_from_file_location(module, path)
        assert spec is not None
        assert spec.loader is not None
        made = sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
    return getattr(sys.modules[module], build["module"])


def _gated(name: str, tool: Any) -> Any:
    inner = tool.run
    shown = name.rpartition("/")[2]
    announce(shown)

    def ended(arguments: Any, call_id: str = "") -> Any:
        return guarded_sync(shown, json.dumps(arguments, default=str), lambda: inner(arguments), call_id=call_id)

    def run(params: Any) -> str:
        done = ended(params)
        if done.failed:
            raise done.error()
        return done.text

    tool.roost_run, tool.run = ended, run
    return tool
