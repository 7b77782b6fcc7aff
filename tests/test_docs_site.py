"""The site of the docs: every page is in the nav, every link leads somewhere, and reference pages are complete."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools.cli_reference import commands, options

from roost.cli.main import roost
from roost.kernel.settings import KEYS
from roost.log.events import event_type, event_types
from roost.tools.builtin import BUILTIN
from tools import agent_reference

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "dev" not in path.relative_to(DOCS).parts)
TEXTS = [*PAGES, *(DOCS / "dev").glob("*.md"), ROOT / "README.md", ROOT / "AGENTS.md", ROOT / "deploy" / "README.md"]
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+?)\s*$", re.MULTILINE)
_CODE = re.compile(r"^(```+).*?^\1|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_INTERNAL = {
    "ROOST_DOORS",
    "ROOST_MAX_MEMORY",
    "ROOST_SANDBOX",
    "ROOST_MODEL_",
    "ROOST_WORKSPACE",
    "ROOST_CALL_KEY",
    "ROOST_MCP_KEY",
    "ROOST_MCP_URL",
} | {"ROOST_SESSION_KEY"}
"""Variables that Roost sets for programs that it starts, and the beginning of a message."""


def nav_of(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for one in entry.values() if isinstance(entry, dict) else entry:
            yield from nav_of(one)


@cache
def anchors(path: Path) -> set[str]:
    """The anchors that MkDocs and GitHub both make from the headings of a page."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    plain = (re.sub(r"[^\w\- ]", "", heading.replace("`", "")) for heading in _HEADING.findall(text))
    return {re.sub(r" +", "-", heading.strip().lower()) for heading in plain}


def page(name: str) -> str:
    return (DOCS / "reference" / name).read_text()


def test_the_nav_has_each_page_once() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert sorted(nav_of(config["nav"])) == [path.relative_to(DOCS).as_posix() for path in PAGES]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    for target in _LINK.findall(_CODE.sub("", path.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        to = (path.parent / name).resolve() if name else path
        assert to.exists(), target
        assert path not in PAGES or to in PAGES, f"{target} is no page of the site; name it as code"
        assert not anchor or anchor in anchors(to), target


def test_paths_of_pages_in_texts_exist() -> None:
    files = [path for room in ("src", "tests", "bench", "tools", "deploy") for path in (ROOT / room).rglob("*")]
    readable = [path for path in files if path.suffix in (".py", ".toml", ".yaml", ".md", ".sh", ".service")]
    rooms = {path.parent.name for path in PAGES if path.parent != DOCS}
    moved = {path.name for path in PAGES if path.parent != DOCS}
    for path in [*readable, *TEXTS, ROOT / "DESIGN.md", ROOT / "Makefile", ROOT / "pyproject.toml"]:
        for room, name in re.findall(r"(?<![\w./-])docs/(?:([a-z]+)/)?([\w-]+\.md)", path.read_text()):
            if room in rooms or (not room and name in moved):
                assert (DOCS / room / name).exists(), f"{path.relative_to(ROOT)} names docs/{room}/{name}"


def test_each_command_and_option_is_in_the_reference() -> None:
    text = page("cli.md")
    for words, command in commands(roost):
        _, found, rest = text.partition(f" roost {' '.join(words)}\n")
        assert found, f"roost {' '.join(words)}: run python -m tools.cli_reference"
        section = rest.partition("\n##")[0]
        for option in options(command):
            name = max(option.opts, key=len)
            assert re.search(rf"{re.escape(name)}\b", section), f"roost {' '.join(words)} {name}"


def test_each_event_is_in_the_reference() -> None:
    told = set(
        re.findall(
            r"`([a-z_.]+)`", "".join(line.split("|")[1] for line in page("events.md").splitlines() if "|" in line)
        )
    )
    assert {event_type(event) for event in event_types()} - told == set()


def test_each_tool_is_in_the_reference() -> None:
    assert {name for name in BUILTIN if f"`{name}`" not in page("tools.md")} == set()


def test_the_options_of_an_agent_in_the_reference_are_those_of_the_code() -> None:
    assert page("agent-file.md") == agent_reference.page(), "run python -m tools.agent_reference"


def test_each_setting_is_in_the_reference() -> None:
    text = page("configuration.md")
    sources = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py") if "testing" not in path.parts)
    variables = set(re.findall(r"\bROOST_[A-Z_]+", sources)) - _INTERNAL
    assert {name for name in (*KEYS, *variables) if f"`{name}`" not in text} == set()


def test_the_glossary_is_in_order() -> None:
    terms = re.findall(r"^- \*\*(.+?)\*\*", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    assert len(terms) >= 60
    assert terms == sorted(terms, key=str.lower)
