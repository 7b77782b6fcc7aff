"""The tutorial of a first feature: its blocks, put where they say, are a feature that works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/extend/first-feature.md"
_FILE = re.compile(r"^```python\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FOLDER = "src/roost/features/scratch/"
_RUN = """
import sys
from roost import features, registry

features.__path__.append(sys.argv[1])
registry.FEATURES += ("scratch",)

import pytest
from tests.log.test_events import state_shape

import roost.client.rooms
import roost.client.sync_rooms
from tools import sync_client

exec(sync_client.rooms(), vars(roost.client.rooms))  # what the generator would write
exec(sync_client.sync_rooms(), vars(roost.client.sync_rooms))
assert "def scratch(self) -> Scratch:" in sync_client.services()
assert '"scratch": ("scratch", "Show the counter of a session.")' in sync_client.commands()
assert b'"ScratchState"' in state_shape() and b'"ScratchTurn"' in state_shape()
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "-c", *sys.argv[2:]]))
"""


def test_the_first_feature_works(tmp_path: Path) -> None:
    files = dict(_FILE.findall(PAGE.read_text()))
    assert {Path(name).name for name in files if name.startswith(_FOLDER)} == {
        "events.py", "state.py", "counter.py", "behaviour.py", "tools.py", "api.py", "service.py", "commands.py",
        "__init__.py",
    }  # fmt: skip
    folder = tmp_path / "features"
    (folder / "scratch").mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    for name, text in files.items():
        place = folder / "scratch" if name.startswith(_FOLDER) else tmp_path
        (place / Path(name).name).write_text(text)
    tests = [str(tmp_path / Path(name).name) for name in files if name.startswith("tests/")]
    run = [sys.executable, "-c", _RUN, str(folder), str(tmp_path / "pytest.ini"), *tests]
    done = subprocess.run(run, cwd=PAGE.parents[2], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
