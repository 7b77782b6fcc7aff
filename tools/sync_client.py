"""Write what is made from the interfaces of the API: `python -m tools.sync_client`, with --check only compare.

An interface stands in `roost/api/` or in `roost/features/NAME/api.py`. Made from them are
- `roost/client/rooms.py` and `sync_rooms.py`: an attribute of the client for each, the second without `async`;
- `roost/client/sync_client.py`: the blocking twin of `async_client.py`;
- `roost/runtime_services.py`: an attribute of `Runtime` for each `service.py` of a feature;
- `roost/cli/feature_commands.py`: the names of the commands in each `commands.py` of a feature.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from textwrap import indent
from typing import NamedTuple

from roost.registry import FEATURES

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src/roost"
CLIENT = SRC / "client"
_NOTE = "Made by `python -m tools.sync_client`; do not edit."
_WORDS = {
    "AsyncGenerator": "Generator",
    "AsyncIterable": "Iterable",
    "AsyncIterator": "Iterator",
    "Client": "SyncClient",
    "Connection": "BlockingConnection",
    "Decide": "SyncDecide",
    "Response": "SyncResponse",
    "Rooms": "SyncRooms",
    "SocketTransport": "BlockingTransport",
    "Transport": "SyncTransport",
    "_SocketResponse": "_BlockingResponse",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "aclosing": "closing",
    "asyncio": "time",
}


class Room(NamedTuple):
    """An interface, and the class that implements it for a feature."""

    module: str
    interface: ast.ClassDef
    service: str = ""

    @property
    def name(self) -> str:
        """The attribute of the client: `schedules` of `SchedulesApi`."""
        return self.interface.name.removesuffix("Api").lower()

    @property
    def sync(self) -> str:
        return f"Sync{self.interface.name.removesuffix('Api')}"


def main() -> int:
    folders = {path.parent.name for path in (SRC / "features").glob("*/__init__.py")}
    if missing := folders - {*FEATURES}:
        print(f"add to FEATURES in src/roost/registry.py, or nobody finds them: {', '.join(sorted(missing))}")
        return 1
    made = {
        CLIENT / "rooms.py": rooms(),
        CLIENT / "sync_rooms.py": sync_rooms(),
        CLIENT / "sync_client.py": client(),
        SRC / "runtime_services.py": services(),
        SRC / "cli/feature_commands.py": commands(),
    }
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the rows say: run python -m tools.sync_client")
        return bool(stale)
    for path in stale:
        path.write_text(made[path])
    return 0


@cache
def _every_room() -> tuple[Room, ...]:
    core = [f"roost.api.{path.stem}" for path in sorted((SRC / "api").glob("*.py"))]
    features = [f"roost.features.{name}.api" for name in sorted(FEATURES)]
    found = [(module, _tree(module)) for module in (*core, *features) if _path(module).exists()]
    made = [
        Room(module, one, _service(module))
        for module, tree in found
        for one in tree.body
        if isinstance(one, ast.ClassDef) and one.name.endswith("Api")
    ]
    return tuple(sorted(made, key=lambda room: room.interface.name))


def _path(module: str) -> Path:
    spec = find_spec(module)
    return Path(spec.origin) if spec and spec.origin else SRC / "nowhere"


def _tree(module: str) -> ast.Module:
    return ast.parse(_path(module).read_text())


def _service(module: str) -> str:
    """Return the name of the class that a feature's `service.py` has as `SERVICE`."""
    path = _path(module).with_name("service.py")
    named = re.search(r"^SERVICE = (\w+)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return named[1] if named else ""


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
    text = (CLIENT / "async_client.py").read_text().replace("roost.client.rooms", "roost.client.sync_rooms")
    text = re.sub(r"\basync (def|with|for)\b", r"\1", text)
    text = re.sub(r"\bawait ", "", text)
    text = re.sub(r"\b(\w+)\b", lambda found: _WORDS.get(found[1], found[1]), text)
    text = re.sub(r"\n\n`sync_client.py` is made .*?\n", f"\n\n{_NOTE}\n", text, count=1)
    return _formatted(text)


def rooms() -> str:
    """Return the source of the client's attributes."""
    imports = [f"from {room.module} import {room.interface.name}" for room in _every_room()]
    header = f'"""The interfaces of the API as attributes of `Client`.\n\n{_NOTE}\n"""\n\n'
    attributes = _attributes("Rooms", lambda room: room.interface.name)
    return _formatted(header + _imports(imports, "from functools import cached_property") + attributes)


def _attributes(name: str, kind: Callable[[Room], str]) -> str:
    lines = [f"class {name}(ABC):", '    """An attribute for each interface. `_room` makes its object."""', ""]
    lines += ["    @abstractmethod", "    def _room(self, module: str, name: str) -> Any: ..."]
    for room in _every_room():
        lines += ["", "    @cached_property", f"    def {room.name}(self) -> {kind(room)}:"]
        lines += [f'        return self._room("{room.module}", "{room.interface.name}")']
    return "\n".join(lines)


def services() -> str:
    """Return the source of the attributes of `Runtime`."""
    every = [room for room in _every_room() if room.service]
    modules = {room.name: f"{room.module.removesuffix('.api')}.service" for room in every}
    header = f'"""The services of features as attributes of `Runtime`.\n\n{_NOTE}\n"""\n\n'
    lines = ["class RuntimeServices(ABC):", '    """An attribute for each service. `_service` makes its object."""', ""]
    lines += ["    @abstractmethod", "    def _service(self, module: str) -> Any: ..."]
    for room in every:
        lines += ["", "    @property", f"    def {room.name}(self) -> {room.service}:"]
        lines += [f'        return self._service("{modules[room.name]}")']
    imports = [f"from {modules[room.name]} import {room.service}" for room in every]
    return _formatted(header + _imports(imports) + "\n".join(lines))


def commands() -> str:
    """Return the table of the commands that features have."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for feature in FEATURES:
        if not _path(f"roost.features.{feature}.commands").exists():
            continue
        module = import_module(f"roost.features.{feature}.commands")
        for section, members in module.COMMANDS.items():
            lines = {one.name: (feature, one.get_short_help_str(200)) for one in members}
            found.setdefault(section, {}).update(lines)
    header = (
        f'"""The commands that features have, by section of the help: their feature, and a line.\n\n{_NOTE}\n"""\n\n'
    )
    return _formatted(f"{header}FEATURE_COMMANDS: dict[str, dict[str, tuple[str, str]]] = {found!r}")


def _imports(imports: Iterable[str], *more: str) -> str:
    base = "".join(f"{one}\n" for one in ("from abc import ABC, abstractmethod", *more))
    lines = "".join(f"    {one}\n" for one in sorted(set(imports)))
    typing = "from typing import TYPE_CHECKING, Any, Literal, Protocol\n\n"
    return f"from __future__ import annotations\n\n{base}{typing}if TYPE_CHECKING:\n{lines}\n\n"


def sync_rooms() -> str:
    """Return the source of the interfaces without `async`, and of the blocking client's attributes."""
    imports: set[str] = set()
    classes = [_class(room, imports) for room in _every_room()]
    header = f'"""The interfaces of the API, for a client that blocks.\n\n{_NOTE}\n"""\n\n'
    header += "# ruff: noqa: B006 - the defaults of the rows, never changed\n\n"
    header += _imports(imports, "from functools import cached_property")
    types = indent("\n".join(classes), "    ")  # of no use to a running program, which they would slow down
    return _formatted(f"{header.rstrip()}\n\n{types}\n\n" + _attributes("SyncRooms", lambda room: room.sync))


def _class(room: Room, imports: set[str]) -> str:
    names = _Names(room.module, imports)
    lines = [f"class {room.sync}(Protocol):", f'    """`{room.module}.{room.interface.name}`."""', ""]
    for method in room.interface.body:
        if isinstance(method, ast.AsyncFunctionDef):
            lines += [f"    {names.signature(method)}", ""]
    return "\n".join(lines)


class _Names(ast.NodeTransformer):
    """Rewrites annotations: constraints go, names are imported."""

    def __init__(self, room: str, imports: set[str]) -> None:
        self._room, self._imports = room, imports
        self._where: dict[str, str] = {}
        self._alias: dict[str, ast.expr] = {}
        for module in (room, "roost.api.shapes"):
            for one in ast.walk(_tree(module)):
                self._learn(module, one)

    def _learn(self, module: str, one: ast.AST) -> None:
        if isinstance(one, ast.ImportFrom) and one.module and not one.module.startswith("typing"):
            self._where |= {name.asname or name.name: one.module for name in one.names}
        elif isinstance(one, ast.ClassDef):
            self._where.setdefault(one.name, module)
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
