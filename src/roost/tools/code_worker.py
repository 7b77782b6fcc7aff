"""Outline source files. Runs as a program in the sandbox: `code_worker.py one|many`, paths on stdin separated by NUL.

A parser of untrusted text may take any time and memory, or crash, so it has a process of its own. Python is parsed by
`ast`, other languages by tree-sitter where their grammar is installed.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

_CAP = 2 * 1024 * 1024
_WIDE = 160
_NAMES = 12
_COMPLEX = 10
_GRAMMARS = {
    ".js": ("JavaScript", "tree_sitter_javascript", "language"),
    ".jsx": ("JavaScript", "tree_sitter_javascript", "language"),
    ".mjs": ("JavaScript", "tree_sitter_javascript", "language"),
    ".cjs": ("JavaScript", "tree_sitter_javascript", "language"),
    ".ts": ("TypeScript", "tree_sitter_typescript", "language_typescript"),
    ".tsx": ("TypeScript", "tree_sitter_typescript", "language_tsx"),
    ".go": ("Go", "tree_sitter_go", "language"),
    ".rs": ("Rust", "tree_sitter_rust", "language"),
    ".java": ("Java", "tree_sitter_java", "language"),
    ".sh": ("shell", "tree_sitter_bash", "language"),
    ".bash": ("shell", "tree_sitter_bash", "language"),
}
SUFFIXES = (".py", ".pyi", *_GRAMMARS)
_SYMBOLS = set(
    "function_declaration generator_function_declaration class_declaration abstract_class_declaration "
    "interface_declaration type_alias_declaration enum_declaration record_declaration method_definition "
    "method_declaration constructor_declaration function_item struct_item enum_item trait_item impl_item mod_item "
    "type_spec function_definition".split()
)
_HOLDERS = {"class_declaration", "abstract_class_declaration", "interface_declaration", "impl_item", "trait_item",
            "mod_item", "record_declaration", "enum_declaration"}  # fmt: skip
_IMPORTS = {"import_statement", "import_declaration", "use_declaration"}
_BRANCHES = set(
    "if_statement elif_clause for_statement for_in_statement enhanced_for_statement while_statement do_statement "
    "switch_case case_item expression_case type_case communication_case switch_label catch_clause ternary_expression "
    "if_expression for_expression while_expression loop_expression match_arm && ||".split()
)


class Symbol(NamedTuple):
    """`complexity` is McCabe's: one, plus one for each branch; 0 for all but functions."""

    first: int
    last: int
    depth: int
    text: str
    name: str
    complexity: int


class Outline(NamedTuple):
    language: str
    lines: int
    symbols: list[Symbol]
    imports: list[str]
    error: str | None


def outline(path: str, text: str) -> Outline | str:
    """Return the outline, or why there is none."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix in (".py", ".pyi"):
        return _python(text)
    language, package, name = _GRAMMARS[suffix]
    try:
        grammar: object = getattr(import_module(package), name)()
        from tree_sitter import Language, Parser
    except ImportError:
        return f"no grammar for {language} is installed (the extra `code` of roost has it)"
    return _tree(language, Parser(Language(grammar)).parse(text.encode("utf-8", "replace")).root_node, text)


def _python(text: str) -> Outline:
    lines = text.count("\n") + (not text.endswith("\n") and bool(text))
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        return Outline("Python", lines, [], [], f"line {error.lineno}: {error.msg}")
    except (ValueError, RecursionError, MemoryError) as error:
        return Outline("Python", lines, [], [], str(error) or type(error).__name__)
    imports = [name for node in ast.walk(tree) for name in _imported(node)]
    return Outline("Python", lines, list(_python_symbols(tree, 0)), list(dict.fromkeys(imports)), None)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return ["." * node.level + (node.module or "")] if isinstance(node, ast.ImportFrom) else []


def _python_symbols(parent: ast.AST, depth: int) -> Iterator[Symbol]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.ClassDef):
            bases = ", ".join(ast.unparse(base) for base in node.bases)
            text = f"class {node.name}({bases})" if bases else f"class {node.name}"
            yield Symbol(node.lineno, node.end_lineno or 0, depth, text, node.name, 0)
            yield from _python_symbols(node, depth + 1)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
            returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
            text = f"{word} {node.name}({ast.unparse(node.args)}){returns}"
            yield Symbol(node.lineno, node.end_lineno or 0, depth, text, node.name, _python_complexity(node))
        elif depth < 50 and isinstance(node, ast.If | ast.Try | ast.With):
            yield from _python_symbols(node, depth)


_FORKS = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.comprehension, ast.match_case)


def _python_complexity(function: ast.AST) -> int:
    count, waiting = 1, list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        count += isinstance(node, _FORKS)
        count += len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0
        waiting += ast.iter_child_nodes(node)
    return count


def _tree(language: str, root: Any, text: str) -> Outline:
    symbols: list[Symbol] = []
    imports: list[str] = []
    waiting: list[tuple[Any, int]] = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        held = depth
        if node.type in _IMPORTS:
            imports.append(_line(node.text.decode("utf-8", "replace")))
            continue
        if (found := _symbol(node)) is not None:
            body = found.child_by_field_name("body")
            said = _line(node.text[: body.start_byte - node.start_byte if body is not None else None])
            name = node.child_by_field_name("name")
            called = name.text.decode("utf-8", "replace") if name is not None else said
            points = 0 if node.type in _HOLDERS or body is None else _complexity(body)
            symbols.append(Symbol(node.start_point[0] + 1, node.end_point[0] + 1, depth, said, called, points))
            if node.type not in _HOLDERS:
                continue
            held = depth + 1
        waiting += [(child, held) for child in reversed(node.children)]
    lines = text.count("\n") + (not text.endswith("\n") and bool(text))
    return Outline(language, lines, symbols, list(dict.fromkeys(imports)), _problem(root))


def _symbol(node: Any) -> Any:
    """Return the node with the body of the symbol that this node declares; None for other nodes."""
    if node.type in _SYMBOLS:
        return node
    if node.type == "variable_declarator":
        value = node.child_by_field_name("value")
        if value is not None and value.type in ("arrow_function", "function_expression", "class"):
            return value
    return None


def _complexity(body: Any) -> int:
    count, waiting = 1, [body]
    while waiting:
        node = waiting.pop()
        count += node.type in _BRANCHES and (not node.is_named) == (node.type in ("&&", "||"))
        waiting += node.children
    return count


def _problem(root: Any) -> str | None:
    waiting = [root] if root.has_error else []
    while waiting:
        node = waiting.pop()
        if node.is_error or node.is_missing:
            what = f"{node.type} is missing" if node.is_missing else "this is not understood"
            return f"line {node.start_point[0] + 1}: {what}"
        waiting += [child for child in reversed(node.children) if child.has_error or child.is_missing]
    return None


def _line(text: str | bytes) -> str:
    whole = " ".join((text.decode("utf-8", "replace") if isinstance(text, bytes) else text).split())
    return whole.removesuffix("{").rstrip(" =>:")[:_WIDE]


def describe(path: str, found: Outline) -> Iterator[str]:
    """Yield the lines about one file."""
    yield f"{path}: {found.language}, {found.lines} lines"
    if found.error:
        yield f"syntax error at {found.error}"
    if found.imports:
        yield f"imports: {', '.join(found.imports)[:2000]}"
    for one in found.symbols:
        points = f"  [complexity {one.complexity}]" if one.complexity > 1 else ""
        yield f"{one.first}-{one.last}  {'  ' * one.depth}{one.text[:_WIDE]}{points}"


def summary(path: str, found: Outline) -> str:
    """Return the line about one file of many."""
    names = [one.name for one in found.symbols if one.depth == 0]
    more = f", and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    said = f"syntax error at {found.error}" if found.error else ", ".join(names[:_NAMES]) + more
    return f"{path} ({found.lines} lines): {said}"


def shown(path: str) -> str:
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def main() -> None:
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    read_text: Any = import_module("grep_worker").read_text
    sys.path.pop()
    many = sys.argv[1] == "many"
    paths = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").split("\0")
    worst: list[tuple[int, str]] = []
    for path in filter(None, paths):
        text: str | None = read_text(path)
        found = "it is no text" if text is None else "it is too large" if len(text) > _CAP else outline(path, text)
        if isinstance(found, str):
            print(f"{shown(path)}: {found}", flush=True)
        elif many:
            print(summary(shown(path), found), flush=True)
            worst += [(one.complexity, f"{shown(path)}:{one.first} {one.name}") for one in found.symbols]
        else:
            print("\n".join(describe(shown(path), found)), flush=True)
    hard = [f"{points} {where}" for points, where in sorted(worst, reverse=True)[:_COMPLEX] if points > 10]
    if hard:
        print("most complex: " + "; ".join(hard))


if __name__ == "__main__":
    main()
