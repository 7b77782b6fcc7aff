"""`git_read` and `git_write`: a repository in the workspace, without a shell and without its programs.

A repository's own files can make git run anything: hooks, filters, external diffs, a file system monitor, a signer. A
cloned repository, or the agent itself, may contain such settings. So each call first reads the names of the configured
settings, which runs nothing, and then overrides every setting that names a program, through the environment, which
wins over all files. Clone, fetch, pull and push contact other machines, and a person must see commands that discard
work: both are left to `shell`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from roost.policy.rules import Touches
from roost.policy.touched_paths import files
from roost.sandbox.base import ExecResult, Quota
from roost.tools.base import ToolContext
from roost.tools.errors import ToolError
from roost.tools.function import tool
from roost.tools.text_limits import clean

_SECONDS = 60.0
_OUTPUT = 40 * 1024
_INDEX = 32 * 1024 * 1024
_PATHS = 200
_FIXED = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.pager": "cat",
    "core.editor": "false",
    "core.askPass": "false",
    "core.sshCommand": "false",
    "core.gitProxy": "false",
    "core.alternateRefsCommand": "false",
    "core.untrackedCache": "false",
    "sequence.editor": "false",
    "diff.external": "",
    "diff.ignoreSubmodules": "all",
    "status.submoduleSummary": "false",
    "submodule.recurse": "false",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "tag.forceSignAnnotated": "false",
    "log.showSignature": "false",
    "gpg.program": "false",
    "gpg.ssh.program": "false",
    "gpg.ssh.defaultKeyCommand": "false",
    "gpg.x509.program": "false",
    "gpg.openpgp.program": "false",
    "credential.helper": "",
    "protocol.allow": "never",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "color.ui": "false",
    "advice.detachedHead": "false",
    "blame.ignoreRevsFile": "",
    "mailmap.file": "",
    "safe.directory": "*",
}
"""Settings for programs, files and hosts that git would use by itself, by the names of git-config(1)."""
_DRIVERS = {
    re.compile(r"filter\..*\.(clean|smudge|process)", re.DOTALL): "",
    re.compile(r"filter\..*\.required", re.DOTALL): "false",
    re.compile(r"diff\..*\.(command|textconv)", re.DOTALL): "",
    re.compile(r"merge\..*\.driver", re.DOTALL): "false",
    re.compile(r"trailer\..*\.(command|cmd)", re.DOTALL): "",
    re.compile(
        r"(hook|remote|url|credential|includeif)\..*\.(command|helper|uploadpack|receivepack|vcs)", re.DOTALL
    ): "",
}
_REVISION = re.compile(r"[^-\s\0][^\s\0]{0,250}")

What = Literal["status", "diff", "log", "show", "blame", "branches", "files"]
Do = Literal["init", "add", "unstage", "commit", "branch", "switch", "tag"]
Paths = Annotated[list[str], msgspec.Meta(max_length=_PATHS, description="only these files or folders")]
Revision = Annotated[str | None, "a commit, branch or tag, such as HEAD~2, or a range such as main..mine"]
Repository = Annotated[str, "the folder of the workspace that the repository is in"]


class _Repository(NamedTuple):
    """`settings`: git settings that override those of all files. `muted`: names of the filters that are not run."""

    folder: Path
    settings: dict[str, str]
    muted: tuple[str, ...]


def _reach_read(arguments: Mapping[str, Any], root: Path) -> Touches:
    """Declare reads of any path, except for some commands: the history may hold the content of any path."""
    folder = arguments.get("repository")
    found = files(root, reads=[folder if isinstance(folder, str) else "."])
    return msgspec.structs.replace(found, unknown=arguments.get("what") not in ("status", "branches", "files"))


def _reach_write(arguments: Mapping[str, Any], root: Path) -> Touches:
    folder = arguments.get("repository")
    place = folder if isinstance(folder, str) else "."
    found = files(root, writes=[os.path.join(place, ".git")], reads=[place])
    return msgspec.structs.replace(found, unknown=arguments.get("do") in ("switch", "branch"))


@tool(safety="read_only", replay="safe", inside=True, reach=_reach_read)
async def git_read(
    what: What,
    ctx: ToolContext,
    revision: Revision = None,
    paths: Paths = [],  # noqa: B006 - the decorator copies it
    staged: Annotated[bool, "diff: of what is added and not committed"] = False,
    patch: Annotated[bool, "log: with the changes of each commit"] = False,
    limit: Annotated[int, msgspec.Meta(ge=1, le=500, description="log: most commits")] = 30,
    repository: Repository = ".",
) -> str:
    """Look at a git repository of the workspace: status, diff, log, show, blame, branches or files. Changes nothing and
    runs none of the repository's own programs (hooks, filters, external diffs)."""
    found = await _repository(ctx, repository)
    rev = [_revision(revision)] if revision is not None else []
    plain = ["--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=all"]
    match what:
        case "status":
            argv = ["status", "--short", "--branch", "--no-renames", "--ignore-submodules=all"]
        case "diff":
            argv = ["diff", *plain, *(["--cached"] if staged else []), *rev]
        case "log":
            shape = ["--patch"] if patch else ["--stat"] if paths else []
            argv = ["log", *plain, *shape, "--no-show-signature", "--date=iso", f"--max-count={limit}", *_PRETTY, *rev]
        case "show":
            argv = ["show", *plain, "--no-show-signature", "--date=iso", *(rev or ["HEAD"])]
        case "blame":
            if len(paths) != 1:
                raise ToolError("blame needs exactly one file in `paths`")
            argv = ["blame", "--date=short", *rev]
        case "branches":
            argv = ["branch", "--all", "--verbose", "--no-abbrev", "--no-color"]
        case "files":
            argv = ["ls-tree", "-r", "--name-only", *rev] if rev else ["ls-files"]
    ending = _paths(ctx, found, paths) if what != "branches" else []
    return _said(await _git(ctx, found, [*argv, *ending]), found)


_PRETTY = ["--pretty=format:%h %ad %an%d%n    %s"]


@tool(safety="safe_write", replay="never", inside=True, reach=_reach_write)
async def git_write(
    do: Do,
    ctx: ToolContext,
    name: Annotated[str | None, "branch, switch, tag: its name"] = None,
    message: Annotated[str | None, "commit: the message"] = None,
    paths: Annotated[list[str], msgspec.Meta(max_length=_PATHS, description="add, unstage: files; none is all")] = [],  # noqa: B006
    start: Annotated[str | None, "branch, switch: make the branch from this commit"] = None,
    repository: Repository = ".",
) -> str:
    """Change a git repository of the workspace: init, add, unstage, commit, branch, switch or tag. None of it throws
    work away. Hooks, filters and signatures are left out. For anything else, such as restore or push, use shell."""
    if do == "init":
        return await _init(ctx, repository)
    found = await _repository(ctx, repository)
    if do not in ("branch", "tag"):
        await _refuse_submodules(ctx, found)
    match do:
        case "add":
            argv = ["add", "--all", *_paths(ctx, found, paths or ["."])]
        case "unstage":
            argv = ["restore", "--staged", *_paths(ctx, found, paths or ["."])]
        case "commit":
            if not message or not message.strip():
                raise ToolError("a commit needs a `message`")
            argv = ["commit", "--no-verify", "--no-gpg-sign", "--no-edit", "--cleanup=strip", "-F", "-"]
        case "branch":
            argv = ["branch", "--no-track", _name(name), *([_revision(start)] if start else [])]
        case "switch":
            given = ["--no-track", "--create", _name(name), _revision(start)] if start else [_name(name)]
            argv = ["switch", "--no-recurse-submodules", "--no-guess", *given]
        case "tag":
            argv = ["tag", "--no-sign", _name(name), *([_revision(start)] if start else [])]
    stdin = clean(message).encode() if do == "commit" and message else None
    return _said(await _git(ctx, found, argv, stdin), found)


async def _init(ctx: ToolContext, repository: str) -> str:
    folder = ctx.workspace.resolve(repository)
    if (folder / ".git").exists():
        raise ToolError(f"{repository!r} is a repository already")
    place = _Repository(folder, dict(_FIXED), ())
    return _said(await _git(ctx, place, ["init", "--quiet", "--template=", "--initial-branch=main"]), place)


async def _refuse_submodules(ctx: ToolContext, found: _Repository) -> None:
    """Refuse submodules: git runs a process in each to get its state, which follows that one's own settings."""
    listed = await _git(ctx, found, ["ls-files", "--stage"], output=_INDEX)
    inner = [line.partition("\t")[2] for line in listed.stdout.splitlines() if line.startswith("160000 ")]
    if listed.truncated or inner:
        what = f"has submodules ({', '.join(inner[:5])})" if inner else "is too large"
        raise ToolError(f"the repository {what}: change it with shell")


def _name(name: str | None) -> str:
    if not name:
        raise ToolError("this needs a `name`")
    return _revision(name)


def _revision(text: str) -> str:
    if not _REVISION.fullmatch(text):
        raise ToolError(f"{text[:100]!r} cannot be a revision or a name: it has no spaces and does not begin with '-'")
    return clean(text)


def _paths(ctx: ToolContext, found: _Repository, paths: Iterable[str]) -> list[str]:
    """Return literal paths relative to the repository's folder."""
    real = [_inside(ctx, found, path) for path in paths]
    return ["--", *(os.path.relpath(path, found.folder) for path in real)] if real else ["--"]


def _inside(ctx: ToolContext, found: _Repository, path: str) -> Path:
    """Resolve only the parent folder: git tracks a link as a link, and deleted files may be named too."""
    written = found.folder / path
    if written.name in ("", ".", "..") or written == found.folder:
        return ctx.workspace.resolve(str(written))
    return ctx.workspace.resolve(str(written.parent)) / written.name


async def _repository(ctx: ToolContext, repository: str) -> _Repository:
    """Open a repository. Raises `ToolError` unless all of its parts lie in the workspace."""
    folder = ctx.workspace.resolve(repository)
    bare = _Repository(folder, dict(_FIXED), ())
    asked = ["rev-parse", "--show-toplevel", "--absolute-git-dir", "--path-format=absolute", "--git-common-dir"]
    places = await _git(ctx, bare, asked)
    if places.exit_code != 0:
        raise ToolError(f"{repository!r} is not the folder of a git repository: {_error(places)}")
    top, *folders = [Path(os.path.realpath(line)) for line in places.stdout.splitlines()]
    for place in (top, *folders):
        ctx.workspace.resolve(str(place))
    if top != folder:
        raise ToolError(f"the repository of {repository!r} is in {ctx.workspace.relative(top)!r}: name that folder")
    for place in folders:
        _no_way_out(ctx, place)
    names = await _git(ctx, bare, ["config", "--list", "--name-only", "-z", "--includes"])
    if names.exit_code != 0:
        raise ToolError(f"the repository's configuration cannot be read: {_error(names)}")
    return _quiet(folder, [name for name in names.stdout.split("\0") if name])


def _no_way_out(ctx: ToolContext, git: Path) -> None:
    """Refuse links and alternates: git follows links in its own folder, and reads objects from alternates."""
    for place in (git, git / "objects", git / "refs", git / "info", git / "objects" / "info"):
        try:
            links = [entry.name for entry in os.scandir(place) if entry.is_symlink()]
        except OSError:
            continue
        if links:
            raise ToolError(f"the repository's {links[0]!r} is a symbolic link, which may lead out of the workspace")
    for name in ("alternates", "http-alternates"):
        if (git / "objects" / "info" / name).exists():
            raise ToolError(f"the repository takes objects from elsewhere ({name}); that is not followed")


def _quiet(folder: Path, names: Sequence[str]) -> _Repository:
    settings, muted = dict(_FIXED), set[str]()
    for name in names:
        for pattern, value in _DRIVERS.items():
            if pattern.fullmatch(name):
                settings[name] = value
                if name.startswith("filter."):
                    muted.add(name.split(".", 1)[1].rpartition(".")[0])
    if "user.email" not in names or "user.name" not in names:
        settings |= {"user.name": "Roost", "user.email": "agent@localhost"}
    return _Repository(folder, settings, tuple(sorted(muted)))


async def _git(
    ctx: ToolContext, found: _Repository, argv: Sequence[str], stdin: bytes | None = None, *, output: int = _OUTPUT
) -> ExecResult:
    env = {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CEILING_DIRECTORIES": str(ctx.workspace.root.parent),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_PAGER": "cat",
        "GIT_CONFIG_COUNT": str(len(found.settings)),
    }
    for place, (name, value) in enumerate(found.settings.items()):
        env |= {f"GIT_CONFIG_KEY_{place}": name, f"GIT_CONFIG_VALUE_{place}": value}
    quota = Quota(wall_seconds=_SECONDS, output_bytes=output)
    return await ctx.sandbox.exec(["git", *argv], cwd=str(found.folder), env=env, stdin=stdin, quota=quota)


def _error(result: ExecResult) -> str:
    if result.killed_by:
        return f"git was stopped ({result.killed_by})"
    text = result.stderr.strip() or result.stdout.strip()
    return text[-1000:] or f"git ended with code {result.exit_code}"


def _said(result: ExecResult, found: _Repository) -> str:
    if result.exit_code != 0:
        raise ToolError(_error(result))
    parts = [result.stdout.rstrip("\n"), result.stderr.strip()[-2000:]]
    if found.muted:
        parts.append(f"[filters of the repository that were not run: {', '.join(found.muted)}]")
    return "\n".join(part for part in parts if part) or "(done; git said nothing)"
