"""The built-in tools, as a model calls them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roost.tools.base import ToolContext
from roost.tools.builtin import builtin_tools, homes_of
from roost.tools.run_tool import run_tool
from tests.examples import examples

TOOLS = builtin_tools()


async def call(ctx: ToolContext, name: str, **arguments: Any) -> tuple[str, str]:
    outcome, parts = await run_tool(TOOLS[name], ctx, json.dumps(arguments))
    return outcome, "".join(part.text for part in parts)  # pyright: ignore


def test_a_features_tool_takes_no_name_of_another() -> None:
    with pytest.raises(TypeError, match=r"the name 'grep': roost.tools.grep and roost.features.x.tools; rename one"):
        homes_of({"grep": "roost.tools.grep"}, {"grep": "roost.features.x.tools"})


@pytest.fixture
def root(ctx: ToolContext) -> Path:
    return ctx.workspace.root


def again(ctx: ToolContext, **changes: Any) -> ToolContext:
    """The context of a second attempt."""
    return msgspec.structs.replace(ctx, attempt=2, **changes)


def test_the_set_and_its_classes() -> None:
    assert {name: (tool.safety, tool.replay, tool.inside) for name, tool in TOOLS.items()} == {
        "shell": ("high_risk", "ask", False),
        "shell_start": ("high_risk", "ask", False),
        "shell_output": ("read_only", "safe", True),
        "shell_stop": ("safe_write", "safe", True),
        "python": ("high_risk", "never", False),
        "read_file": ("read_only", "safe", True),
        "write_file": ("safe_write", "safe", True),
        "edit_file": ("safe_write", "safe", True),
        "edit_files": ("safe_write", "safe", True),
        "list_files": ("read_only", "safe", True),
        "glob": ("read_only", "safe", True),
        "grep": ("read_only", "safe", True),
        "analyze_code": ("read_only", "safe", True),
        "git_read": ("read_only", "safe", True),
        "git_write": ("safe_write", "never", True),
        "web_fetch": ("read_only", "safe", False),
        "web_search": ("read_only", "safe", False),
        "read_history": ("read_only", "safe", True),
        "pin": ("read_only", "safe", True),
        "unpin": ("read_only", "safe", True),
        "plan": ("read_only", "safe", True),
        "calculate": ("read_only", "safe", True),
        "remember": ("safe_write", "safe", True),
        "recall": ("read_only", "safe", True),
        "update_memory": ("safe_write", "safe", True),
        "forget": ("safe_write", "safe", True),
        "task": ("safe_write", "safe", True),
        "cancel_task": ("safe_write", "safe", True),
        "list_agents": ("read_only", "safe", True),
        "message_agent": ("safe_write", "safe", True),
        "terminal_start": ("high_risk", "never", False),
        "terminal_send": ("high_risk", "never", False),
        "terminal_read": ("read_only", "safe", True),
        "terminal_wait": ("read_only", "safe", True),
        "terminal_end": ("safe_write", "safe", True),
        "list_memories": ("read_only", "safe", True),
        "read_memory": ("read_only", "safe", True),
        "write_memory": ("safe_write", "safe", True),
        "delete_memory": ("safe_write", "safe", True),
        "search_files": ("read_only", "safe", True),
        "file_history": ("read_only", "safe", True),
        "restore_file": ("safe_write", "safe", True),
        "share_file": ("high_risk", "safe", False),
        "use_skill": ("read_only", "safe", True),
        "read_skill_file": ("read_only", "safe", True),
        "copy_skill": ("safe_write", "safe", True),
        "send_message": ("safe_write", "safe", False),
    }
    assert builtin_tools() is not builtin_tools()
    assert all(tool.description and len(tool.description) < 300 for tool in TOOLS.values())


def test_they_are_built_at_the_first_call() -> None:
    program = "import sys, roost.tools.builtin as b; print('roost.tools.shell' in sys.modules); b.builtin_tools(); "
    program += "print('roost.tools.shell' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("name", ["read_file", "write_file", "edit_file", "list_files", "glob", "grep"])
@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "link/secret", "/proc/self/root/etc/passwd", "a\0b"])
async def test_no_file_tool_leaves_the_workspace(ctx: ToolContext, root: Path, name: str, path: str) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    for secret in (outside / "secret", root.parent / "secret"):
        secret.write_text("hidden")
    (root / "link").symlink_to(outside)
    more = {
        "write_file": {"content": "x"},
        "edit_file": {"old": "hidden", "new": "x"},
        "glob": {"pattern": "**"},
        "grep": {"pattern": "hidden"},
    }
    outcome, text = await call(ctx, name, path=path, **more.get(name, {}))
    assert outcome == "error"
    assert "hidden" not in text.replace("a\0b", "")
    assert (outside / "secret").read_text() == (root.parent / "secret").read_text() == "hidden"
    assert os.listdir(outside) == ["secret"]


async def test_searches_do_not_follow_links_out(ctx: ToolContext, root: Path) -> None:
    (root.parent / "secret").write_text("hidden needle")
    (root / "file").symlink_to(root.parent / "secret")
    (root / "folder").symlink_to(root.parent)
    assert await call(ctx, "grep", pattern="needle") == ("ok", "No match")
    assert "secret" not in (await call(ctx, "glob", pattern="**/*"))[1]
    assert (await call(ctx, "list_files", depth=3))[1] == "file@\nfolder@"


class TestReadFile:
    async def test_lines_are_numbered(self, ctx: ToolContext, root: Path) -> None:
        (root / "f").write_text("one\n\nthree")
        assert await call(ctx, "read_file", path="f") == ("ok", "     1\tone\n     2\t\n     3\tthree")

    async def test_a_part(self, ctx: ToolContext, root: Path) -> None:
        (root / "f").write_text("".join(f"line {n}\n" for n in range(1, 101)))
        text = (await call(ctx, "read_file", path="f", offset=50, limit=2))[1]
        assert text == "    50\tline 50\n    51\tline 51\n[lines 50 to 51 of 100; continue with offset=52]"
        assert (await call(ctx, "read_file", path="f", offset=100))[1].endswith("[lines 100 to 100 of 100]")
        assert (await call(ctx, "read_file", path="f", offset=101)) == (
            "error",
            "'f' has 100 lines; offset 101 is behind its end",
        )

    async def test_huge_files_and_lines_are_bounded(self, ctx: ToolContext, root: Path) -> None:
        (root / "long").write_text("x" * 1_000_000 + "\n" + "y\n" * 1_000_000)
        outcome, text = await call(ctx, "read_file", path="long", limit=10**9)
        assert outcome == "ok"
        assert len(text) < 64 * 1024
        assert "characters cut" in text
        assert "continue with offset=" in text
        (root / "huge").touch()
        os.truncate(root / "huge", 1 << 40)
        assert (await call(ctx, "read_file", path="huge"))[0] == "error"

    async def test_what_is_no_text(self, ctx: ToolContext, root: Path) -> None:
        (root / "binary").write_bytes(b"\x7fELF\0\0")
        (root / "latin").write_bytes(b"caf\xe9\r\n")
        (root / "empty").touch()
        os.mkfifo(root / "pipe")
        assert "binary" in (await call(ctx, "read_file", path="binary"))[1]
        assert await call(ctx, "read_file", path="latin") == ("ok", "     1\tcaf\ufffd")
        assert await call(ctx, "read_file", path="empty") == ("ok", "(the file is empty)")
        assert await call(ctx, "read_file", path="pipe") == ("error", "'pipe' is a pipe, not a file")
        assert await call(ctx, "read_file", path=".") == ("error", "'.' is the workspace's folder, not a file")
        assert await call(ctx, "read_file", path="gone") == ("error", "'gone' does not exist")


class TestWriteFile:
    async def test_create_and_replace(self, ctx: ToolContext, root: Path) -> None:
        assert (await call(ctx, "write_file", path="a/b.txt", content="grün\n"))[0] == "ok"
        assert (root / "a/b.txt").read_text() == "grün\n"
        assert (await call(ctx, "write_file", path="a/b.txt", content="new"))[0] == "ok"
        assert (root / "a/b.txt").read_text() == "new"

    async def test_an_unread_or_changed_file_is_not_overwritten(self, ctx: ToolContext, root: Path) -> None:
        (root / "f").write_text("precious")
        outcome, text = await call(ctx, "write_file", path="f", content="x")
        assert (outcome, "read_file" in text) == ("error", True)
        await call(ctx, "read_file", path="f")
        (root / "f").write_text("changed meanwhile")
        outcome, text = await call(ctx, "write_file", path="f", content="x")
        assert (outcome, "changed since you read it" in text) == ("error", True)
        assert (root / "f").read_text() == "changed meanwhile"
        await call(ctx, "read_file", path="f")
        assert (await call(ctx, "write_file", path="f", content="x"))[0] == "ok"

    async def test_twice_is_once(self, ctx: ToolContext, root: Path) -> None:
        await call(ctx, "write_file", path="f", content="same")
        before = (root / "f").stat()
        assert (await call(again(ctx, seen={}), "write_file", path="f", content="same"))[0] == "ok"
        after = (root / "f").stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    async def test_surrogates_do_not_break_it(self, ctx: ToolContext, root: Path) -> None:
        assert (await run_tool(TOOLS["write_file"], ctx, '{"path": "f", "content": "a\\ud83d\\ude00b"}'))[0] == "ok"
        assert (root / "f").read_text() == "a😀b"

    async def test_a_cancelled_write_is_over_when_it_says_so(self, ctx: ToolContext, root: Path) -> None:
        for number in range(10):
            task = asyncio.create_task(call(ctx, "write_file", path=f"f{number}", content="x" * 100_000))
            await asyncio.sleep(0.0005 * number)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            before = sorted((name, (root / name).stat().st_size) for name in os.listdir(root))
            await asyncio.sleep(0.02)
            assert sorted((name, (root / name).stat().st_size) for name in os.listdir(root)) == before
            assert all(size == 100_000 for _, size in before)


class TestEditFile:
    async def edit(self, ctx: ToolContext, root: Path, before: bytes, **arguments: Any) -> tuple[str, str, bytes]:
        (root / "f").write_bytes(before)
        await call(ctx, "read_file", path="f")
        outcome, text = await call(ctx, "edit_file", path="f", **arguments)
        return outcome, text, (root / "f").read_bytes()

    async def test_one_place(self, ctx: ToolContext, root: Path) -> None:
        assert await self.edit(ctx, root, b"a b c", old="b", new="$1 \\1") == (
            "ok",
            "Edited f (1 replacement)",
            b"a $1 \\1 c",
        )

    @pytest.mark.parametrize(
        ("before", "old", "word"),
        [
            (b"abc", "x", "does not occur"),
            (b"aXbX", "X", "2 times"),
            (b"aaa", "aa", "2 times"),
            (b"abc", "", "empty"),
            (b"a\0c", "c", "binary"),
            (b"a  b", "a b", "does not occur"),
        ],
    )
    async def test_refusals(self, ctx: ToolContext, root: Path, before: bytes, old: str, word: str) -> None:
        outcome, text, after = await self.edit(ctx, root, before, old=old, new="new")
        assert outcome == "error"
        assert word in text
        assert after == before

    async def test_same_text_is_refused(self, ctx: ToolContext, root: Path) -> None:
        assert (await self.edit(ctx, root, b"abc", old="b", new="b"))[0] == "error"

    async def test_everywhere(self, ctx: ToolContext, root: Path) -> None:
        assert (await self.edit(ctx, root, b"xaxax", old="x", new="", replace_all=True))[2] == b"aa"

    async def test_line_ends_and_foreign_bytes_are_kept(self, ctx: ToolContext, root: Path) -> None:
        assert (await self.edit(ctx, root, b"a\r\nb\r\n", old="a\nb", new="1\n2\n3"))[2] == b"1\r\n2\r\n3\r\n"
        assert (await self.edit(ctx, root, b"a\r\nb\nc", old="b", new="x\ny"))[2] == b"a\r\nx\ny\nc"
        assert (await self.edit(ctx, root, b"caf\xe9 one", old="one", new="two"))[2] == b"caf\xe9 two"

    async def test_only_what_was_read(self, ctx: ToolContext, root: Path) -> None:
        (root / "f").write_text("one")
        outcome, text = await call(ctx, "edit_file", path="f", old="one", new="two")
        assert (outcome, "read_file" in text) == ("error", True)
        await call(ctx, "read_file", path="f")
        assert (await call(ctx, "edit_file", path="f", old="one", new="two"))[0] == "ok"
        assert (await call(ctx, "edit_file", path="f", old="two", new="three"))[0] == "ok"
        (root / "f").write_text("three changed")
        assert (await call(ctx, "edit_file", path="f", old="three", new="four"))[0] == "error"

    @pytest.mark.parametrize("everywhere", [False, True])
    async def test_a_second_attempt_does_not_apply_it_twice(
        self, ctx: ToolContext, root: Path, everywhere: bool
    ) -> None:
        (root / "f").write_text("x = 1\nrest\n")
        await call(ctx, "read_file", path="f")
        known = dict(ctx.seen)
        arguments = {"path": "f", "old": "x = 1", "new": "x = 1\ny = 2", "replace_all": everywhere}
        await call(ctx, "edit_file", **arguments)
        once = (root / "f").read_text()
        assert once == "x = 1\ny = 2\nrest\n"

        outcome, text = await call(again(ctx, seen=dict(known)), "edit_file", **arguments)
        assert (outcome, "earlier attempt" in text) == ("ok", True)
        assert (root / "f").read_text() == once
        assert (await call(again(ctx, seen={}), "edit_file", **arguments))[0] == "error"
        assert (root / "f").read_text() == once

    async def test_a_second_attempt_applies_what_the_first_did_not(self, ctx: ToolContext, root: Path) -> None:
        (root / "f").write_text("x = 1\n")
        await call(ctx, "read_file", path="f")
        assert (await call(again(ctx), "edit_file", path="f", old="1", new="11"))[0] == "ok"
        assert (root / "f").read_text() == "x = 11\n"

    @settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.text("ab\n", max_size=12), st.text("ab\n", min_size=1, max_size=3), st.text("ab\n", max_size=3))
    def test_it_is_replace_or_nothing(self, tmp_path_factory: Any, before: str, old: str, new: str) -> None:
        async def check() -> None:
            from roost.sandbox.host_process import ProcessSandbox
            from roost.workspace.files import Workspace

            async def emit(name: str, data: Any) -> None:
                return None

            folder = tmp_path_factory.mktemp("edit")
            workspace = Workspace(folder, private=True)
            sandbox = ProcessSandbox(marker="edit")
            ctx = ToolContext(
                session="s", call="c", key="k", attempt=1, workspace=workspace, sandbox=sandbox, seen={}, emit=emit
            )
            outcome, _, after = await self.edit(ctx, folder, before.encode(), old=old, new=new)
            places = sum(before.startswith(old, at) for at in range(len(before)))
            if places == 1 and old != new:
                assert (outcome, after.decode()) == ("ok", before.replace(old, new))
            else:
                assert (outcome, after.decode()) == ("error", before)

        asyncio.run(check())


class TestBrowse:
    @pytest.fixture(autouse=True)
    def tree(self, root: Path) -> None:
        for name in ("src/app.py", "src/deep/util.py", "docs/a.md", ".git/objects/x.py", "top.py", "src/a b.txt"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("12345")

    async def test_list(self, ctx: ToolContext) -> None:
        assert await call(ctx, "list_files") == ("ok", ".git/\ndocs/\nsrc/\ntop.py  5")
        assert (await call(ctx, "list_files", path="src", depth=2))[1] == (
            "a b.txt  5\napp.py  5\ndeep/\ndeep/util.py  5"
        )
        assert (await call(ctx, "list_files", path="top.py"))[0] == "error"
        assert (await call(ctx, "list_files", path="nope")) == ("error", "'nope' does not exist")

    async def test_list_is_capped(self, ctx: ToolContext, root: Path) -> None:
        (root / "many").mkdir()
        for number in range(600):
            (root / "many" / f"{number:04}").touch()
        text = (await call(ctx, "list_files", path="many"))[1]
        assert text.count("\n") == 500
        assert "more than 500" in text
        (root / "empty").mkdir()
        assert (await call(ctx, "list_files", path="empty"))[1] == "(the folder is empty)"

    async def test_glob(self, ctx: ToolContext, root: Path) -> None:
        assert (await call(ctx, "glob", pattern="**/*.py"))[1] == "src/app.py\nsrc/deep/util.py\ntop.py"
        assert (await call(ctx, "glob", pattern="*.{py,md}"))[1] == "top.py"
        assert (await call(ctx, "glob", pattern="*.md", path="docs"))[1] == "docs/a.md"
        assert "**/*.md" in (await call(ctx, "glob", pattern="*.md"))[1]
        assert (await call(ctx, "glob", pattern="../*"))[0] == "error"
        for number in range(1100):
            (root / "docs" / f"{number}.x").touch()
        assert "more than 1000" in (await call(ctx, "glob", pattern="**/*.x"))[1]


class TestGrep:
    async def test_matches_with_context_and_filter(self, ctx: ToolContext, root: Path) -> None:
        (root / "a.py").write_text("zero\none\nneedle here\nthree\nfour\n")
        (root / "b.txt").write_text("a NEEDLE\r\n")
        (root / "sub").mkdir()
        (root / "sub" / "c.py").write_text("needle")
        (root / "binary").write_bytes(b"needle\0")
        (root / ".git").mkdir()
        (root / ".git" / "x").write_text("needle")
        assert (await call(ctx, "grep", pattern="needle"))[1] == "a.py:3: needle here\nsub/c.py:1: needle"
        assert (await call(ctx, "grep", pattern="needle$", ignore_case=True, files="*.txt"))[1] == "b.txt:1: a NEEDLE"
        assert (await call(ctx, "grep", pattern="ne+dle", context=1, files="a.*"))[1] == (
            "a.py-2- one\na.py:3: needle here\na.py-4- three"
        )
        assert (await call(ctx, "grep", pattern="needle", path="sub"))[1] == "sub/c.py:1: needle"
        assert (await call(ctx, "grep", pattern="needle", path="a.py"))[1] == "a.py:3: needle here"
        assert (await call(ctx, "grep", pattern="nothing"))[1] == "No match"
        assert (await call(ctx, "grep", pattern="x", path="gone"))[0] == "error"

    async def test_separate_groups_of_context(self, ctx: ToolContext, root: Path) -> None:
        (root / "f").write_text("".join(f"{'hit' if n in (2, 3, 9) else 'no'} {n}\n" for n in range(12)))
        assert (await call(ctx, "grep", pattern="hit", context=1))[1].splitlines() == [
            "f-2- no 1",
            "f:3: hit 2",
            "f:4: hit 3",
            "f-5- no 4",
            "--",
            "f-9- no 8",
            "f:10: hit 9",
            "f-11- no 10",
        ]

    async def test_a_wrong_pattern_is_explained(self, ctx: ToolContext, root: Path) -> None:
        (root / "f").write_text("x")
        outcome, text = await call(ctx, "grep", pattern="(x")
        assert outcome == "error"
        assert "not a regular expression" in text

    async def test_a_catastrophic_pattern_ends_and_keeps_what_was_found(
        self, ctx: ToolContext, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("roost.tools.grep._SECONDS", 5.0)
        (root / "a").write_text("aaab\n")
        (root / "b").write_text("a" * 60 + "!\n")
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.05)
                ticks += 1

        ticker = asyncio.create_task(tick())
        started = time.monotonic()
        outcome, text = await call(ctx, "grep", pattern="^(a+)+b$")
        ticker.cancel()
        assert time.monotonic() - started < 60
        assert ticks > 30
        assert outcome == "ok"
        assert re.match(r"a:1: aaab\n\[stopped after \d+ s: simplify", text)

    async def test_output_is_capped(self, ctx: ToolContext, root: Path) -> None:
        (root / "many").write_text("match\n" * 10_000)
        (root / "long").write_text("match" + "x" * 1_000_000)
        text = (await call(ctx, "grep", pattern="match"))[1]
        assert len(text) < 20_000
        assert "more matches left out" in text

    async def test_hostile_names(self, ctx: ToolContext, root: Path) -> None:
        for name in (b"new\nline", b"bad\xff", b"-rf"):
            (root / os.fsdecode(name)).write_text("needle")
        text = (await call(ctx, "grep", pattern="needle"))[1]
        assert sorted(text.splitlines()) == ["-rf:1: needle", "bad\\xff:1: needle", "new\\nline:1: needle"]


class TestShell:
    async def test_output(self, ctx: ToolContext, root: Path) -> None:
        outcome, text = await call(ctx, "shell", command="echo out; echo err >&2; pwd; exit 4")
        assert (outcome, text) == ("ok", f"out\n{root}\n[stderr]\nerr\n[exit code 4]")
        assert (await call(ctx, "shell", command="true"))[1] == "(no output, exit code 0)"
        assert (await call(ctx, "shell", command="kill -9 $$"))[1] == "[killed by signal 9]"

    async def test_timeout(self, ctx: ToolContext) -> None:
        outcome, text = await call(ctx, "shell", command="echo start; sleep 60", timeout=0.3)
        assert (outcome, text) == ("error", "start\n[killed: not finished after 0.3 seconds]")
        assert (await call(ctx, "shell", command="true", timeout=0))[0] == "error"
        assert (await call(ctx, "shell", command="true", timeout=100_000))[0] == "error"

    async def test_a_flood_is_cut(self, ctx: ToolContext) -> None:
        text = (await call(ctx, "shell", command="head -c 10000000 /dev/zero | tr '\\0' x; echo end"))[1]
        assert len(text) < 32_000
        assert text.endswith("xxxend")

    async def test_odd_commands(self, ctx: ToolContext) -> None:
        assert "null byte" in (await call(ctx, "shell", command="echo a\0b"))[1]
        assert "syntax error" in (await call(ctx, "shell", command="("))[1].lower()
        assert (await call(ctx, "shell", command=""))[1] == "(no output, exit code 0)"
        assert (await call(ctx, "shell", command="echo \ud800"))[0] == "error"

    async def test_no_secret_and_no_leftover(self, ctx: ToolContext, root: Path) -> None:
        os.environ["SOME_API_KEY"] = "sk-hidden"
        try:
            text = (await call(ctx, "shell", command="env; (setsid sh -c 'sleep 1; touch late' &)"))[1]
        finally:
            del os.environ["SOME_API_KEY"]
        assert "sk-hidden" not in text
        await asyncio.sleep(1.3)
        assert not (root / "late").exists()
