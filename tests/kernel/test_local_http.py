"""Sessions that a node takes up again may need its application before it is built."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roost.kernel import local_http
from roost.kernel.local_http import LocalHttp


async def _app(*_: Any) -> None: ...


async def test_who_needs_the_application_waits_until_it_is_built() -> None:
    http = LocalHttp()
    waiting = asyncio.create_task(http.ready())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    http.open(_app)
    assert await waiting
    assert await http.ready()


async def test_a_program_that_serves_no_http_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_http, "READY_SECONDS", 0.01)
    assert not await LocalHttp().ready()
