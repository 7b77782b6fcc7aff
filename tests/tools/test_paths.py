"""Ways out of a workspace by path, from a list: no file tool takes one, nor when folders are swapped meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from roost.tools.base import ToolContext
from roost.tools.builtin import builtin_tools
from roost.tools.run_tool import run_tool

_CORPUS = Path(__file__).with_name("corpus") / "paths.txt"
_ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|(.))")
_PLAIN = {"n": "\n", "0": "\0", "\\": "\\"}
SECRET = "what lies outside"
TOOLS: dict[str, dict[str, Any]] = {
    "read_file": {"path": "?"},
    "write_file": {"path": "?", "content": "mine"},
    "edit_file": {"path": "?", "old": "outside", "new": "mine"},
    "edit_files": {"changes": [{"path": "?", "content": "mine"}]},
    "list_files": {"path": "?"},
    "glob": {"pattern": "**/*", "path": "?"},
    "grep": {"pattern": "lies", "path": "?"},
    "analyze_code": {"path": "?"},
}
"""Each with its arguments."""


def cases() -> list[tuple[str, str]]:
    made: list[tuple[str, str]] = []
    for line in _CORPUS.read_text().splitlines():
        if line and not line.startswith("#"):
            expected, _, text = line.partition("\t")
            text = _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _PLAIN[m[2]], text)
            if (many := re.fullmatch(r"x(\d+)\*(.*)", text)) is not None:
                text = many[2] * int(many[1])
            made.append((expected, text))
    return made


@pytest.fixture
def outside(ctx: ToolContext) -> Path:
    root, outside = ctx.workspace.root, ctx.workspace.root.parent / "outside"
    for folder in (outside, root.parent / "work-too", root.parent / "inside-too", root / "folder", root / "deep"):
        folder.mkdir()
    (outside / "secret").write_text(SECRET)
    (root / "file").write_text("mine")
    for name, target in {
        "out": "../outside", "way": "../outside/secret", "up": "..", "round": "round", "deep/out": "../../outside",
        "slash": "/", "proc": "/proc/self/root", "dangling": "../outside/new",
    }.items():  # fmt: skip
        (root / name).symlink_to(target)
    os.link(outside / "secret", root / "hard")
    return outside


def seen(outside: Path) -> dict[str, str]:
    """What is beside the workspace, but for where its changes are noted."""
    found = [*outside.parent.glob("[!n]*"), *outside.rglob("*"), *outside.parent.glob("*-too/*")]
    return {str(path): path.read_text() if path.is_file() else "" for path in found}


async def used(ctx: ToolContext, name: str, path: str) -> tuple[str, str]:
    arguments = json.loads(json.dumps(TOOLS[name]).replace('"?"', json.dumps(path)))
    outcome, parts = await run_tool(builtin_tools()[name], ctx, json.dumps(arguments))
    return outcome, "".join(part.text for part in parts)  # pyright: ignore


@pytest.mark.parametrize("name", TOOLS)
async def test_no_path_leads_out(ctx: ToolContext, outside: Path, name: str) -> None:
    before = seen(outside)
    for expected, text in cases():
        path = text.replace("{root}", str(ctx.workspace.root)).replace("{outside}", str(outside))
        outcome, said = await used(ctx, name, path)
        if expected == "refused":
            assert outcome == "error", (text, said)
        if expected != "twin":
            assert SECRET not in said, (text, said)
        assert seen(outside) == before, text


@contextmanager
def swapping(ctx: ToolContext, outside: Path) -> Iterator[None]:
    """`name` is by turns a folder of the workspace and a link out of it; `real` and `other` are two that are there."""
    root, stop = ctx.workspace.root, threading.Event()
    (root / "name").mkdir()
    (root / "name" / "secret").write_text("mine")

    def swap() -> None:
        while not stop.is_set():
            (root / "name").rename(root / "kept")
            try:
                (root / "name").symlink_to(outside)
                (root / "name").unlink()
                (root / "kept").rename(root / "name")
            except OSError:  # a tool has made the folder meanwhile
                shutil.rmtree(root / "kept")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("name", [name for name in TOOLS if name not in ("grep", "analyze_code")])
async def test_nor_when_a_folder_becomes_a_link_meanwhile(ctx: ToolContext, outside: Path, name: str) -> None:
    before = seen(outside)
    (outside / "only-there").touch()
    with swapping(ctx, outside):
        for number in range(150):
            for path in ("name/secret", f"name/new{number % 3}") if "path" in str(TOOLS[name]) else ():
                _, said = await used(ctx, name, "name" if name in ("list_files", "glob") else path)
                assert SECRET not in said
                assert "only-there" not in said
            await asyncio.sleep(0)
    (outside / "only-there").unlink()
    assert {path: text for path, text in seen(outside).items() if "outside" in path} == {
        path: text for path, text in before.items() if "outside" in path
    }
