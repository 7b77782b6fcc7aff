"""A wire is one folder and one line: no other module of the product asks which wire it has."""

from __future__ import annotations

import ast
from pathlib import Path

import roost
from roost.models.wires import WIRES

SRC = Path(roost.__file__).parent
ROOMS = ("models/wires", "stub/dialects")
OTHER_MEANINGS = {
    "models/compile": "families of models have the names of their makers",
    "models/catalog/making.py": "facts of the account `openai`, some of whose models have another wire",
    "providers/usage_reports.py": "reports of accounts",
    "providers/config.py": "reports of accounts",
    "exchange/": "accounts of other programs",
}


def test_no_module_outside_its_room_names_a_wire() -> None:
    named: dict[str, set[str]] = {}
    for file in SRC.rglob("*.py"):
        path = file.relative_to(SRC).as_posix()
        if any(place in path for place in ("testing/", *ROOMS, *OTHER_MEANINGS)):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and node.value in WIRES:
                named.setdefault(path, set()).add(str(node.value))
    assert named == {}


def test_every_wire_is_a_folder_with_its_counterpart() -> None:
    for name in WIRES:
        assert (SRC / "models/wires" / name / "__init__.py").is_file()
        assert (SRC / "stub/dialects" / f"{name}.py").is_file()
