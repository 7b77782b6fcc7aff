"""deploy/start.sh: secrets from files, and out of the sight of other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A `roost` that says what it was given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "roost"
    program.write_text('#!/bin/sh\nprintf "%s|" "$@" "$ROOST_STORE" "${OPENAI_API_KEY-unset}" "${other-unset}"\n')
    program.chmod(0o755)
    return folder


def start(deploy: Path, bin_folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "ROOST_STORE": ""} | environment
    given = {name: value for name, value in given.items() if value or name == "PATH"}
    return subprocess.run([str(deploy / "start.sh"), *arguments], env=given, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("variable", ["ROOST_SECRETS", "CREDENTIALS_DIRECTORY"])
def test_files_become_variables(deploy: Path, bin_folder: Path, tmp_path: Path, variable: str) -> None:
    secrets = tmp_path / "my secrets"
    secrets.mkdir()
    (secrets / "ROOST_STORE").write_text("postgresql://u:p$(x)'\"@h/d\n")
    (secrets / "OPENAI_API_KEY").write_text("k")
    (secrets / "other").write_text("not a variable's name")
    (secrets / "A-B").write_text("nor this")
    (secrets / "FOLDER").mkdir()
    done = start(deploy, bin_folder, "up", "two words", **{variable: str(secrets)})
    assert done.stdout == "up|two words|postgresql://u:p$(x)'\"@h/d|k|unset|", done.stderr


def test_what_is_set_stays(deploy: Path, bin_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "ROOST_STORE").write_text("from the file")
    (tmp_path / "OPENAI_API_KEY").write_text("from the file")
    done = start(deploy, bin_folder, "up", ROOST_SECRETS=str(tmp_path), ROOST_STORE="given")
    assert done.stdout == "up|given|from the file|unset|"


def test_no_folder_is_no_harm(deploy: Path, bin_folder: Path, tmp_path: Path) -> None:
    done = start(deploy, bin_folder, "up", ROOST_SECRETS=str(tmp_path / "none"), ROOST_STORE="given")
    assert done.stdout == "up|given|unset|unset|"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_secret_that_cannot_be_read_is_said(deploy: Path, bin_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "ROOST_STORE").touch(mode=0)
    done = start(deploy, bin_folder, "up", ROOST_SECRETS=str(tmp_path))
    assert done.returncode != 0
    assert "ROOST_STORE" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_database_is_hidden_from_what_agents_run() -> None:
    code = (
        "import os; from roost.sandbox.environment import hide_secrets; hide_secrets();"
        "print(os.environ['ROOST_STORE'], b'sesame' in open('/proc/self/environ', 'rb').read())"
    )
    environment = os.environ | {"ROOST_STORE": "postgresql://u:sesame@h/d"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["postgresql://u:sesame@h/d", "False"], done.stderr
