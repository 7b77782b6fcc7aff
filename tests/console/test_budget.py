"""What the console may cost: bytes, files, requests until the first view."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
from tests.server.conftest import Served

from roost.doors.console.assets import FOLDER, PAGE, read_assets

OWN_BYTES = 150_000
"""Compressed, of our own files. With those of others, such as a terminal's, it is 400 kB."""
FIRST_BYTES = 50_000
"""Compressed, of all that is loaded before the list of sessions shows."""


def test_the_files_are_small() -> None:
    assets = read_assets()
    packed = {name: len(one.packed) for name, one in {**assets.files, PAGE: assets.page}.items()}
    assert sum(size for name, size in packed.items() if not name.startswith("vendor/")) <= OWN_BYTES
    assert sum(packed.values()) <= 400_000
    first = sum(size for name, size in packed.items() if "/" not in name)
    assert first <= FIRST_BYTES


def test_files_of_others_are_those_that_were_published() -> None:
    """`static/vendor/*/README.md` names the packages that they are from."""
    found = {
        path.relative_to(FOLDER / "vendor").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (FOLDER / "vendor").rglob("*")
        if path.suffix in (".js", ".css")
    }
    assert found == {
        "xterm/addon-fit.js": "2d87e1bddc73be9111de8beee5370c3bb7aac9c94e18e6f245f02ca741ef1769",
        "xterm/xterm.css": "854a7c0fb70e8b1a083c16797ab827299fb18744f5ad34f227b48337e33293c6",
        "xterm/xterm.js": "b336ec65a086c056d4804b3d4c2347da5663d3f23c3f25be866467bd8857ad59",
    }
    assert all((folder / "LICENSE").exists() for folder in (FOLDER / "vendor").iterdir())


def test_nothing_parses_html_and_nothing_comes_from_elsewhere() -> None:
    for path in FOLDER.rglob("*.js"):
        if "vendor" in path.parts:
            continue
        text = path.read_text()
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "DOMParser",
        ):
            assert word not in text, f"{path.name} has {word}"
        assert re.findall(r"""(?:from|import\()\s*["'](?!\.{1,2}/)""", text) == [], path.name
        assert len(text.splitlines()) <= 600, path.name


def test_a_view_asks_for_what_it_needs_once(serve: Any, console: Any) -> None:
    expect: Any = pytest.importorskip("playwright.sync_api").expect
    served: Served = serve()
    served.session(title="One")
    made = console(served).sign_in()
    page = made.page
    expect(page.locator(".row:not(.head)")).to_have_count(1, timeout=60_000)
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url.removeprefix(served.url)))
    page.reload()
    expect(page.locator(".row:not(.head)")).to_have_count(1, timeout=60_000)
    files = [one for one in asked if "/files/" in one]
    calls = [one.partition("?")[0] for one in asked if "/files/" not in one and one not in ("/", "/#/sessions")]
    assert len(set(files)) <= 20
    assert len([one for one in calls if one in ("/me", "/sessions", "/console/changes")]) == 3
