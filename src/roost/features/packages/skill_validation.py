"""Validate a skill's folder by the Agent Skills specification, with the findings of its reference validator
(`skills-ref validate`)."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roost.features.packages.skill_format import FrontMatterError, read_strict

MAX_NAME = 64
MAX_DESCRIPTION = 1024
MAX_COMPATIBILITY = 500
MAX_FILE = 1024 * 1024
"""Most bytes of a `SKILL.md`."""
FIELDS = ("allowed-tools", "compatibility", "description", "license", "metadata", "name")
FILES = ("SKILL.md", "skill.md")
"""Names of the file that makes a folder a skill, the better one first."""


def validate(folder: Path) -> list[str]:
    """Return what is wrong with the skill in `folder`; nothing if it is valid. Blocks."""
    if not folder.exists():
        return [f"Path does not exist: {folder}"]
    if not folder.is_dir():
        return [f"Not a directory: {folder}"]
    file = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if file is None:
        return ["Missing required file: SKILL.md"]
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            return [f"SKILL.md has more than {MAX_FILE} bytes"]
        fields, _ = read_strict(data.decode())
    except FrontMatterError as error:
        return [error.message]
    except UnicodeDecodeError as error:
        return [f"SKILL.md is not UTF-8 text (byte {error.start})"]
    return check_fields(fields, folder.name)


def check_fields(fields: Mapping[str, Any], folder: str) -> list[str]:
    """Return what is wrong with a front matter. folder: name of the skill's folder."""
    wrong: list[str] = []
    if extra := fields.keys() - {*FIELDS}:
        wrong.append(f"Unexpected fields in frontmatter: {', '.join(sorted(extra))}. Only {[*FIELDS]} are allowed.")
    missing = "Missing required field in frontmatter: "
    wrong += check_name(fields["name"], folder) if "name" in fields else [f"{missing}name"]
    wrong += _check_description(fields["description"]) if "description" in fields else [f"{missing}description"]
    if "compatibility" in fields:
        wrong += _check_compatibility(fields["compatibility"])
    return wrong


def check_name(given: object, folder: str | None = None) -> list[str]:
    """Return what is wrong with a skill's name. folder: the name that its folder has."""
    if not isinstance(given, str) or not given.strip():
        return ["Field 'name' must be a non-empty string"]
    name, wrong = unicodedata.normalize("NFKC", given.strip()), list[str]()
    if len(name) > MAX_NAME:
        wrong.append(f"Skill name '{name}' exceeds {MAX_NAME} character limit ({len(name)} chars)")
    if name != name.lower():
        wrong.append(f"Skill name '{name}' must be lowercase")
    if name.startswith("-") or name.endswith("-"):
        wrong.append("Skill name cannot start or end with a hyphen")
    if "--" in name:
        wrong.append("Skill name cannot contain consecutive hyphens")
    if not all(char.isalnum() or char == "-" for char in name):
        wrong.append(f"Skill name '{name}' contains invalid characters. Only letters, digits, and hyphens are allowed.")
    if folder is not None and unicodedata.normalize("NFKC", folder) != name:
        wrong.append(f"Directory name '{folder}' must match skill name '{name}'")
    return wrong


def _check_description(given: object) -> list[str]:
    if not isinstance(given, str) or not given.strip():
        return ["Field 'description' must be a non-empty string"]
    if len(given) > MAX_DESCRIPTION:
        return [f"Description exceeds {MAX_DESCRIPTION} character limit ({len(given)} chars)"]
    return []


def _check_compatibility(given: object) -> list[str]:
    if not isinstance(given, str):
        return ["Field 'compatibility' must be a string"]
    if len(given) > MAX_COMPATIBILITY:
        return [f"Compatibility exceeds {MAX_COMPATIBILITY} character limit ({len(given)} chars)"]
    return []
