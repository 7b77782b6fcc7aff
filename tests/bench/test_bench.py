"""Every scenario of the bench runs, with tiny numbers and without the peers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


_QUICK = ("steps", "turns", "start", "wake", "sse", "models", "growth", "compaction", "children")


@pytest.mark.parametrize("name", _QUICK)
def test_scenario_runs(name: str, tmp_path: Path) -> None:
    target = tmp_path / "results.md"
    command = [sys.executable, "-m", "bench", "--quick", "--no-peers", "--only", name, "--out", str(target)]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert "failed" not in target.read_text(), target.read_text()
    (measured,) = json.loads(target.with_suffix(".json").read_text())["scenarios"].values()
    assert measured, "a scenario measures something"
    assert not list(tmp_path.glob("roost-bench-*")), "what the bench makes it removes"
