"""The clients of all doors at nodes that are killed. `python -m tests.harness.cluster --doors` does it for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.doors.killed import kill_in_midstream
from tests.harness.postgres.server import PostgresServer


@pytest.mark.timeout(180)
async def test_clients_go_on_at_another_node_when_theirs_is_killed_in_midstream(tmp_path: Path) -> None:
    with PostgresServer() as server:
        await kill_in_midstream(tmp_path, store=await server.database())
