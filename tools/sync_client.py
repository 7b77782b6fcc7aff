"""Write the blocking twin of the client: `python -m tools.sync_client`, with --check only compare.

`roost/client/sync_rooms.py` has the interfaces of `roost.api` without `async`, `roost/client/sync_client.py` what
`roost/client/async_client.py` has.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
API, CLIENT = ROOT / "src/roost/api", ROOT / "src/roost/client"
ROOMS = (
    "checkpoints", "configuration", "costs", "exchange", "inputs", "memory", "models", "node", "schedules", "sessions"
)  # fmt: skip
_NOTE = "Made by `python -m tools.sync_client`; do not edit."
_WORDS = {
    "AsyncGenerator": "Generator",
    "AsyncIterable": "Iterable",
    "AsyncIterator": "Iterator",
    "Client": "SyncClient",
    "Connection": "BlockingConnection",
    "Decide": "SyncDecide",
    "Response": "SyncResponse",
    "SocketTransport": "BlockingTransport",
    "Transport": "SyncTransport",
    "_SocketResponse": "_BlockingResponse",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "aclosing": "closing",
    "asyncio": "time",
}


def main() -> int:
    made = {CLIENT / "sync_rooms.py": rooms(), CLIENT / "sync_client.py": client()}
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the rows say: run python -m tools.sync_client")
        return bool(stale)
    for path in stale:
        path.write_text(made[path])
    return 0


def _formatted(text: str) -> str:
    ruff = [str(Path(sys.executable).with_name("ruff"))]
    for command in (
        ["check", "--quiet", "--fix-only", "--unsafe-fixes", "--stdin-filename=src/roost/x.py", "-"],
        ["format", "-"],
    ):
        text = subprocess.run(
            [*ruff, *command], input=text, text=True, capture_output=True, check=True, cwd=ROOT
        ).stdout
    return text


def client() -> str:
    """Return the source of the blocking client."""
    text = (CLIENT / "async_client.py").read_text()
    text = re.sub(r"\basync (def|with|for)\b", r"\1", text)
    text = re.sub(r"\bawait ", "", text)
    text = re.sub(r"\b(\w+)\b", lambda found: _WORDS.get(found[1], found[1]), text)
    text = re.sub(r"    from roost\.api\.\w+ import \w+Api\n(?!        )", "", text, count=len(ROOMS))
    rooms = ", ".join(sorted(_sync_name(_interface(room).name) for room in ROOMS))
    answers = "    from roost.client.answers"
    text = text.replace(answers, f"    from roost.client.sync_rooms import {rooms}\n{answers}", 1)
    text = re.sub(r"\(self\) -> (\w+)Api:", r"(self) -> Sync\1:", text)
    text = re.sub(r"\n\n`sync_client.py` is made .*?\n", f"\n\n{_NOTE}\n", text, count=1)
    return _formatted(text)


def _sync_name(name: str) -> str:
    return f"Sync{name.removesuffix('Api')}"


def _tree(room: str) -> ast.Module:
    return ast.parse((API / f"{room}.py").read_text())


def _interface(room: str) -> ast.ClassDef:
    return next(one for one in _tree(room).body if isinstance(one, ast.ClassDef) and one.name.endswith("Api"))


def rooms() -> str:
    """Return the source of the interfaces without `async`."""
    imports: set[str] = set()
    classes = [_class(room, imports) for room in sorted(ROOMS)]
    header = f'"""The interfaces of `roost.api`, for a client that blocks.\n\n{_NOTE}\n"""\n\n'
    header += "# ruff: noqa: B006 - the defaults of the rows, never changed\n\n"
    header += "from __future__ import annotations\n\n"
    lines = "".join(f"    {one}\n" for one in sorted(imports))
    typing = "from typing import TYPE_CHECKING, Any, Literal, Protocol\n\n"
    return _formatted(f"{header}{typing}if TYPE_CHECKING:\n{lines}\n\n" + "\n\n".join(classes))


def _class(room: str, imports: set[str]) -> str:
    names = _Names(room, imports)
    found = _interface(room)
    lines = [f"class {_sync_name(found.name)}(Protocol):", f'    """`roost.api.{room}.{found.name}`."""', ""]
    for method in found.body:
        if isinstance(method, ast.AsyncFunctionDef):
            lines += [f"    {names.signature(method)}", ""]
    return "\n".join(lines)


class _Names(ast.NodeTransformer):
    """Rewrites annotations: constraints go, names are imported."""

    def __init__(self, room: str, imports: set[str]) -> None:
        self._room, self._imports = room, imports
        self._where: dict[str, str] = {}
        self._alias: dict[str, ast.expr] = {}
        for module in (room, "shapes"):
            for one in ast.walk(_tree(module)):
                self._learn(module, one)

    def _learn(self, module: str, one: ast.AST) -> None:
        if isinstance(one, ast.ImportFrom) and one.module and not one.module.startswith("typing"):
            self._where |= {name.asname or name.name: one.module for name in one.names}
        elif isinstance(one, ast.ClassDef):
            self._where.setdefault(one.name, f"roost.api.{module}")
        elif isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name):
            self._alias.setdefault(one.targets[0].id, one.value)

    def signature(self, method: ast.AsyncFunctionDef) -> str:
        for argument in (*method.args.args, *method.args.kwonlyargs):
            if argument.annotation is not None:
                argument.annotation = self.visit(argument.annotation)
        assert method.returns is not None
        returns = ast.unparse(self.visit(method.returns))
        return f"def {method.name}({ast.unparse(method.args)}) -> {returns}: ..."

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "Annotated":
            assert isinstance(node.slice, ast.Tuple)
            return self.visit(node.slice.elts[0])
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self._imports.add("import msgspec")
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self._alias:
            return self.visit(ast.parse(ast.unparse(self._alias[node.id]), mode="eval").body)
        if node.id in _WORDS:
            self._imports.add(f"from collections.abc import {_WORDS[node.id]}")
            return ast.Name(_WORDS[node.id])
        if node.id in self._where:
            self._imports.add(f"from {self._where[node.id]} import {node.id}")
        return node


if __name__ == "__main__":
    sys.exit(main())
