"""Write docs/reference/agent-file.md from the definition of an agent: `python -m tools.agent_reference`, with --check
only compare.

An option is a field of `AgentSpec`, or of a struct on `Validated` that is an option. Its row has its name, the
docstring below the field, the words that it may be, and its default. A docstring may end with `Default: …` where the
value does not say what it means. `docs/PAGE.md` in a docstring becomes a link.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import msgspec

from roost.agent.definition import AgentSpec
from roost.validated import Validated, choices

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "agent-file.md"
_HEAD = """# Agent file

```toml
# agents/clerk.toml
instructions = "You answer questions from the files in your folder."
tools = ["read_file", "grep", "read_history"]
permissions = "read_only"
limits = { steps = 20, money = 0.5 }
compaction = { at = 0.7 }
```

`roost.Agent` takes the same fields in Python, and your own tools, `Model`, `hooks` and `guardrails`. The last
column has the default. `python -m tools.agent_reference` writes this page.

"""
_MEBIBYTE = 1024**2


def page() -> str:
    """Return the whole page. Raises `ValueError` for an option without a docstring."""
    parts = [_HEAD, _table(AgentSpec, "")]
    for path, kind in _parts(AgentSpec, ""):
        parts.append(f"\n## `{path}`\n\n{_linked(inspect.getdoc(kind) or '')}\n\n{_table(kind, path)}")
    return "".join(parts)


def _parts(kind: type[Validated], above: str) -> Iterator[tuple[str, type[Validated]]]:
    """Yield each option that is a table or a list of tables, with the struct that it is."""
    for name in kind.__struct_fields__:
        inner = _struct(get_type_hints(kind)[name])
        if inner is not None:
            yield above + name, inner
            yield from _parts(inner, f"{above}{name}.")


def _struct(hint: Any) -> type[Validated] | None:
    if isinstance(hint, type) and issubclass(hint, Validated):
        return hint
    return next((found for part in get_args(hint) if (found := _struct(part)) is not None), None)


def _table(kind: type[Validated], path: str) -> str:
    told, hints = _docstrings(kind), get_type_hints(kind)
    lines = ["| field | meaning | default |", "| --- | --- | --- |"]
    for field in msgspec.structs.fields(kind):
        if field.name not in told:
            raise ValueError(
                f"{kind.__name__}.{field.name} has no docstring: write below the field what the option does"
            )
        meaning, _, default = told[field.name].partition(" Default: ")
        words = [f"`{word}`" for word in choices(kind, field.name)]
        if not all(word in meaning for word in words):
            meaning += f" {'Of these' if 'tuple' in str(hints[field.name]) else 'One of'}: {', '.join(words)}."
        if _struct(hints[field.name]) is not None:
            anchor = f"{path}.{field.name}".strip(".").replace(".", "")
            meaning += f" Its fields: [below](#{anchor})."
        lines.append(f"| `{field.name}` | {_linked(meaning)} | {default.rstrip('.') or _default(field)} |")
    return "\n".join(lines) + "\n"


def _docstrings(kind: type[Validated]) -> dict[str, str]:
    """Return the docstrings below the fields of a struct and of its bases, each as one line."""
    found: dict[str, str] = {}
    for base in reversed([one for one in kind.__mro__ if issubclass(one, Validated) and one is not Validated]):
        (tree,) = ast.parse(inspect.getsource(base)).body
        assert isinstance(tree, ast.ClassDef)
        for field, text in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return found


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "must be given"
    value: Any = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(value, msgspec.Struct):
        return "those below"
    if value is None or value in ("", (), {}):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value >= _MEBIBYTE and value % _MEBIBYTE == 0:
        return f"{value // _MEBIBYTE} MiB"
    if isinstance(value, tuple):
        return ", ".join(f"`{word}`" for word in cast("tuple[str, ...]", value))
    return f"`{value}`" if isinstance(value, str) else f"{value:g}"


def _linked(text: str) -> str:
    text = re.sub(
        r"docs/([\w/-]+)\.md(#[\w-]+)?", lambda found: f"[{found[1]}](../{found[1]}.md{found[2] or ''})", text
    )
    return text.replace("|", "\\|")


def main() -> int:
    text = page()
    if "--check" not in sys.argv:
        PAGE.write_text(text)
    elif PAGE.read_text() != text:
        print("docs/reference/agent-file.md is not what the options say: run python -m tools.agent_reference")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
