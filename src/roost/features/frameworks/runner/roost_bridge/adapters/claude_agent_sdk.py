"""The Claude Agent SDK. Its tools run in Claude Code, a program of its own: hooks before and after each call gate them,
and put a recorded outcome in place of what a call gives. Tools of the agent's own code are gated where they run. The
object is a `ClaudeAgentOptions`, or a function that returns one."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any, cast

from ..gate import Call, announce, guarded
from ..objects import made

EARLY = ("claude_agent_sdk",)
_SECONDS = 7 * 24 * 3600.0
"""A hook may wait for a person."""
_QUIET = {"ENABLE_TOOL_SEARCH": "false", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
_SESSION = str(uuid.uuid5(uuid.NAMESPACE_URL, "roost:claude-agent-sdk"))
"""The same in each start, so that its requests are the same."""


def version() -> str:
    return importlib.metadata.version("claude-agent-sdk")


def install() -> None:
    os.environ.update(_QUIET)
    own = importlib.import_module("claude_agent_sdk").SdkMcpTool
    begin = own.__init__

    @functools.wraps(begin)
    def gated(self: Any, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        self.handler = _gated(self.name, self.handler)

    own.__init__ = gated
    for name in ("Agent", "Task", "TodoWrite"):
        announce(name, "agent")


_own: dict[tuple[str, str], list[tuple[str, str]]] = {}
"""By name and arguments of a tool of the agent's own code: the full names and ids of its calls that have not run."""


def _gated(name: str, handler: Any) -> Any:
    @functools.wraps(handler)
    async def run(given: Any) -> Any:
        waiting = _own.get((name, _json(given)))
        full, call_id = waiting.pop(0) if waiting else (name, "")
        ended = await guarded(full, _json(given), functools.partial(handler, given), call_id=call_id, text=_json)
        if ended.failed:
            raise ended.error()
        try:
            found = json.loads(ended.text)
        except ValueError:
            found = None
        if isinstance(found, dict) and not ended.is_error:
            return cast("dict[str, Any]", found)
        return {"content": [{"type": "text", "text": ended.text}], "is_error": ended.is_error}

    return run


class Hooks:
    """The calls of one run, by the id that the model gave each. own: names of the servers in the agent's own code."""

    def __init__(self, own: set[str]) -> None:
        self._servers = own
        self._calls: dict[str, Call] = {}
        self._recorded: dict[str, str] = {}

    async def before(self, said: Any, call_id: str | None, context: Any) -> dict[str, Any]:
        name, given = str(said["tool_name"]), cast("dict[str, Any]", said["tool_input"])
        id = str(said.get("tool_use_id") or call_id or "")
        decided: dict[str, Any] = {"hookEventName": "PreToolUse", "permissionDecision": "allow"}
        kind, _, rest = name.partition("__")
        server, _, tool = rest.partition("__")
        if kind == "mcp" and server in self._servers:
            _own.setdefault((tool, _json(given)), []).append((name, id))
            return {"hookSpecificOutput": decided}
        call = Call(name, _json(given), id)
        outcome = await call.begin()
        if outcome is None:
            self._calls[id] = call
        elif outcome.is_error or (instead := _nothing(name, id)) is None:
            decided |= {"permissionDecision": "deny", "permissionDecisionReason": outcome.text}
        else:
            self._recorded[id] = outcome.text
            decided["updatedInput"] = {**given, **instead}
        return {"hookSpecificOutput": decided}

    async def after(self, said: Any, call_id: str | None, context: Any) -> dict[str, Any]:
        id = str(said.get("tool_use_id") or call_id or "")
        text = self._recorded.pop(id, "")
        if (call := self._calls.pop(id, None)) is not None:
            text = (await call.end(_json(said["tool_response"]))).text
        try:
            output = json.loads(text)
        except ValueError:
            return {}  # it was too long to be recorded whole
        return {"hookSpecificOutput": {"hookEventName": "PostToolUse", "updatedToolOutput": output}}

    async def failed(self, said: Any, call_id: str | None, context: Any) -> dict[str, Any]:
        id = str(said.get("tool_use_id") or call_id or "")
        self._recorded.pop(id, None)
        if (call := self._calls.pop(id, None)) is not None:
            await call.end(str(said.get("error", "")), failed=True)
        return {}


def _nothing(name: str, id: str) -> dict[str, Any] | None:
    """Return arguments with which a built-in tool does nothing, for a call whose outcome is recorded."""
    place = Path(os.environ["HOME"], "skipped")
    place.mkdir(parents=True, exist_ok=True)
    (place / "nothing.txt").write_text("nothing\n")
    new = str(place / f"{id}.txt")
    return {
        "Bash": {"command": "true"},
        "Read": {"file_path": str(place / "nothing.txt")},
        "Write": {"file_path": new, "content": ""},
        "Edit": {"file_path": new, "old_string": "", "new_string": "nothing"},
        "Glob": {"pattern": "*.none", "path": str(place)},
        "Grep": {"pattern": "none", "path": str(place)},
    }.get(name)


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _hooked(sdk: Any, options: Any) -> dict[str, list[Any]]:
    named: Any = options.mcp_servers
    servers = cast("dict[str, dict[str, Any]]", named) if isinstance(named, dict) else {}
    hooks = Hooks({name for name, one in servers.items() if one.get("type") == "sdk"})
    mine = {"PreToolUse": hooks.before, "PostToolUse": hooks.after, "PostToolUseFailure": hooks.failed}
    given = dict(cast("dict[str, list[Any]]", options.hooks or {}))
    for name, hook in mine.items():
        one = sdk.HookMatcher(hooks=[hook], timeout=_SECONDS, on_failure="block")
        given[name] = [*given.get(name, []), one]
    return given


async def run(agent: Any, text: str, memory: list[Any]) -> tuple[str, list[Any]]:
    sdk = importlib.import_module("claude_agent_sdk")
    options = await made(agent)
    folder = Path(os.environ["HOME"], ".claude")
    shutil.rmtree(folder, ignore_errors=True)  # an attempt that was cut off has left its transcript there
    known = {"resume": _SESSION} if _restored(folder, memory) else {"session_id": _SESSION}
    options = dataclasses.replace(
        options,
        hooks=_hooked(sdk, options),
        env={**options.env, "CLAUDE_CONFIG_DIR": str(folder)},
        setting_sources=[] if options.setting_sources is None else options.setting_sources,
        **known,
    )
    said = problem = ""
    async for message in sdk.query(prompt=text, options=options):
        if isinstance(message, sdk.ResultMessage):
            said, problem = message.result or "", _problem(message)
    if problem:
        raise RuntimeError(problem)
    return said, _kept(folder, memory)


def _problem(message: Any) -> str:
    return f"Claude Code ended with {message.subtype}: {message.result or message.errors}" if message.is_error else ""


def _place(folder: Path) -> Path:
    key = importlib.import_module("claude_agent_sdk._internal.sessions").project_key_for_directory(None)
    return folder / "projects" / key / f"{_SESSION}.jsonl"


def _restored(folder: Path, memory: list[Any]) -> bool:
    """Write the transcript of the turns before."""
    if memory:
        place = _place(folder)
        place.parent.mkdir(parents=True)
        place.write_text("".join(_json(one) + "\n" for one in memory), encoding="utf-8")
    return bool(memory)


def _kept(folder: Path, memory: list[Any]) -> list[Any]:
    """Return the transcript: what was there before, and what this turn has added."""
    found = next(iter(sorted((folder / "projects").glob(f"*/{_SESSION}.jsonl"))), None)
    lines = found.read_text(encoding="utf-8").splitlines() if found is not None else []
    return [json.loads(line) for line in lines] if len(lines) >= len(memory) else memory
