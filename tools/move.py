"""Move and rename modules, and update everything that names them.

    python tools/move.py TABLE...

A table has a line for each move, `old new`, as paths from the root of the repository: files or folders. `#` starts a
comment. A line `package.module:name package.module:name` renames something that a module holds, with its uses; where
the module differs it rewrites imports, and the definition is moved by hand.
Tables are applied in order. The tool runs `git mv`, rewrites imports with the names that they bind, and replaces
dotted module names and file paths in texts. Where an old path is gone, only texts change, so a table can be run again
after a rebase. The tool prints each place that needs a person: a new name that the file already uses for something
else.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_TEXTS = (".py", ".md", ".toml", ".yml", ".yaml", ".cfg", ".sh", ".txt", "")
_KEEP = ("tests/golden/", "CHANGELOG.md", "requirements", "LICENSE", "deploy/requirements")
_DOTTED = re.compile(r"(?<![\w./-])(?:roost|tests|bench)(?:\.[A-Za-z_]\w*)+")
_PATH = re.compile(r"(?<![\w./-])(?:\w[\w-]*/)+\w[\w.-]*")


class Names:
    """Old paths and dotted names to new ones."""

    def __init__(self, every: list[dict[str, str]]) -> None:
        self._tables = tables = [{old: new for old, new in table.items() if ":" not in old} for table in every]
        self._symbols = {old: new for table in every for old, new in table.items() if ":" in old}
        self._cache: dict[str, str] = {}
        self._dotted_tables = [
            (
                {_dotted(old): _dotted(new) for old, new in table.items() if old.endswith("/__init__.py")},
                {_dotted(old): _dotted(new) for old, new in table.items() if not old.endswith("/__init__.py")},
            )
            for table in tables
        ]
        here = [path.relative_to(_ROOT).as_posix() for path in _ROOT.glob("*/**/*.py") if ".venv" not in path.parts]
        self._modules = {_dotted(name) for name in here} | {_dotted(old) for table in tables for old in table}
        for name in here:
            for table in reversed(tables):
                back = {new: old for old, new in table.items()}
                name = _longest(name, back, "/")
                self._modules.add(_dotted(name))

    def module(self, dotted: str) -> str:
        """The new dotted name of a module, or of something in it."""
        if dotted not in self._cache:
            name = dotted
            for packages, modules in self._dotted_tables:
                name = packages.get(name) or _longest(name, modules, ".")
            self._cache[dotted] = name
        return self._cache[dotted]

    def is_moved_module(self, dotted: str) -> bool:
        return dotted in self._modules and self.module(dotted) != dotted

    def symbol(self, module: str, name: str) -> tuple[str, str]:
        """The new module and the new name of something that a module holds."""
        moved = self._symbols.get(f"{module}:{name}")
        return (module, name) if moved is None else (moved.partition(":")[0], moved.partition(":")[2])

    def renamed_in(self, module: str) -> dict[str, str]:
        """Old to new names of what `module` holds, for names that stay in it."""
        pairs = ((old.split(":"), new.split(":")) for old, new in self._symbols.items())
        return {old[1]: new[1] for old, new in pairs if old[0] == new[0] == module and old[1] != new[1]}

    def dotted(self, name: str) -> str:
        """The new dotted name of a module, or of something in it."""
        moved = self.module(name)
        module, _, last = moved.rpartition(".")
        return ".".join(self.symbol(module, last)) if module else moved

    def path(self, text: str) -> str:
        """The new spelling of a path: from the root, from `src`, or from the package."""
        if text not in self._cache:
            self._cache[text] = next(
                (new for lead in ("", "src/", "src/roost/") if (new := self._path(lead, text)) != text), text
            )
        return self._cache[text]

    def _path(self, lead: str, text: str) -> str:
        name = lead + text
        for table in self._tables:
            name = _longest(name, table, "/")
        return name.removeprefix(lead)


def main(*files: str) -> int:
    tables = [dict(_read(Path(file))) for file in files]
    names = Names(tables)
    for table in tables:
        for old, new in table.items():
            if ":" not in old:
                _move(old, new)
    clashes = 0
    for path in _files():
        text = path.read_text()
        changed = text
        if path.suffix == ".py":
            changed, found = _imports(changed, names, path)
            clashes += found
        changed = _DOTTED.sub(lambda match: names.dotted(match[0]), changed)
        changed = _PATH.sub(lambda match: names.path(match[0]), changed)
        if changed != text:
            path.write_text(changed)
    return 1 if clashes else 0


def _read(table: Path) -> Iterator[tuple[str, str]]:
    for line in table.read_text().splitlines():
        if words := line.partition("#")[0].split():
            old, new = words
            yield old.rstrip("/"), new.rstrip("/")


def _longest(name: str, table: dict[str, str], between: str) -> str:
    prefix = name
    while True:
        if prefix in table:
            return table[prefix] + name[len(prefix) :]
        if between not in prefix:
            return name
        prefix = prefix.rpartition(between)[0]


def _move(old: str, new: str) -> None:
    source, target = _ROOT / old, _ROOT / new
    if not source.exists():
        if not target.exists():
            print(f"{old}: neither the old nor the new path exists", file=sys.stderr)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "mv", "-k", old, new], cwd=_ROOT, check=True)


def _dotted(path: str) -> str:
    return path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=_ROOT, check=True, capture_output=True, text=True
    )
    names = [name for name in listed.stdout.splitlines() if Path(name).suffix in _TEXTS and not name.startswith(_KEEP)]
    return [path for name in names if (path := _ROOT / name).is_file() and not path.is_symlink() and _is_text(path)]


def _is_text(path: Path) -> bool:
    try:
        path.read_text()
    except UnicodeDecodeError:
        return False
    return True


def _imports(text: str, names: Names, path: Path) -> tuple[str, int]:
    """Rewrite `from package import module` of moved modules, and the names that these bind."""
    tree = ast.parse(text)
    edits: list[tuple[int, int, str]] = []
    starts = _line_starts(text)
    bound: dict[str, str] = {}
    clashes = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            done = [_alias(node.module, one, names) for one in node.names]
            if all(module == node.module and not changed for module, _, changed in done):
                continue
            edits.append(
                (_offset(text, starts, node, False), _offset(text, starts, node, True), _statement(node, done))
            )
            for alias, (_, spelled, changed) in zip(node.names, done, strict=True):
                name = spelled.rpartition(" as ")[2]
                if changed and alias.asname is None and name != alias.name:
                    bound[alias.name] = name
    found, defined = _definitions(tree, text, starts, names.renamed_in(_dotted(path.relative_to(_ROOT).as_posix())))
    edits += found
    bound |= defined
    edits += _attributes(tree, text, starts, names)
    for old, new in list(bound.items()):
        if _used(tree, new) or list(bound.values()).count(new) > 1:
            print(f"{path.relative_to(_ROOT)}: {old} becomes {new}, which the file uses already", file=sys.stderr)
            clashes += 1
    for name in _module_names(tree, set(bound)):
        start = _offset(text, starts, name, False)
        edits.append((start, start + len(name.id.encode()), bound[name.id]))
    raw = text.encode()
    for start, end, new in sorted(edits, reverse=True):
        raw = raw[:start] + new.encode() + raw[end:]
    return raw.decode(), clashes


def _definitions(
    tree: ast.Module, text: str, starts: list[int], own: dict[str, str]
) -> tuple[list[tuple[int, int, str]], dict[str, str]]:
    """Rewrite the definitions of what is renamed in this file. Returns the edits, and old names to new ones."""
    edits: list[tuple[int, int, str]] = []
    bound: dict[str, str] = {}
    for definition in tree.body:
        if isinstance(definition, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and definition.name in own:
            at = text.encode().index(f" {definition.name}".encode(), _offset(text, starts, definition, False)) + 1
            edits.append((at, at + len(definition.name.encode()), own[definition.name]))
            bound[definition.name] = own[definition.name]
        elif isinstance(definition, (ast.Assign, ast.AnnAssign)):
            targets = definition.targets if isinstance(definition, ast.Assign) else [definition.target]
            bound |= {one.id: own[one.id] for one in targets if isinstance(one, ast.Name) and one.id in own}
    return edits, bound


def _attributes(tree: ast.Module, text: str, starts: list[int], names: Names) -> Iterator[tuple[int, int, str]]:
    """Rewrite `module.name` where a name that the module holds was renamed."""
    held: dict[str, dict[str, str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if renamed := names.renamed_in(names.module(f"{node.module}.{alias.name}")):
                    held[alias.asname or alias.name] = renamed
    uses = {id(name) for name in _module_names(tree, set(held))}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and id(node.value) in uses):
            continue
        if new := held[node.value.id].get(node.attr):
            end = _offset(text, starts, node, True)
            yield end - len(node.attr.encode()), end, new


def _alias(module: str, alias: ast.alias, names: Names) -> tuple[str, str, bool]:
    whole = f"{module}.{alias.name}"
    if names.is_moved_module(whole):
        parent, _, name = names.module(whole).rpartition(".")
        if alias.asname:
            return parent, name if alias.asname == name else f"{name} as {alias.asname}", True
        return parent, name, True
    moved, name = names.symbol(names.module(module), alias.name)
    spelled = name + (f" as {alias.asname}" if alias.asname and alias.asname != name else "")
    return moved, spelled, name != alias.name


def _statement(node: ast.ImportFrom, done: list[tuple[str, str, bool]]) -> str:
    by_module: dict[str, list[str]] = {}
    for module, spelled, _ in done:
        by_module.setdefault(module, []).append(spelled)
    indent = " " * node.col_offset
    lines = [f"from {module} import {', '.join(names)}" for module, names in by_module.items()]
    return f"\n{indent}".join(lines)


def _used(tree: ast.AST, name: str) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == name:
            return True
        if isinstance(node, ast.arg) and node.arg == name:
            return True
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)) and node.name == name:
            return True
        if isinstance(node, ast.ImportFrom) and any((one.asname or one.name) == name for one in node.names):
            return True
    return False


def _module_names(tree: ast.AST, names: set[str]) -> Iterator[ast.Name]:
    """Every use of one of `names` that no function between it and the module binds anew."""

    def visit(node: ast.AST, hidden: frozenset[str]) -> Iterator[ast.Name]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            args = node.args
            every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
            outside = [
                *args.defaults,
                *args.kw_defaults,
                *getattr(node, "decorator_list", []),
                getattr(node, "returns", None),
            ]
            outside += [one.annotation for one in every if one is not None]
            for child in outside:
                if child is not None:
                    yield from visit(child, hidden)
            body: list[ast.AST] = list(node.body) if isinstance(node.body, list) else [node.body]
            inner = hidden | {one.arg for one in every if one is not None} | _stored(body)
            for child in body:
                yield from visit(child, frozenset(inner))
            return
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            hidden = hidden | _stored([one.target for one in node.generators])
        if isinstance(node, ast.Name) and node.id in names and node.id not in hidden:
            yield node
        for child in ast.iter_child_nodes(node):
            yield from visit(child, hidden)

    yield from visit(tree, frozenset())


def _stored(body: list[ast.AST]) -> frozenset[str]:
    found: set[str] = set()
    for part in body:
        for node in _same_scope(part):
            if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
                found.add(node.id)
            elif (isinstance(node, ast.ExceptHandler) and node.name) or (
                isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name
            ):
                found.add(node.name)
    return frozenset(found)


def _same_scope(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(
            child,
            (
                ast.FunctionDef,
                ast.AsyncFunctionDef,
                ast.Lambda,
                ast.ListComp,
                ast.SetComp,
                ast.GeneratorExp,
                ast.DictComp,
            ),
        ):
            yield from _same_scope(child)


def _line_starts(text: str) -> list[int]:
    starts = [0]
    for line in text.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return starts


def _offset(text: str, starts: list[int], node: ast.stmt | ast.expr, end: bool) -> int:
    line, column = (node.end_lineno, node.end_col_offset) if end else (node.lineno, node.col_offset)
    return starts[(line or 1) - 1] + (column or 0)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
