"""Describe a program's tools to the gate, by the names that coding agents use."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

from roost.models.request import ToolSpec
from roost.policy.rules import Touches
from roost.policy.touched_paths import command, files, real
from roost.tools.base import Tool, ToolContext, ToolResult

Run: TypeAlias = Callable[[ToolContext, dict[str, Any]], Awaitable[ToolResult]]
SECONDS = 6 * 3600.0
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHELLS = ("bash", "exec_command", "shell", "shell_command", "run_shell_command", "local_shell", "monitor")
_READERS = (
    *("read", "read_file", "read_many_files", "view_image", "grep", "list", "ls", "list_directory"),
    *("search_file_content", "notebookread"),
)
_WRITERS = ("write", "edit", "multiedit", "write_file", "replace", "notebookedit")
_HARMLESS = (
    *("todowrite", "todoread", "update_plan", "taskcreate", "taskget", "tasklist", "taskupdate", "taskoutput"),
    *("taskstop", "task", "agent", "skill", "toolsearch", "enterplanmode", "exitplanmode", "sendmessage"),
    *("reportfindings", "spawn_agent", "wait", "wait_agent", "close_agent", "send_input", "write_todos"),
)
AGENTS = {"task", "agent", "spawn_agent", "wait", "wait_agent", "send_input", "sendmessage", "codebase_investigator"}
"""Tools behind which an agent of the program's own works."""
_PATHS = ("file_path", "filePath", "path", "absolute_path", "notebook_path", "dir_path")
_LINES = ("command", "cmd")
_FOLDERS = ("workdir", "cwd", "directory", "dir_path")
_SHELL = re.compile(r"((/usr)?/bin/)?(sh|bash|dash|zsh)")
_WILD = re.compile(r"[*?\[{]")
_ANY = {"type": "object", "additionalProperties": True}
# Codex takes a header behind spaces, too.
_PATCH = re.compile(r"^\s*\*\*\* (?:Add File|Update File|Delete File|Move to): (.+)$", re.MULTILINE)


def tool_of(spec: ToolSpec, run: Run) -> Tool:
    """Return a program's tool as the gate and the loop see it: the program checks its arguments itself. Everything
    unknown is `high_risk`."""
    kind = spec.name.lower()
    about = spec.description.strip().partition("\n")[0][:200] or spec.name
    given: dict[str, Any] = {"name": spec.name, "description": about, "schema": _ANY}
    given |= {"run": run, "replay": "never", "timeout": SECONDS, "early": False}
    if kind in _SHELLS:
        return Tool(**given, safety="high_risk", reach=_commands)
    if kind in ("glob", "find"):
        return Tool(**given, safety="read_only", reach=_globs)
    if kind in _READERS:
        return Tool(**given, safety="read_only", reach=_reads)
    if kind in _WRITERS:
        return Tool(**given, safety="safe_write", inside=True, reach=_writes)
    if kind == "apply_patch":
        return Tool(**given, safety="safe_write", inside=True, reach=_patches)
    if kind in _HARMLESS:
        return Tool(**given, safety="read_only", files=False)
    if kind == "write_stdin":
        return Tool(**given, safety="high_risk", reach=_typed)
    return Tool(**given, safety="high_risk", reach=_unknown)


def fits(name: str) -> bool:
    """Whether a name can be that of a tool."""
    return _NAME.fullmatch(name) is not None


def _commands(arguments: Mapping[str, Any], root: Path) -> Touches:
    """Judge a command. Only the program knows which of two fields it would run, and a shell that the call names may be
    any program."""
    lines, folders = _given(arguments, _LINES), _given(arguments, _FOLDERS)
    if len(lines) > 1 or len(folders) > 1:
        return Touches(unknown=True, fault="give the command, and the folder to run it in, in one field each")
    if not _is_shell(arguments.get("shell") or "sh"):
        return Touches(unknown=True, fault="only a shell of the system runs commands: leave `shell` out")
    line = lines[0] if lines else ""
    if isinstance(line, list):
        import shlex

        words = [str(word) for word in line]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        plain = len(words) == 3 and words[1] in ("-c", "-lc") and _is_shell(words[0])
        line = words[2] if plain else shlex.join(words)
    text = str(line)
    return command(f"cd {_quoted(str(folders[0]))} && {text}" if folders else text, root)


def _given(arguments: Mapping[str, Any], names: tuple[str, ...]) -> list[Any]:
    return [arguments[name] for name in names if arguments.get(name)]


def _is_shell(path: Any) -> bool:
    return isinstance(path, str) and _SHELL.fullmatch(path) is not None


def _typed(arguments: Mapping[str, Any], root: Path) -> Touches:
    """Judge what is typed into a running program as a command, since that program may be a shell. Nothing typed only
    reads its output."""
    text = str(arguments.get("chars") or "")
    return command(text if text.strip() else "true", root)


def _reads(arguments: Mapping[str, Any], root: Path) -> Touches:
    """Judge what is read: the files of a list too, of a pattern the folder that it begins with."""
    lists = (arguments.get(name) for name in ("include", "paths"))
    listed = tuple(str(one) for given in lists if isinstance(given, list) for one in cast("list[object]", given))
    fixed = tuple(_WILD.split(one, maxsplit=1)[0] for one in listed)
    return files(root, reads=(_named(arguments) + fixed) or (".",))


def _globs(arguments: Mapping[str, Any], root: Path) -> Touches:
    """Judge a pattern of names, which may lead out of the folder that the call names."""
    named, pattern = _named(arguments) or (".",), arguments.get("pattern")
    if isinstance(pattern, str):
        fixed = _WILD.split(pattern, maxsplit=1)[0]
        named += tuple(os.path.join(folder, fixed) for folder in named)
        named += ("/",) if ".." in pattern[len(fixed) :] else ()
    return files(root, reads=named)


def _writes(arguments: Mapping[str, Any], root: Path) -> Touches:
    return _inside(_named(arguments), root)


def _patches(arguments: Mapping[str, Any], root: Path) -> Touches:
    text = str(arguments.get("input") or arguments.get("patch") or "")
    return _inside(tuple(path.strip() for path in _PATCH.findall(text)), root)


def _inside(paths: tuple[str, ...], root: Path) -> Touches:
    """Return the files that a tool writes, with a fault unless all of them lie in the workspace."""
    found = [real(path, root) for path in paths]
    if not found or any(path is None or os.path.commonpath([path, root]) != str(root) for path in found):
        return Touches(unknown=True, fault="this tool writes in the workspace only; a command may write elsewhere")
    return files(root, writes=paths)


def _unknown(arguments: Mapping[str, Any], root: Path) -> Touches:
    return Touches(unknown=True, outside=True)


def _named(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(arguments[name]) for name in _PATHS if isinstance(arguments.get(name), str))


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
