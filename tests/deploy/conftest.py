"""The files of deploy/, and the tools that judge them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from roost.cli.main import roost

ROOT = Path(__file__).parents[2]


@pytest.fixture
def deploy() -> Path:
    return ROOT / "deploy"


@pytest.fixture
def tool() -> Callable[[str], str]:
    """The path of a program: beside this Python, or on the PATH. Without it the test is skipped."""

    def find(name: str) -> str:
        found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not installed and no package brings it for this platform")
        return found

    return find


@pytest.fixture
def options_of() -> Callable[[str], set[str]]:
    """The options that a command of `roost` takes."""

    def found(name: str) -> set[str]:
        with click.Context(roost) as context:
            command = roost.get_command(context, name)
        assert command is not None
        return {option for parameter in command.params for option in parameter.opts}

    return found


@pytest.fixture
def compose(deploy: Path) -> dict[str, Any]:
    return yaml.safe_load((deploy / "compose.yaml").read_text())
