"""A call that a person allows long after it was asked for, over HTTP, on both stores."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

from .conftest import Serve

_EDIT = [
    Answer(calls=(Call("read_file", {"path": "f.txt"}),)),
    Answer(calls=(Call("edit_file", {"path": "f.txt", "old": "old", "new": "new"}),)),
    "end",
]


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "sqlite":
        return {}
    return {"store": asyncio.run(request.getfixturevalue("postgres").database())}


def test_an_edit_is_allowed_after_a_pause(
    serve: Serve, store: dict[str, str], tmp_path: Path, wait: Callable[..., None]
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "f.txt").write_text("old\n")
    clerk = Agent("clerk", model=ScriptedModel(by_step(_EDIT)), tools=["read_file", "edit_file"], permissions="ask")
    served = serve(agents=[clerk], **store)
    session = served.session(workspace=str(work))
    assert served.post(f"/sessions/{session}/messages", {"text": "go"}).status == 202

    def info() -> Any:
        return served.get(f"/sessions/{session}")

    wait(lambda: info()["info"]["phase"] == "waiting" and info()["info"]["owner"] is None)
    time.sleep(1.0)
    (waiting,) = info()["approvals"]
    assert served.post(f"/sessions/{session}/approvals/{waiting['call']}", {"decision": "approve"}).status == 202
    wait(lambda: info()["info"]["phase"] == "idle")
    assert (work / "f.txt").read_text() == "new\n"
