"""Skills are validated as the specification's reference validator does."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.features.packages.skill_format import FrontMatterError, read
from roost.features.packages.skill_validation import validate

reference = pytest.importorskip("skills_ref.validator")
PUBLIC = Path(__file__).parents[1] / "public_skills"
LONG = "x" * 1025
FIELDS = [
    "name: a-skill\ndescription: Does it.",
    "name: a-skill\ndescription: Does it.\nlicense: MIT\ncompatibility: any\nallowed-tools: Bash(git:*) Read",
    "name: a-skill\ndescription: Does it.\nmetadata:\n  author: me\n  version: '1.0'",
    "name: a-skill\ndescription: >\n  Does\n  it.",
    "name: a-skill\ndescription: |\n  Does\n  it.",
    "name: a-skill\ndescription: 'Does: it.'",
    "name: a-skill\ndescription: 1",
    "name: 7\ndescription: yes",
    "name: a-skill",
    "description: Does it.",
    "name:\ndescription: Does it.",
    "name: a-skill\ndescription:",
    "name: '  '\ndescription: '  '",
    "name: A-Skill\ndescription: Does it.",
    "name: -a\ndescription: Does it.",
    "name: a-\ndescription: Does it.",
    "name: a--b\ndescription: Does it.",
    "name: a_b\ndescription: Does it.",
    "name: a b\ndescription: Does it.",
    "name: ../x\ndescription: Does it.",
    "name: über\ndescription: Does it.",
    "name: 技能\ndescription: Does it.",
    "name: ﬁle\ndescription: Does it.",
    f"name: {'a' * 65}\ndescription: Does it.",
    f"name: a-skill\ndescription: {LONG}",
    f"name: a-skill\ndescription: Does it.\ncompatibility: {'x' * 501}",
    "name: a-skill\ndescription: Does it.\ncompatibility:\n  - a",
    "name: a-skill\ndescription:\n  - a",
    "name:\n  a: b\ndescription: Does it.",
    "name: a-skill\ndescription: Does it.\nversion: 1\nzebra: 2",
    "- a\n- b",
    "just text",
    "",
]
BROKEN = [
    "name: a-skill\ndescription: Use when: the user asks",
    "name: a-skill\nname: b\ndescription: Does it.",
    "name: a-skill\ndescription: Does it.\nallowed-tools: [Read, Grep]",
    "name: a-skill\ndescription: Does it.\nmetadata: {a: b}",
    "name: &a a-skill\ndescription: *a",
    "name: !!str a-skill\ndescription: Does it.",
    "name: [",
    "\tname: a-skill",
]


def written(folder: Path, text: str) -> Path:
    here = folder / "a-skill"
    here.mkdir(exist_ok=True)
    (here / "SKILL.md").write_text(text)
    return here


@pytest.mark.parametrize("fields", FIELDS)
def test_the_findings_are_those_of_the_reference(fields: str, tmp_path: Path) -> None:
    here = written(tmp_path, f"---\n{fields}\n---\n\nDo it.\n")
    assert validate(here) == reference.validate(here)


@pytest.mark.parametrize("fields", BROKEN)
def test_what_the_reference_cannot_parse_is_refused(fields: str, tmp_path: Path) -> None:
    """The texts differ: they are those of the parser."""
    here = written(tmp_path, f"---\n{fields}\n---\n\nDo it.\n")
    for found in (validate(here), reference.validate(here)):
        assert len(found) == 1
        assert found[0].startswith("Invalid YAML in frontmatter: ")


@pytest.mark.parametrize("text", ["", "name: x", "---\nname: x\n", "--", "----\nname: a-skill\n----\n"])
def test_a_file_without_front_matter(text: str, tmp_path: Path) -> None:
    here = written(tmp_path, text)
    assert validate(here)
    assert reference.validate(here)


def test_folders_that_are_no_skills(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "none", tmp_path / "file", tmp_path):
        assert validate(place) == reference.validate(place)


@pytest.mark.parametrize("name", ["internal-comms", "webapp-testing"])
def test_public_skills_are_valid(name: str) -> None:
    assert validate(PUBLIC / name) == reference.validate(PUBLIC / name) == []


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        found = read(f"---\n{text}\n---\nbody")
    except FrontMatterError:
        return
    assert isinstance(found.fields, dict)


def test_what_other_products_accept_is_read(tmp_path: Path) -> None:
    """A colon in a value without quotes, lists in brackets, a byte order mark, ends of lines of Windows."""
    assert read("---\nname: a\ndescription: Use when: asked\n---\nx").fields["description"] == "Use when: asked"
    assert read("\ufeff---\r\nname: a\r\nallowed-tools: [Read]\r\n---\r\nx\r\n").body == "x"
    with pytest.raises(FrontMatterError, match="aliases"):
        read("---\na: &a [x]\nb: *a\n---\n")


@pytest.mark.parametrize("header", ["a: " + "[" * 4_000, "a: " + "{a: " * 40, "x" * 9_000])
def test_a_front_matter_that_costs_much_is_not_parsed(header: str) -> None:
    """The cost of nesting grows with its square; it is parsed as each turn begins."""
    with pytest.raises(FrontMatterError, match=r"deep|more than"):
        read(f"---\n{header}\n---\nx")
