"""The clients of all doors at a daemon that is killed and started again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.doors.killed import kill_in_midstream


@pytest.mark.timeout(180)
async def test_clients_go_on_when_their_daemon_was_killed_in_midstream(tmp_path: Path) -> None:
    await kill_in_midstream(tmp_path)
