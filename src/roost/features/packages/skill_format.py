"""Parse the front matter of a `SKILL.md`.

`read` accepts what other products accept, as far as it is safe. `read_strict` accepts what the reference validator
(`skills-ref`) accepts: a subset of YAML without flow style, anchors, tags and repeated keys, in which every scalar is a
text.

`yaml` is imported where it is used: a daemon that idles does not need it."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, cast

from roost.errors import Invalid
from roost.yaml_check import check_yaml

MOST = 8 * 1024
"""Most characters of a front matter."""
_FENCE = re.compile(r"^---[ \t]*$", re.MULTILINE)
_LINE = re.compile(r"^([A-Za-z][\w-]*):[ \t]+(?![\"'|>\[{&*!%@`#])(.*\S)[ \t]*$")


class FrontMatterError(Invalid):
    """The file has no front matter, or it cannot be parsed."""

    code = "skill_invalid"


class Parsed(NamedTuple):
    """fields: the front matter. body: the text below it, without the white space around it."""

    fields: dict[str, Any]
    body: str


def read(text: str) -> Parsed:
    """Parse leniently: a value with an unquoted colon counts as text. Raises `FrontMatterError`."""
    header, body = _split(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    try:
        fields = _load(header, strict=False)
    except FrontMatterError:
        fields = _load("\n".join(map(_with_quotes, header.split("\n"))), strict=False)
    return Parsed(fields, body)


def body_of(text: str) -> str:
    """Return the text below the front matter, without parsing that. Raises `FrontMatterError`."""
    return _split(text.removeprefix("\ufeff").replace("\r\n", "\n"))[1]


def read_strict(text: str) -> Parsed:
    """Parse as the reference validator does. Raises `FrontMatterError`."""
    header, body = _split(text.replace("\r\n", "\n"))
    return Parsed(_load(header, strict=True), body)


def _split(text: str) -> tuple[str, str]:
    if not text.startswith("---"):
        raise FrontMatterError("SKILL.md must start with YAML frontmatter (---)")
    end = _FENCE.search(text, 3)
    if end is None:
        raise FrontMatterError("SKILL.md frontmatter not properly closed with ---")
    if end.start() > MOST:
        raise FrontMatterError(f"Invalid YAML in frontmatter: it has more than {MOST} characters")
    return text[3 : end.start()], text[end.end() :].strip()


def _load(header: str, *, strict: bool) -> dict[str, Any]:
    import yaml

    try:
        check_yaml(header, MOST)
        if strict:
            _check_strictly(header)
        data: object = yaml.load(header, Loader=yaml.BaseLoader)  # makes texts, lists and mappings, no other objects
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FrontMatterError(f"Invalid YAML in frontmatter: {_told(error)}") from None
    if not isinstance(data, dict):
        raise FrontMatterError("SKILL.md frontmatter must be a YAML mapping")
    return cast("dict[str, Any]", data)


def _check_strictly(header: str) -> None:
    """Refuse what the reference validator refuses. Raises `ValueError`."""
    import yaml

    for event in yaml.parse(header, Loader=yaml.BaseLoader):
        if getattr(event, "anchor", None):
            raise ValueError("anchors are not allowed")
        if getattr(event, "flow_style", False):
            raise ValueError("flow style ([...] and {...}) is not allowed")
        if getattr(event, "tag", None):
            raise ValueError("tags are not allowed")
    _check_keys(yaml.compose(header, Loader=yaml.BaseLoader))


def _check_keys(node: Any) -> None:
    """Refuse a key that a mapping has twice. Raises `ValueError`."""
    import yaml

    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            _check_keys(each)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if str(key.value) in seen:
                raise ValueError(f"duplicate key {key.value!r}")
            seen.add(str(key.value))
            _check_keys(value)


def _with_quotes(line: str) -> str:
    """Quote a value that YAML would read as a mapping: `description: Use this when: the user asks`."""
    found = _LINE.match(line)
    return line if found is None else f"{found[1]}: {json.dumps(found[2], ensure_ascii=False)}"


def _told(error: Exception) -> str:
    import yaml

    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        return f"{error.problem or error.context}" + (f" in line {mark.line + 1}" if mark else "")
    return str(error) or "too deep"
