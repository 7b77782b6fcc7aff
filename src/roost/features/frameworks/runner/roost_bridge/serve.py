"""Import a framework once, and do each run of an agent in a copy of this process.

This process has imported the framework and nothing of the agent, and it has no key. A copy of it, made by `fork`,
imports the agent, does one run and ends: so each run begins alike, and only the first one waits for the imports."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib
import os
import signal
import sys
import threading
import traceback
from typing import Any

from . import gate, http_scope
from .channel import Channel
from .objects import Script, imported

ADAPTERS = {
    "python": "python_function",
    "openai-agents": "openai_agents",
    "langgraph": "langgraph",
    "pydantic-ai": "pydantic_ai",
    "autogen": "autogen",
    "crewai": "crewai",
    "claude-agent-sdk": "claude_agent_sdk",
    "termo-agent": "termo_agent",
    "aios": "aios",
}


def main(framework: str) -> int:
    channel = Channel()
    try:
        os.makedirs(os.environ["HOME"], exist_ok=True)
        adapter = importlib.import_module(f"{__package__}.adapters.{ADAPTERS[framework]}")
        adapter.install()
        _import_early(getattr(adapter, "EARLY", ()))
        http_scope.install()
        version = adapter.version()
    except BaseException as error:
        channel.say({"type": "turn.failed", "message": _said(f"{framework} cannot be imported", error)})
        return 1
    gc.collect()
    gc.freeze()  # the collector must not write to pages that the copies share
    forks = _may_fork()
    channel.say({"type": "hello", "v": [1], "framework_version": version, "forks": forks})
    while True:
        welcome = channel.hear()
        if welcome.get("type") != "welcome":
            continue  # what was meant for a copy that has ended
        if not forks or (copy := os.fork()) == 0:
            return _run(channel, adapter, welcome)
        with contextlib.suppress(OSError):
            os.setpgid(copy, copy)
        channel.say({"type": "run.over", "code": _ended(copy)})


def _import_early(names: tuple[str, ...]) -> None:
    """Import what the agents of a framework mostly use, as far as it is installed."""
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _may_fork() -> bool:
    """Whether a copy of this process would be whole: a copy has one thread."""
    if not sys.platform.startswith("linux"):
        return False
    return threading.active_count() == 1 and len(os.listdir("/proc/self/task")) == 1


def _ended(copy: int) -> int:
    """Wait for the end of a copy, and end what it leaves behind."""
    _, status = os.waitpid(copy, 0)
    with contextlib.suppress(OSError):
        os.killpg(copy, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status)


def _run(channel: Channel, adapter: Any, welcome: dict[str, Any]) -> int:
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    os.environ.update(welcome["env"])
    os.chdir(welcome["workspace"])
    sys.path.insert(0, welcome["source"])
    sys.argv[2:] = [welcome["object"], welcome["source"]]
    channel.take_output()
    try:
        agent = imported(welcome["object"])
        http_scope.install()
    except BaseException as error:
        channel.say({"type": "turn.failed", "message": _said(f"{welcome['object']} cannot be imported", error)})
        return 1
    channel.say({"type": "ready", "tools": gate.announced()})
    start = channel.hear()
    gate.begin(channel, start["clock"], f"{start['turn']}-{start['run']}")
    channel.listen()
    try:
        script = isinstance(agent, Script)
        work = agent.run if script else functools.partial(adapter.run, agent)
        result, memory = asyncio.run(work(start["input"], start["memory"]))
        channel.say({"type": "turn.done", "result": result, "memory": memory})
    except BaseException as error:
        traceback.print_exc()
        channel.say({"type": "turn.failed", "message": _said("the agent failed", error)})
        return 1
    return 0


def _said(what: str, error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({os.path.basename(last[0].filename)}:{last[0].lineno})" if last else ""
    return f"{what}: {type(error).__name__}: {error}{place}"[:2000]
