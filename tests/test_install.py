"""Every hint at an extra names a command that installs it."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

from roost.install import install_extra

ROOT = Path(__file__).parent.parent


def test_each_extra_that_an_error_names_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    files = list((ROOT / "src").rglob("*.py"))
    named = {name for path in files for name in re.findall(r"install_extra\('(\w+)'\)", path.read_text())}
    assert named
    assert named <= extras.keys()
    for path in (*files, *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"):
        assert "install 'roost[" not in path.read_text(), path


def test_the_command_names_this_installation() -> None:
    *_, target = shlex.split(install_extra("media"))
    assert target == f"{ROOT}[media]"
