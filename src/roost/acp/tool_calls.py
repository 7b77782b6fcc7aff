"""Tool calls as an editor shows them: title, kind, places, differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec

from roost.acp.content import block_of, fenced, text
from roost.log import events as ev
from roost.log.content import Text
from roost.log.session_views import PendingApproval
from roost.terminal_text import clean, one_line, visible

_KINDS = {
    "read_file": "read",
    "git_read": "read",
    "list_files": "search",
    "glob": "search",
    "grep": "search",
    "analyze_code": "search",
    "read_history": "search",
    "recall": "search",
    "list_agents": "search",
    "web_search": "search",
    "web_fetch": "fetch",
    "write_file": "edit",
    "edit_file": "edit",
    "edit_files": "edit",
    "shell": "execute",
    "editor_terminal": "execute",
    "shell_start": "execute",
    "shell_output": "execute",
    "shell_stop": "execute",
    "python": "execute",
    "git_write": "execute",
    "calculate": "think",
    "plan": "think",
    "task": "think",
}
_EDITS = ("write_file", "edit_file", "edit_files")
_TITLE = 200


def arguments_of(arguments: str) -> dict[str, Any]:
    """Return a call's arguments; nothing if they are no JSON object."""
    try:
        return msgspec.json.decode(arguments, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def shown(name: str, arguments: str, folder: str | None) -> dict[str, Any]:
    """Return the fields of a call. folder: the session's workspace, if it is a folder of the user."""
    given = arguments_of(arguments)
    fields: dict[str, Any] = {
        "title": one_line(_title(name, given, arguments), _TITLE) or name,
        "kind": _KINDS.get(name, "other"),
        "rawInput": given or arguments,
    }
    if places := _places(given, folder):
        fields["locations"] = places
    if changes := _changes(name, given, folder):
        fields["content"] = changes
    return fields


def _title(name: str, given: dict[str, Any], arguments: str) -> str:
    if name in ("shell", "shell_start", "editor_terminal") and isinstance(given.get("command"), str):
        return given["command"]
    if isinstance(given.get("path"), str):
        return f"{name.replace('_', ' ')} {given['path']}"
    values = [value for value in given.values() if isinstance(value, str | int | float)]
    return f"{name.replace('_', ' ')} {' '.join(map(str, values)) if values else arguments if not given else ''}"


def _places(given: dict[str, Any], folder: str | None) -> list[dict[str, Any]]:
    paths = [given.get("path"), *(change.get("path") for change in _listed(given.get("changes")))]
    places = [{"path": _absolute(path, folder)} for path in paths if isinstance(path, str) and path and folder]
    if len(places) == 1 and isinstance(line := given.get("offset"), int) and line > 0:
        places[0]["line"] = cast("Any", line)
    return cast("list[dict[str, Any]]", places)


def _absolute(path: str, folder: str | None) -> str:
    return str(Path(folder or "/") / path)


def _changes(name: str, given: dict[str, Any], folder: str | None) -> list[dict[str, Any]]:
    """Return what a call of a file tool changes, as differences."""
    if name not in _EDITS:
        return []
    found: list[dict[str, Any]] = []
    for change in _listed(given.get("changes")) if name == "edit_files" else [given]:
        path = change.get("path")
        if not isinstance(path, str):
            continue
        place = _absolute(path, folder)
        if isinstance(content := change.get("content"), str):
            found.append({"type": "diff", "path": place, "oldText": None, "newText": content})
        found += [
            {"type": "diff", "path": place, "oldText": edit["old"], "newText": edit["new"]}
            for edit in _listed(change.get("edits")) or [change]
            if isinstance(edit.get("old"), str) and isinstance(edit.get("new"), str)
        ]
    return found


def _listed(value: object) -> list[dict[str, Any]]:
    found = cast("list[object]", value) if isinstance(value, list) else [value]
    return [cast("dict[str, Any]", one) for one in found if isinstance(one, dict)]


def outcome(name: str, event: ev.ToolCompleted) -> dict[str, Any]:
    """Return the fields of a call that has ended."""
    fields: dict[str, Any] = {"status": "completed" if event.outcome == "ok" else "failed"}
    if event.code is not None:
        fields["rawOutput"] = {"exitCode": event.code}
    if name in (*_EDITS, "editor_terminal") and event.outcome == "ok":
        return fields  # `content` would take the place of the differences, or of the terminal
    said = "\n".join(part.text for part in event.parts if isinstance(part, Text))
    if event.outcome not in ("ok", "error"):
        said = f"({event.outcome}) {said}"
    content = [text(fenced(clean(said)))] if said.strip() else []
    content += [block_of(part) for part in event.parts if not isinstance(part, Text)]
    return fields | {"content": [{"type": "content", "content": one} for one in content]}


def question(waiting: PendingApproval, folder: str | None) -> dict[str, Any]:
    """Return the fields of a call that a person is asked about: all of it, its dangers first."""
    fields = shown(waiting.tool, waiting.arguments, folder)
    rows = [f"**{clean(waiting.reason)}**"]
    rows += [f"- `{visible(danger.text)}`: {clean(danger.why)}" for danger in waiting.dangers]
    if "content" not in fields:
        given = arguments_of(waiting.arguments)
        command = given.get("command")
        body = command if isinstance(command, str) and len(given) == 1 else _pretty(given, waiting.arguments)
        rows += ["", fenced(visible(body))]
    changes = fields.get("content", [])
    replaced = [file.diff for file in waiting.files if file.diff and "/dev/null" not in file.diff]
    if replaced and waiting.tool == "write_file":  # the call alone does not say what it replaces
        changes = [_said(f"```diff\n{visible(diff)}\n```") for diff in replaced]
    return fields | {"content": [_said("\n".join(rows)), *changes], "status": "pending"}


def _said(markdown: str) -> dict[str, Any]:
    return {"type": "content", "content": text(markdown)}


def _pretty(given: dict[str, Any], arguments: str) -> str:
    return msgspec.json.format(msgspec.json.encode(given), indent=2).decode() if given else arguments
