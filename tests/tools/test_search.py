"""Searches that leave out what the policy holds back, and what ripgrep knows cannot match."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roost.policy.gate import Layer, LayeredGate
from roost.policy.rules import Rule
from roost.policy.system_rules import system_rules
from roost.runtime import Runtime
from roost.tools.base import ToolContext
from roost.tools.builtin import builtin_tools
from roost.tools.ripgrep import literal_of
from roost.tools.run_tool import run_tool

TOOLS = builtin_tools()


async def call(ctx: ToolContext, name: str, /, **arguments: Any) -> tuple[str, str]:
    outcome, parts = await run_tool(TOOLS[name], ctx, json.dumps(arguments))
    return outcome, "".join(part.text for part in parts)  # pyright: ignore


def under(ctx: ToolContext, **layers: list[Rule]) -> None:
    """As the kernel equips a session whose gate has these rules."""
    rules: dict[Layer, list[Rule]] = layers  # pyright: ignore
    gate = LayeredGate("workspace", rules)
    workspace = ctx.workspace
    workspace.unseen = lambda tool, searched: gate.unseen(tool, workspace.root, searched)


@pytest.fixture
def root(ctx: ToolContext) -> Path:
    root = ctx.workspace.root
    for name in ("a.py", ".env", "sub/.env", "sub/b.py", "secret/deep/c.py", "keys/x.pem", "keys/open.pem"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"needle in {name}\n")
    return root


def _found(text: str) -> list[str]:
    return sorted(line.partition(":")[0] for line in text.splitlines() if not line.startswith("["))


async def test_what_a_rule_denies_or_asks_about_is_not_searched(ctx: ToolContext, root: Path) -> None:
    everything = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    _, text = await call(ctx, "grep", pattern="needle")
    assert _found(text) == everything
    under(ctx, system=list(system_rules()))
    _, text = await call(ctx, "grep", pattern="needle")
    assert _found(text) == ["a.py", "secret/deep/c.py", "sub/b.py"]
    assert "[incomplete: what the policy holds back from searches]" in text
    under(
        ctx,
        user=[Rule(effect="allow", path="keys/open.pem"), Rule(effect="deny", path="secret/**")],
        system=list(system_rules()),
    )
    _, text = await call(ctx, "grep", pattern="needle")
    assert _found(text) == ["a.py", "keys/open.pem", "sub/b.py"]
    _, text = await call(ctx, "grep", pattern="needle", files="**/*.pem")
    assert _found(text) == ["keys/open.pem"]


async def test_other_rules_hold_nothing_back(ctx: ToolContext, root: Path) -> None:
    under(
        ctx,
        user=[
            Rule(effect="deny", path="**/.env", access="write"),
            Rule(effect="deny", path="**/.env", tool="read_file"),
            Rule(effect="deny", tool="shell"),
            Rule(effect="ask", command="rm", path="**/.env"),
        ],
    )
    _, text = await call(ctx, "grep", pattern="needle")
    assert ".env" in _found(text)
    assert "incomplete" not in text


async def test_a_folder_that_a_person_said_yes_to_is_searched(ctx: ToolContext, root: Path) -> None:
    """The rule asked about the folder itself; asking again for each file in it would make the answer worth nothing."""
    under(ctx, user=[Rule(effect="ask", path="secret/**"), Rule(effect="ask", path="secret/deep/none/**")])
    _, text = await call(ctx, "grep", pattern="needle", path="secret")
    assert _found(text) == ["secret/deep/c.py"]
    _, text = await call(ctx, "grep", pattern="needle")
    assert "secret/deep/c.py" not in _found(text)


async def test_lists_say_what_is_held_back(ctx: ToolContext, root: Path) -> None:
    (root / "secret-plans").mkdir()
    rules = [
        Rule(effect="deny", path="secret/**"),
        Rule(effect="deny", path="secret-plans"),
        Rule(effect="deny", path="a.py", tool="read_file"),
        Rule(effect="allow", path="keys/open.pem"),
    ]
    under(ctx, user=rules, system=list(system_rules()))
    _, text = await call(ctx, "list_files", depth=5)
    assert text.splitlines() == [
        ".env  15  [held back]",
        "a.py  15  [held back]",
        "keys/",
        "keys/open.pem  24",
        "keys/x.pem  21  [held back]",
        "sub/",
        "sub/.env  19  [held back]",
        "sub/b.py  19",
        "[2 held back by the policy]",
    ]
    _, text = await call(ctx, "glob", pattern="**/*.{py,pem}")
    assert text.splitlines() == [
        "a.py  [held back]",
        "keys/open.pem",
        "keys/x.pem  [held back]",
        "sub/b.py",
        "[2 held back by the policy]",
    ]
    _, text = await call(ctx, "list_files", path="sub")
    assert "b.py  19" in text
    assert "policy" not in text


async def test_a_name_that_nobody_may_know_is_in_no_list(ctx: ToolContext, root: Path) -> None:
    under(ctx, user=[Rule(effect="deny", path="**/*.pem", tool="list_files"), Rule(effect="ask", path="sub/**")])
    _, text = await call(ctx, "list_files", path="keys")
    assert text == "[2 held back by the policy]"
    _, text = await call(ctx, "glob", pattern="keys/*")
    assert "x.pem" in text


async def test_the_kernel_gives_sessions_such_a_workspace(tmp_path: Path) -> None:
    from roost.agent.definition import Agent

    agent = Agent("a", tools=["grep"], rules=[Rule(effect="deny", path="hidden/**")])
    async with Runtime(tmp_path, agents=[agent]) as runtime:
        means = runtime.node.resources.build("ses_x", agent.spec, None, read=runtime.node.store.logs.read)
        test = means.workspace.unseen("grep", means.workspace.root)
        assert test is not None
        root = means.workspace.root
        assert [test(f"{root}/{name}") for name in ("hidden/x", ".env", "x")] == ["deny", "ask", None]


@pytest.mark.parametrize(
    ("pattern", "ignore_case", "literal"),
    [
        ("needle", False, "needle"),
        (r"def \w+_suffix\(", False, "_suffix("),
        (r"a|needle", False, None),
        (r"(needle)", False, None),
        (r"needle?s", False, "needl"),
        (r"needle*", False, "needl"),
        (r"[n]eedle", False, "needle"),
        (r"^import os$", False, "import os"),
        (r"(?i)needle", False, None),
        (r"(?x) need le", False, "needle"),
        (r"Needle", True, "Needle"),
        (r"little things", True, "ttle th"),
        (r"\d+", False, None),
        (r"ab", False, None),
        (r"(", False, None),
        (r"größe_x", False, "e_x"),
        (r"", False, None),
    ],
)
def test_the_text_without_which_nothing_matches(pattern: str, ignore_case: bool, literal: str | None) -> None:
    assert literal_of(pattern, ignore_case=ignore_case) == literal


PATTERNS = [
    *("needle", "NEEDLE", r"needle\d+", "number 7$", r"^needle", r"\bneedle\b", r"n.edle 1", "needle|other"),
    *("größe", "keyſ", "KEY", r"a\\b", "-e x", r"needle(?= 3)", r"(?i)NEEDLE 5", "zzz-nowhere", "\ufffdneedle"),
]


@pytest.mark.long
@pytest.mark.skipif(shutil.which("rg") is None, reason="ripgrep is not installed")
@pytest.mark.parametrize("ignore_case", [False, True])
async def test_ripgrep_changes_no_answer(ctx: ToolContext, monkeypatch: pytest.MonkeyPatch, ignore_case: bool) -> None:
    root = ctx.workspace.root
    makers: list[Callable[[int], bytes]] = [
        lambda n: f"needle {n}\nother\n".encode(),
        lambda n: f"größe Ke\u212as keyſ kıng\r\nnumber {n}\r\n".encode(),
        lambda n: b"\xff\xfeneedle bad " + str(n).encode(),
        lambda n: b"needle\0binary",
        lambda n: "needle in sixteen".encode("utf-16"),
        lambda n: f"\ufeffneedle after a mark\na\\b -e x {n}\n".encode(),
    ]
    for number in range(84):  # each kind of file is twice in each folder
        folder = root / f"d{number % 7}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}.txt").write_bytes(makers[number % len(makers)](number))
    (root / ".gitignore").write_text("d1/\n")
    (root / ".git").mkdir()
    (root / ".git/needle").write_text("needle")
    (root / "d2/na\nme \u00e4.txt").write_text("needle strange\n")
    (root / ".hidden").write_text("needle hidden\n")
    (root / "link").symlink_to(root / "d1")
    with_rg = [await call(ctx, "grep", pattern=one, ignore_case=ignore_case) for one in PATTERNS]
    monkeypatch.setattr("shutil.which", lambda name: None)  # as on a machine without it
    without = [await call(ctx, "grep", pattern=one, ignore_case=ignore_case) for one in PATTERNS]
    assert with_rg == without
    assert "needle hidden" in without[0][1] or "left out" in without[0][1]
