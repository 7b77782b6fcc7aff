"""`edit_files`: several files at once, all or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roost.policy.gate import GateCall, LayeredGate
from roost.policy.rules import Rule
from roost.tools.base import ToolContext
from roost.tools.builtin import builtin_tools
from roost.tools.run_tool import run_tool
from roost.workspace.files import Workspace

TOOLS = builtin_tools()


async def call(ctx: ToolContext, name: str, **arguments: Any) -> tuple[str, str]:
    outcome, parts = await run_tool(TOOLS[name], ctx, json.dumps(arguments))
    return outcome, "".join(part.text for part in parts)  # pyright: ignore


@pytest.fixture
async def root(ctx: ToolContext) -> Path:
    root = ctx.workspace.root
    for name, text in (("a.txt", "one two one\n"), ("b.txt", "b\r\nc\r\n"), ("gone.txt", "x")):
        (root / name).write_bytes(text.encode())
        await call(ctx, "read_file", path=name)
    return root


def state(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


CHANGES: list[dict[str, Any]] = [
    {"path": "a.txt", "edits": [{"old": "two", "new": "2"}, {"old": "one", "new": "1", "replace_all": True}]},
    {"path": "b.txt", "edits": [{"old": "b\nc", "new": "d\ne"}]},
    {"path": "made/new.txt", "content": "new"},
    {"path": "gone.txt", "remove": True},
]


async def test_all_kinds_of_changes_at_once(ctx: ToolContext, root: Path) -> None:
    outcome, text = await call(ctx, "edit_files", changes=CHANGES)
    assert outcome == "ok", text
    assert text.splitlines() == [
        "Edited a.txt (3 replacements)",
        "Edited b.txt (1 replacement)",
        "Created made/new.txt (3 bytes)",
        "Removed gone.txt",
    ]
    assert state(root) == {"a.txt": b"1 2 1\n", "b.txt": b"d\r\ne\r\n", "made/new.txt": b"new"}
    outcome, text = await call(ctx, "edit_files", changes=[{"path": "a.txt", "edits": [{"old": "2", "new": "3"}]}])
    assert outcome == "ok", text  # it knows what it has written itself


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"path": "b.txt", "edits": [{"old": "nowhere", "new": "x"}]}, "does not occur"),
        ({"path": "unread.txt", "edits": [{"old": "u", "new": "x"}]}, "read it with read_file before"),
        ({"path": "unread.txt", "remove": True}, "read it with read_file before"),
        ({"path": "none.txt", "edits": [{"old": "u", "new": "x"}]}, "does not exist"),
        ({"path": "none.txt", "remove": True}, "does not exist"),
        ({"path": "../out.txt", "content": "x"}, "outside the workspace"),
        ({"path": "b.txt", "edits": [{"old": "b", "new": "x"}], "content": "y"}, "one of"),
        ({"path": "b.txt"}, "one of"),
        ({"path": "./a.txt", "content": "twice"}, "named twice"),
        ({"path": "changed.txt", "content": "x"}, "has changed since"),
        ({"path": "b.txt", "content": "x" * (17 * 1024 * 1024)}, "too many"),
        ({"path": "b.txt", "edit": []}, "no argument"),
    ],
)
async def test_nothing_changes_when_one_cannot(ctx: ToolContext, root: Path, change: dict[str, Any], why: str) -> None:
    (root / "unread.txt").write_text("u")
    (root / "changed.txt").write_text("before")
    await call(ctx, "read_file", path="changed.txt")
    (root / "changed.txt").write_text("after")
    before = state(root)
    outcome, text = await call(ctx, "edit_files", changes=[CHANGES[0], CHANGES[2], change])
    assert (outcome, why in text) == ("error", True), text
    assert state(root) == before
    assert not (root / "made").exists() or not list((root / "made").iterdir())


async def test_a_second_attempt_changes_nothing_twice(ctx: ToolContext, root: Path) -> None:
    more = [{"path": "a.txt", "edits": [{"old": "one two", "new": "one one two"}]}]
    assert (await call(ctx, "edit_files", changes=more))[0] == "ok"
    again = msgspec.structs.replace(ctx, attempt=2, seen={})
    outcome, text = await call(again, "edit_files", changes=more)
    assert (outcome, text) == ("ok", "Changed 1 files (in an earlier attempt)")
    assert state(root)["a.txt"] == b"one one two one\n"
    assert again.seen  # so that it may go on editing
    (root / "a.txt").write_text("somebody else's")
    outcome, text = await call(msgspec.structs.replace(again, seen={}), "edit_files", changes=more)
    assert (outcome, "read it" in text) == ("error", True)


async def test_a_workspace_without_notes_says_what_to_do(ctx: ToolContext, root: Path) -> None:
    bare = msgspec.structs.replace(ctx, workspace=Workspace(root, private=True))
    outcome, text = await call(bare, "edit_files", changes=CHANGES)
    assert (outcome, "edit_file and write_file" in text) == ("error", True)


@pytest.mark.parametrize("arguments", [{}, {"changes": 5}, {"changes": []}, {"changes": [5]}, {"changes": [{}]}])
async def test_wrong_arguments(ctx: ToolContext, root: Path, arguments: dict[str, Any]) -> None:
    reach = TOOLS["edit_files"].reach
    assert reach is not None
    reach(arguments, root)
    assert (await call(ctx, "edit_files", **arguments))[0] == "error"


def test_a_rule_about_one_of_the_paths_counts(tmp_path: Path) -> None:
    tool = TOOLS["edit_files"]
    assert tool.reach is not None
    gate = LayeredGate("all", {"user": [Rule(effect="deny", path="secret/**", access="write")]})

    def decide(*paths: str) -> str:
        arguments = {"changes": [{"path": path, "content": ""} for path in paths]}
        assert tool.reach is not None
        one = GateCall(
            session="s",
            call="c",
            tool=tool.name,
            arguments=json.dumps(arguments),
            safety=tool.safety,
            inside=tool.inside,
            private_workspace=True,
            root=tmp_path,
            touches=tool.reach(arguments, tmp_path),
        )
        return gate.decide(one).decision

    assert decide("a", "secret/b") == "deny"
    assert decide("a", "b") == "allow"
