from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from roost.sandbox.host_process import ProcessSandbox
from roost.tools.background_jobs import Jobs
from roost.tools.base import ToolContext
from roost.workspace.files import Workspace


@pytest.fixture
async def ctx(tmp_path: Path) -> AsyncIterator[ToolContext]:
    async def emit(name: str, data: Any) -> None:
        return None

    (tmp_path / "work").mkdir()
    sandbox = ProcessSandbox(marker=f"test-{secrets.token_hex(4)}")
    yield ToolContext(
        session="ses_test",
        call="call_1",
        key="key_1",
        attempt=1,
        workspace=Workspace(tmp_path / "work", private=True, notes=tmp_path / "notes"),
        sandbox=sandbox,
        seen={},
        emit=emit,
        ports={Jobs: (jobs := Jobs())},
    )
    await jobs.close()
    await sandbox.close()
