"""The page of error codes has every code that the product raises, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
_BY_STATE = {"session_stopped", "session_error"}
"""Made from a session's state."""


def codes_of(tree: ast.Module) -> Iterator[object]:
    """Values of `code=`, second arguments of `Refused` and `problem`, and class attributes named `code`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from (each.value.value for each in node.keywords if each.arg == "code" and _is_text(each.value))
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in ("Refused", "problem", "_refuse") and len(node.args) > 1 and _is_text(node.args[1]):
                yield node.args[1].value
        if isinstance(node, ast.ClassDef):
            for each in (one for one in node.body if isinstance(one, ast.Assign)):
                names, value = each.targets[0], each.value
                if isinstance(names, ast.Tuple) and isinstance(value, ast.Tuple):
                    names, value = names.elts[0], value.elts[0]
                if getattr(names, "id", "") == "code" and _is_text(value):
                    yield value.value


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_every_code_is_on_its_page() -> None:
    files = [path for path in (ROOT / "src" / "roost").rglob("*.py") if "testing" not in path.parts]
    texts = [text for path in files if re.search(r"\bcode\b|Refused|problem|_refuse", text := path.read_text())]
    found = {str(code) for text in texts for code in codes_of(ast.parse(text))}
    raised = {code for code in found if re.fullmatch(r"[a-z][a-z_]+", code)} | _BY_STATE
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    told = {
        code
        for line in page.splitlines()
        if line.startswith("| `")
        for code in re.findall(r"`([a-z_]+)`", line.split("|")[1])
    }
    assert sorted(raised - told) == []
    assert sorted(told - raised) == []
