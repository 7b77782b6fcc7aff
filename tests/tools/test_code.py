"""`analyze_code`, over real files of several languages, whole and broken."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from roost.policy.gate import LayeredGate
from roost.policy.rules import Rule
from roost.tools.base import ToolContext
from roost.tools.builtin import builtin_tools
from roost.tools.run_tool import run_tool

TOOL = builtin_tools()["analyze_code"]


async def analyze(ctx: ToolContext, path: str = ".") -> tuple[str, str]:
    outcome, parts = await run_tool(TOOL, ctx, json.dumps({"path": path}))
    return outcome, "".join(part.text for part in parts)  # pyright: ignore


def put(ctx: ToolContext, name: str, text: str | bytes) -> None:
    file = ctx.workspace.root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)


_PYTHON = '''\
import os, re
from .near import thing
from far.away import other

class Base: pass

class Box(Base, metaclass=type):
    """A box."""
    def open(self, how: str = "slowly", *rest: int) -> bool:
        if how and rest or how == "x":
            return [a for a in rest if a]
        for x in rest:
            try:
                pass
            except ValueError:
                pass
        return x if x else None

if True:
    async def main(): ...
'''


async def test_a_python_file(ctx: ToolContext) -> None:
    put(ctx, "pkg/box.py", _PYTHON)
    outcome, text = await analyze(ctx, "pkg/box.py")
    assert outcome == "ok"
    assert text.splitlines() == [
        "pkg/box.py: Python, 20 lines",
        "imports: os, re, .near, far.away",
        "5-5  class Base",
        "7-17  class Box(Base)",
        "9-17    def open(self, how: str='slowly', *rest: int) -> bool  [complexity 8]",
        "20-20  async def main()",
    ]


async def test_a_tree(ctx: ToolContext) -> None:
    put(ctx, "pkg/box.py", _PYTHON)
    put(ctx, "broken.py", "def f(:\n")
    put(ctx, "run.sh", "start() {\n  if true; then echo; fi\n}\n")
    put(ctx, "hard.py", "def hard(x):\n" + "    if x: pass\n" * 20)
    put(ctx, "empty.py", "")
    put(ctx, "zero.py", b"\0\0")
    put(ctx, "node_modules/lib/index.js", "function x() {}")
    put(ctx, "notes.txt", "no code")
    (ctx.workspace.root / "link.py").symlink_to("/etc/passwd")
    outcome, text = await analyze(ctx)
    assert outcome == "ok"
    assert text.splitlines() == [
        "broken.py (1 lines): syntax error at line 1: invalid syntax",
        "hard.py (21 lines): hard",
        "pkg/box.py (20 lines): Base, Box, main",
        "run.sh (3 lines): start",
        "zero.py: it is no text",
        "most complex: 21 hard.py:1 hard",
    ]


SOURCES = {
    "javascript": (
        "a.js",
        "import x from 'y';\nclass A extends B {\n  go(a, b) { if (a && b) { return a ? 1 : 2 } }\n}\n"
        "const f = async (x) => { for (;;) {} };\nfunction g() {}\n",
        [
            "imports: import x from 'y';",
            "class A extends B",
            "go(a, b)  [complexity 4]",
            "f = async (x)",
            "function g()",
        ],
    ),
    "typescript": (
        "a.tsx",
        "interface I { a: string }\nexport class A implements I { a = '' }\ntype T = I | null;\n",
        ["interface I", "class A implements I", "type T"],
    ),
    "go": (
        "a.go",
        'package a\nimport "fmt"\ntype T struct { x int }\n'
        "func (t *T) Go(n int) error {\n\tif n > 1 || n < 0 {\n\t}\n}\n",
        ['import "fmt"', "T struct", "func (t *T) Go(n int) error  [complexity 3]"],
    ),
    "rust": (
        "a.rs",
        "use std::io;\nstruct S;\nimpl S {\n  fn go(&self) -> i32 { match 1 { 1 => 2, _ => 3 } }\n}\n",
        ["use std::io;", "struct S", "impl S", "fn go(&self) -> i32  [complexity 3]"],
    ),
    "java": ("A.java", "import a.B;\nclass A {\n  int go() { while (true) {} }\n}\n", ["class A", "int go()"]),
    "bash": ("a.sh", "f() {\n  if a && b; then c; fi\n}\n", ["f()  [complexity 3]"]),
}


@pytest.mark.parametrize("language", SOURCES)
async def test_other_languages(ctx: ToolContext, language: str) -> None:
    if importlib.util.find_spec(f"tree_sitter_{language}") is None:
        pytest.skip("the extra `code` is not installed")
    name, source, expected = SOURCES[language]
    put(ctx, name, source)
    outcome, text = await analyze(ctx, name)
    assert outcome == "ok"
    for one in expected:
        assert one in text
    put(ctx, f"bad/{name}", source + "\n((( {{{ class\n")
    assert "syntax error at line" in (await analyze(ctx, "bad"))[1]


@pytest.mark.skipif(importlib.util.find_spec("tree_sitter_go") is not None, reason="the extra `code` is installed")
async def test_without_a_grammar_that_is_said(ctx: ToolContext) -> None:
    put(ctx, "a.go", "package a\n")
    assert "no grammar for Go is installed" in (await analyze(ctx, "a.go"))[1]


@pytest.mark.parametrize(
    "source",
    [
        *("(" * 100_000, "-" * 200_000 + "1", "x = " + "[" * 5000, "a" + ".a" * 100_000, "if x:\n" * 300),
        *(
            "\x0c" * 1000,
            "x = '\ud800'".encode("utf-8", "surrogatepass"),
            b"\xef\xbb\xbfx = 1\n",
            "# coding: nonsense\n",
        ),
        "1" + "+1" * 200_000,
    ],
)
async def test_what_is_hard_to_read_harms_nobody(ctx: ToolContext, source: str | bytes) -> None:
    put(ctx, "hostile.py", source)
    outcome, text = await analyze(ctx, "hostile.py")
    assert outcome == "ok"
    assert "hostile.py" in text or "incomplete" in text


@pytest.mark.parametrize("path", ["../x.py", "none.py", "notes.txt", "empty", "/etc"])
async def test_what_is_no_source(ctx: ToolContext, path: str) -> None:
    put(ctx, "notes.txt", "x")
    (ctx.workspace.root / "empty").mkdir()
    assert (await analyze(ctx, path))[0] == "error"


async def test_the_policy_holds_back_here_too(ctx: ToolContext, tmp_path: Path) -> None:
    put(ctx, "open.py", "a = 1\n")
    put(ctx, "closed/secret_name.py", "def secret_name(): ...\n")
    gate = LayeredGate("workspace", {"user": [Rule(effect="deny", path="closed/**")]})
    root = ctx.workspace.root
    ctx.workspace.unseen = lambda tool, searched: gate.unseen(tool, root, searched)
    _, text = await analyze(ctx)
    assert "open.py" in text
    assert "secret_name" not in text
    assert "holds back" in text
