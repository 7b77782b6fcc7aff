"""`use_skill`, `read_skill_file`, `copy_skill`: instructions of a skill, its files, and a copy that commands can run.

Nothing of a skill runs in the daemon: its scripts run when the model calls a tool such as `shell`, in the sandbox."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from roost.errors import NotFound
from roost.features.packages.skill_format import body_of
from roost.features.skills.folders import IN_WORKSPACE, Content, Skill, SkillFile, is_main
from roost.features.skills.session_skills import CallSkills
from roost.policy.rules import Touches
from roost.policy.touched_paths import files, words
from roost.threads import finished_in_thread
from roost.tools.base import ToolContext
from roost.tools.errors import ToolError
from roost.tools.function import tool
from roost.workspace.files import Workspace
from roost.workspace.safe_paths import digest_of, is_binary, read_file, write_file

COPIES = ".skill-files"
"""Folder of the workspace that `copy_skill` writes to. No skill is found there; no rule protects it as it does
`.roost`."""
_SHOWN = 48 * 1024
_LISTED = 60
_COPIED = 16 * 1024 * 1024
_Name = Annotated[str, "The skill's name."]


def _reach(arguments: Mapping[str, Any], root: Path) -> Touches:
    """Name the files of a skill of the workspace, to which its rules apply."""
    path = next(iter(words(arguments, "path")), "SKILL.md")
    return files(root, reads=[f"{at}/{name}/{path}" for at in IN_WORKSPACE for name in words(arguments, "name")])


def _copies(arguments: Mapping[str, Any], root: Path) -> Touches:
    return files(root, writes=[f"{COPIES}/{name}" for name in words(arguments, "name")])


@tool(replay="safe", safety="read_only", inside=True, files=True, early=False, reach=_reach)
async def use_skill(context: ToolContext, name: _Name) -> str:
    """Read the instructions of a skill. Call it before you begin a task that fits the skill, and follow them."""
    skill, content = await context.port(CallSkills).read(name, is_main)
    body = body_of(content.main.decode("utf-8", "replace"))
    return _fenced(skill, content, _cut(body), _listed(skill, content.files))


@tool(replay="safe", safety="read_only", inside=True, files=True, early=False, reach=_reach)
async def read_skill_file(
    context: ToolContext,
    name: _Name,
    path: Annotated[str, "A file of the skill, as in references/forms.md."],
    offset: Annotated[int, Meta(ge=0, description="Characters to leave out.")] = 0,
) -> str:
    """Read a text file of a skill, when its instructions mention it."""
    wanted = posixpath.normpath(path)
    skill, content = await context.port(CallSkills).read(name, lambda each: each == wanted)
    if wanted not in content.kept:
        raise ToolError(f"the skill {name!r} has no file {path!r}.{_listed(skill, content.files)}")
    data = content.kept[wanted]
    if is_binary(data):
        raise ToolError(f"{path!r} is a binary file of {len(data)} bytes; copy_skill puts it into the workspace")
    text = data.decode("utf-8", "replace")
    if offset and offset >= len(text):
        raise ToolError(f"{path!r} has {len(text)} characters; offset {offset} is behind its end")
    return _fenced(skill, content, _cut(text, offset), "")


@tool(replay="safe", safety="safe_write", inside=True, files=True, reach=_copies)
async def copy_skill(context: ToolContext, name: _Name) -> str:
    """Copy the files of a skill into the workspace, so that commands can run its scripts. Not needed for a skill that
    is in the workspace."""
    skill, content = await context.port(CallSkills).read(name, lambda path: True)
    if skill.place == "workspace":
        return f"its files are in the workspace: {skill.shown}"
    if (size := sum(one.size for one in content.files)) > _COPIED:
        raise ToolError(f"the files of {name!r} have {size} bytes; at most {_COPIED} are copied")
    at = f"{COPIES}/{name}"
    seen = await finished_in_thread(lambda: _copy(context.workspace, at, content))
    context.seen.update(seen)
    return f"copied {len(content.files)} files to {at}/. Start scripts with their interpreter, as in python {at}/…"


def _copy(workspace: Workspace, at: str, content: Content) -> dict[str, str]:
    """Write the files that differ, through no link. A second attempt finds what the first has written."""
    seen: dict[str, str] = {}
    for path, data in content.kept.items():
        real = workspace.root / at / path  # not resolved: `write_file` refuses a link on the way
        try:
            known: str | None = read_file(workspace, real).digest
        except NotFound:
            known = None
        if known != digest_of(data):
            write_file(workspace, real, data, expected=known, create_folders=True)
        seen[str(real)] = digest_of(data)
    return seen


def _fenced(skill: Skill, content: Content, text: str, more: str) -> str:
    """Put a text of a skill between marks that it cannot contain, since they have the digest of its files."""
    mark = content.digest[:16]
    where = f"[skill {skill.name}, {skill.place}, {mark}"
    return f"{where}: begin]\n{text}\n{where}: end]{more}"


def _cut(text: str, offset: int = 0) -> str:
    shown = text[offset : offset + _SHOWN]
    left = len(text) - offset - len(shown)
    return f"{shown}\n[{left} characters left; continue with offset={offset + len(shown)}]" if left > 0 else shown


def _listed(skill: Skill, found: Sequence[SkillFile]) -> str:
    """Return a line about the files of a skill."""
    others = [one.path for one in found if not is_main(one.path) and one.path.isprintable()]
    if not others:
        return ""
    more = f" and {len(others) - _LISTED} more" if len(others) > _LISTED else ""
    where = (
        f"They are in {skill.shown}/."
        if skill.place == "workspace"
        else "read_skill_file reads one; copy_skill puts all into the workspace, where commands can run scripts."
    )
    return f"\nFiles of the skill: {', '.join(others[:_LISTED])}{more}. {where}"
