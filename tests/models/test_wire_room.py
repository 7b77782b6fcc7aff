"""A wire is one folder and one line: no other module of the product asks which wire it has."""

from __future__ import annotations

import ast
import sys
import types
from pathlib import Path

import pytest

import roost
from roost.errors import ConfigError
from roost.models import wires
from roost.models.profile import Profile
from roost.models.prompt import Prompt
from roost.models.wires import WIRES
from roost.models.wires.assembly import Assembly

SRC = Path(roost.__file__).parent
ROOMS = ("models/wires", "stub/dialects")
OTHER_MEANINGS = {
    "models/compile": "families of models have the names of their makers",
    "models/catalog/making.py": "facts of the account `openai`, some of whose models have another wire",
    "providers/usage_reports.py": "reports of accounts",
    "providers/config.py": "reports of accounts",
    "exchange/": "accounts of other programs",
    "features/coding_agents/programs/": "names of programs",
    "agent/options.py": "names of programs",
    "cli/commands/setup.py": "names of accounts",
    "doors/": "protocols that clients speak",
    "registry.py": "the names of doors",
}


def test_no_module_outside_its_room_names_a_wire() -> None:
    named: dict[str, set[str]] = {}
    for file in SRC.rglob("*.py"):
        path = file.relative_to(SRC).as_posix()
        if any(place in path for place in ("testing/", *ROOMS, *OTHER_MEANINGS)):
            continue
        text = file.read_text()
        if not any(name in text for name in WIRES):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and node.value in WIRES:
                named.setdefault(path, set()).add(str(node.value))
    assert named == {}


def test_every_wire_is_a_folder_with_its_counterpart() -> None:
    for name in WIRES:
        assert (SRC / "models/wires" / name / "__init__.py").is_file()
        assert (SRC / "stub/dialects" / f"{name}.py").is_file()


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package's place, in which a folder is a wire."""
    monkeypatch.setattr(wires, "__file__", str(tmp_path / "__init__.py"))
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "__init__.py").touch()
    return tmp_path


def test_a_folder_without_its_line_is_told_apart_from_an_unknown_name(room: Path) -> None:
    with pytest.raises(ConfigError, match=r"no wire 'acme'.*its folder exists: add 'acme' to WIRES in "):
        wires.wire("acme")
    with pytest.raises(ConfigError, match=r"no wire 'acne': use one of [^;]*$"):
        wires.wire("acne")


def test_a_line_without_its_folder_is_an_error_of_the_line(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wires, "WIRES", (*WIRES, "acne"))
    with pytest.raises(ConfigError, match=r"names 'acne', but .*acne holds no wire: correct the line"):
        wires.wire("acne")


def test_a_folder_without_a_class_says_what_it_lacks(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wires, "WIRES", (*WIRES, "acme"))
    monkeypatch.setitem(sys.modules, "roost.models.wires.acme", types.ModuleType("acme"))
    with pytest.raises(ConfigError, match=r"the wire 'acme' has no class: end .* with `WIRE = CLASS`"):
        wires.wire("acme")


def test_an_unknown_stop_reason_is_a_failure() -> None:
    answer = Assembly("acme", Prompt(system=(), messages=()), Profile(), where="acme/one")
    answer.stop_for("done", {"done": "end"})
    assert (answer.stop, answer.error) == ("end", None)
    answer.stop_for("vanished", {"done": "end"})
    assert answer.error is not None
    assert (answer.error.code, answer.error.retryable, answer.finished) == ("malformed", True, False)
    assert "'vanished'" in answer.error.message
