"""`git_read` and `git_write`, with a real git, and repositories that try to run programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roost.policy.gate import GateCall, LayeredGate
from roost.policy.rules import Rule
from roost.tools.base import ToolContext
from roost.tools.builtin import builtin_tools
from roost.tools.run_tool import run_tool

TOOLS = builtin_tools()
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git on this machine")


async def call(ctx: ToolContext, name: str, /, **arguments: Any) -> tuple[str, str]:
    outcome, parts = await run_tool(TOOLS[name], ctx, json.dumps(arguments))
    return outcome, "".join(part.text for part in parts)  # pyright: ignore


async def read(ctx: ToolContext, what: str, /, **more: Any) -> str:
    outcome, text = await call(ctx, "git_read", what=what, **more)
    assert outcome == "ok", text
    return text


async def write(ctx: ToolContext, do: str, /, **more: Any) -> str:
    outcome, text = await call(ctx, "git_write", do=do, **more)
    assert outcome == "ok", text
    return text


def git(folder: Path, *argv: str) -> str:
    """As a user of the machine, who has no settings."""
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    who = ["-c", "user.name=A", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]
    return subprocess.run(["git", *who, *argv], cwd=folder, env=env, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that needs it leaves the repository that the others copy."""
    return tmp_path_factory.mktemp("git") / "work"


@pytest.fixture
async def root(ctx: ToolContext, template: Path) -> Path:
    """A repository with a commit."""
    root = ctx.workspace.root
    if template.exists():
        shutil.copytree(template, root, dirs_exist_ok=True)
        return root
    await write(ctx, "init")
    (root / "a.txt").write_text("one\n")
    (root / "dir").mkdir()
    (root / "dir/b ä.txt").write_text("two\n")
    await write(ctx, "add")
    await write(ctx, "commit", message="first\n\nmore of it")
    shutil.copytree(root, template)
    return root


async def test_a_day_with_git(ctx: ToolContext, root: Path) -> None:
    assert await read(ctx, "status") == "## main"
    (root / "a.txt").write_text("one\nmore\n")
    (root / "new.txt").write_text("n\n")
    assert await read(ctx, "status") == "## main\n M a.txt\n?? new.txt"
    assert "+more" in await read(ctx, "diff")
    assert await read(ctx, "diff", staged=True) == "(done; git said nothing)"
    await write(ctx, "add", paths=["new.txt"])
    assert "+n" in await read(ctx, "diff", staged=True)
    await write(ctx, "unstage", paths=["new.txt"])
    assert await read(ctx, "status") == "## main\n M a.txt\n?? new.txt"
    await write(ctx, "switch", name="mine", start="HEAD")
    await write(ctx, "add")
    await write(ctx, "commit", message="second")
    assert (await read(ctx, "log")).count("\n") == 3
    assert "+more" in await read(ctx, "log", patch=True, limit=1, revision="main..mine")
    assert "+more" in await read(ctx, "show")
    assert await read(ctx, "show", revision="main:a.txt") == "one"
    assert "more" in await read(ctx, "blame", paths=["a.txt"])
    await write(ctx, "tag", name="v1")
    await write(ctx, "switch", name="main")
    assert (root / "a.txt").read_text() == "one\n"
    assert "mine" in await read(ctx, "branches")
    assert (await read(ctx, "files", revision="v1")).splitlines()[-1] == "new.txt"
    assert len((await read(ctx, "files")).splitlines()) == 2
    log = git(root, "log", "--format=%an %ae %s%n%b", "-1", "main")
    assert log == "Roost agent@localhost first\nmore of it\n\n"


async def test_uncommitted_work_is_never_thrown_away(ctx: ToolContext, root: Path) -> None:
    await write(ctx, "switch", name="other", start="HEAD")
    (root / "a.txt").write_text("theirs\n")
    await write(ctx, "add")
    await write(ctx, "commit", message="theirs")
    await write(ctx, "switch", name="main")
    (root / "a.txt").write_text("precious\n")
    outcome, text = await call(ctx, "git_write", do="switch", name="other")
    assert (outcome, "would be overwritten" in text) == ("error", True)
    assert (root / "a.txt").read_text() == "precious\n"


def _hooks(root: Path, trap: str) -> None:
    for name in ("pre-commit", "post-commit", "commit-msg", "post-checkout", "prepare-commit-msg", "post-index-change"):
        hook = root / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\n{trap}\n")
        hook.chmod(0o755)


def _set(*settings: str) -> Callable[[Path, str], None]:
    def make(root: Path, trap: str) -> None:
        for setting in settings:
            name, _, value = setting.partition("=")
            git(root, "config", "--add", name, value or trap)

    return make


def _attributes(text: str, *settings: str) -> Callable[[Path, str], None]:
    def make(root: Path, trap: str) -> None:
        (root / ".git/info").mkdir(exist_ok=True)
        (root / ".git/info/attributes").write_text(text)
        _set(*settings)(root, trap)

    return make


def _included(root: Path, trap: str) -> None:
    (root / "more.config").write_text(f'[core]\n\tfsmonitor = "{trap}"\n[filter "x=y.z"]\n\tclean = "{trap}"\n')
    git(root, "config", "include.path", "../more.config")
    (root / ".gitattributes").write_text("*.txt filter=x=y.z\n")


def _submodule(root: Path, trap: str) -> None:
    """Git asks a submodule for its state by a process of its own, without our settings."""
    inner = root / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "x").write_text("x")
    git(inner, "add", ".")
    git(inner, "commit", "-qm", "x")
    git(root, "add", "inner")
    (root / ".gitmodules").write_text('[submodule "inner"]\n\tpath = inner\n\turl = ./inner\n\tignore = none\n')
    git(root, "add", ".gitmodules")
    git(root, "commit", "-qm", "with a submodule")
    git(root, "config", "submodule.inner.ignore", "none")
    git(root, "config", "diff.ignoreSubmodules", "none")
    git(inner, "config", "core.fsmonitor", trap)
    (inner / ".git/info/attributes").write_text("* filter=x\n")
    git(inner, "config", "filter.x.clean", trap)
    (inner / "x").write_text("y")


TRAPS: dict[str, Callable[[Path, str], None]] = {
    "hooks": _hooks,
    "hooks path": lambda root, trap: (_hooks(root, trap), _set("core.hooksPath=.git/hooks")(root, trap))[0],
    "fsmonitor": _set("core.fsmonitor"),
    "editor and pager": _set("core.editor", "core.pager", "sequence.editor", "pager.log", "pager.diff", "pager.status"),
    "external diff": _set("diff.external"),
    "diff driver": _attributes("* diff=x\n", "diff.x.command", "diff.x.textconv"),
    "filter": _attributes("* filter=x\n", "filter.x.clean", "filter.x.smudge", "filter.x.required=true"),
    "filter process": _attributes("* filter=x\n", "filter.x.process", "filter.x.required=true"),
    "filter of any name": _attributes("* filter=x.clean\n", "filter.x.clean.clean", "filter.x.clean.smudge"),
    "signing": _set("commit.gpgSign=true", "tag.gpgSign=true", "gpg.program", "log.showSignature=true"),
    "ssh signing": _set("commit.gpgSign=true", "gpg.format=ssh", "gpg.ssh.program", "gpg.ssh.defaultKeyCommand"),
    "included": _included,
    "alias": _set("alias.status", "alias.diff", "alias.commit"),
    "worktree config": lambda root, trap: (
        _set("extensions.worktreeConfig=true")(root, trap),
        git(root, "config", "--worktree", "core.fsmonitor", trap),
    )[0],
    "remote helper": _set("remote.origin.url=ext::sh -c x", "core.gitProxy", "core.sshCommand", "credential.helper"),
    "trailer": _set("trailer.x.command", "trailer.x.cmd", "trailer.x.key=X"),
}


@pytest.mark.parametrize("trap", TRAPS)
async def test_a_repository_runs_no_program(ctx: ToolContext, root: Path, tmp_path: Path, trap: str) -> None:
    sprung = tmp_path / "sprung"
    TRAPS[trap](root, f"touch {sprung};")
    before = int(git(root, "rev-list", "--count", "main"))
    for number in range(1):
        (root / "a.txt").write_text(f"changed {number}\n")
        for what in ("status", "diff", "log", "show", "branches", "files"):
            await call(ctx, "git_read", what=what, patch=True)
            assert not sprung.exists(), what
        await call(ctx, "git_read", what="blame", paths=["a.txt"])
        assert not sprung.exists()
        outcome, text = await call(ctx, "git_write", do="add")
        assert not sprung.exists()
        assert outcome == "ok", text
        assert await write(ctx, "commit", message=f"m {number}")
        assert not sprung.exists()
        await write(ctx, "tag", name=f"t{number}")
        await write(ctx, "switch", name=f"b{number}", start="HEAD~1")
        await write(ctx, "switch", name="main")
        assert not sprung.exists()
    if trap.startswith("filter"):
        assert "[filters of the repository that were not run: x" in await read(ctx, "status")
    assert int(git(root, "rev-list", "--count", "main")) == before + 1


async def test_submodules_run_no_program_either(ctx: ToolContext, root: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    _submodule(root, f"touch {sprung};")
    (root / "a.txt").write_text("changed")
    for what in ("status", "diff", "log", "show", "files"):
        outcome, text = await call(ctx, "git_read", what=what, patch=True)
        assert outcome == "ok", text
    for do in ("add", "unstage", "commit", "switch"):
        outcome, text = await call(ctx, "git_write", do=do, message="m", name="x", start="HEAD")
        assert (outcome, "submodules (inner)" in text) == ("error", True)
    await write(ctx, "tag", name="t")
    assert not sprung.exists()
    git(root, "status")
    assert sprung.exists()


async def test_the_traps_are_real(root: Path, tmp_path: Path) -> None:
    """Else the test above would show nothing."""
    sprung = tmp_path / "sprung"
    for trap in ("fsmonitor", "filter", "diff driver", "hooks", "external diff"):
        folder = tmp_path / trap.replace(" ", "-")
        shutil.copytree(root, folder)
        TRAPS[trap](folder, f"touch {sprung};")
        (folder / "a.txt").write_text("changed\n")
        for argv in (("status",), ("diff",), ("add", "."), ("commit", "-m", "x")):
            subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b", *argv], cwd=folder, capture_output=True)
        assert sprung.exists(), trap
        sprung.unlink()


async def test_nothing_outside_the_workspace_is_a_repository(ctx: ToolContext, root: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    (outer / "secret").write_text("hidden")
    git(outer, "add", ".")
    git(outer, "commit", "-qm", "hidden")
    inside = root / "sub"
    cases: list[Callable[[], object]] = [
        lambda: (inside / ".git").write_text(f"gitdir: {outer}/.git\n"),
        lambda: (inside / ".git").symlink_to(outer / ".git"),
        lambda: (git(inside, "init", "-q"), git(inside, "config", "core.worktree", str(outer))),
        lambda: (
            git(inside, "init", "-q"),
            (inside / ".git/objects/info/alternates").write_text(f"{outer}/.git/objects"),
        ),
        lambda: (
            git(inside, "init", "-q"),
            shutil.rmtree(inside / ".git/objects"),
            (inside / ".git/objects").symlink_to(outer / ".git/objects"),
        ),
        lambda: (git(inside, "init", "-q"), (inside / ".git/commondir").write_text(f"{outer}/.git\n")),
    ]
    head = git(outer, "rev-parse", "HEAD").strip()
    for make in cases:
        inside.mkdir()
        make()
        for what in ("status", "log", "show", "files"):
            outcome, text = await call(ctx, "git_read", what=what, repository="sub", revision=head)
            assert (outcome, "hidden" in text) == ("error", False), text
        shutil.rmtree(inside)
    for repository in ("..", str(outer), "dir"):
        assert (await call(ctx, "git_read", what="status", repository=repository))[0] == "error"
    git(tmp_path, "init", "-q")  # around the workspace
    inside.mkdir()
    shutil.rmtree(root / ".git")
    outcome, text = await call(ctx, "git_read", what="status")
    assert (outcome, "not the folder of a git repository" in text) == ("error", True)


@pytest.mark.parametrize(
    "arguments",
    [
        {"what": "show", "revision": "--output=x"},
        {"what": "log", "revision": "-O x"},
        {"what": "diff", "revision": "--no-index /etc/passwd"},
        {"what": "diff", "paths": ["../../etc/passwd"]},
        {"what": "diff", "paths": ["/etc/passwd"]},
        {"what": "blame", "paths": []},
        {"what": "push"},
        {"what": "show", "revision": ""},
        {"what": "show", "revision": "none-such"},
        {"what": "show", "revision": "a\0b"},
    ],
)
async def test_arguments_cannot_be_options(ctx: ToolContext, root: Path, arguments: dict[str, Any]) -> None:
    before = sorted(os.listdir(root))
    outcome, text = await call(ctx, "git_read", **arguments)
    assert outcome == "error"
    assert "root:" not in text
    assert sorted(os.listdir(root)) == before


async def test_strange_paths_are_taken_literally(ctx: ToolContext, root: Path) -> None:
    for name in (":(exclude)a", "*.txt", "-x", "sp ace"):
        (root / name).write_text("x")
    await write(ctx, "add", paths=["*.txt", "-x"])
    staged = git(root, "diff", "--cached", "--name-only").splitlines()
    assert staged == ["*.txt", "-x"]
    for missing in (
        {"do": "commit"},
        {"do": "branch"},
        {"do": "switch", "name": "-f"},
        {"do": "commit", "message": " "},
    ):
        assert (await call(ctx, "git_write", **missing))[0] == "error"


def test_a_rule_about_paths_asks_before_history_is_read(tmp_path: Path) -> None:
    def decide(name: str, **arguments: Any) -> str:
        tool = TOOLS[name]
        assert tool.reach is not None
        one = GateCall(
            session="s",
            call="c",
            tool=name,
            arguments="{}",
            safety=tool.safety,
            inside=tool.inside,
            private_workspace=True,
            root=tmp_path,
            touches=tool.reach(arguments, tmp_path),
        )
        rules = [Rule(effect="deny", path="**/.env"), Rule(effect="deny", path="vendor/.git", access="write")]
        return LayeredGate("workspace", {"user": rules}).decide(one).decision

    assert decide("git_read", what="show") == "ask"
    assert decide("git_read", what="status") == "allow"
    assert decide("git_write", do="commit", repository="vendor") == "deny"
    assert decide("git_write", do="commit") == "allow"
