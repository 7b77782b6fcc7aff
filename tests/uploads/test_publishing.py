"""Files of a workspace that a client gets when a turn ends with an answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable
from pathlib import Path

import pytest

from roost.agent.definition import Limits
from roost.features.uploads import publishing
from roost.features.uploads.duties import UploadDuties
from roost.features.uploads.events import FilesPublished, PublishInput
from roost.features.uploads.uploads import NewUpload, Upload, Uploads
from roost.log import events as ev
from roost.log.documents import DocumentQuery
from roost.runtime import Runtime, SessionHandle

from ..kernel.support import agent, events, running


async def publishing_session(runtime: Runtime, folder: Path) -> SessionHandle:
    (folder / "out").mkdir(parents=True)
    session = await runtime.session("a", workspace=str(folder))
    await runtime.sessions.put(session.id, PublishInput("out"))
    return session


async def published(session: SessionHandle, runtime: Runtime) -> list[dict[str, bool]]:
    """What the turns published: path -> whether it is there."""
    log = await events(session, runtime)
    return [{one.path: one.error is None for one in event.files} for event in log if isinstance(event, FilesPublished)]


async def test_a_turn_that_was_answered_is_published_though_its_time_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, begun, held = Uploads.add, asyncio.Event(), asyncio.Event()

    async def slow(self: Uploads, new: NewUpload, content: AsyncIterable[bytes]) -> Upload:
        begun.set()
        await held.wait()
        return await add(self, new, content)

    monkeypatch.setattr(Uploads, "add", slow)
    async with running(tmp_path / "home", agent(["ok"], limits=Limits(seconds=3600.0))) as runtime:
        session = await publishing_session(runtime, tmp_path / "work")
        (tmp_path / "work" / "out" / "a.txt").write_text("a")
        asked = asyncio.create_task(session.ask("go"))
        await begun.wait()
        clock = runtime.node.slots.live[session.id].clock
        assert clock._deadline is not None
        clock._ends = 0.0
        clock._deadline._run()
        await asyncio.sleep(0.1)
        held.set()
        await asked
        log = await events(session, runtime)
        (end,) = [event for event in log if isinstance(event, ev.TurnCompleted)]
        assert end.outcome == "answered"
        assert await published(session, runtime) == [{"out/a.txt": True}]


async def test_files_that_fail_keep_no_other_from_being_published_and_are_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "MOST", 2)
    async with running(tmp_path / "home", agent(["ok"] * 5)) as runtime:
        session = await publishing_session(runtime, folder := tmp_path / "work")
        for name in ("a", "b", "c"):
            with (folder / "out" / name).open("wb") as file:
                os.truncate(file.fileno(), 64 * 1024 * 1024)  # more than a copy has
        (folder / "out" / "d").write_text("d")
        (folder / "out" / "e").write_text("e")
        (folder / "out" / "f").write_text("f")
        await session.ask("one")
        await session.ask("two")
        await session.ask("three")
        await session.ask("nothing new")
        (folder / "out" / "a").write_text("small")
        await session.ask("four")
        told = await published(session, runtime)
        assert told == [
            {"out/a": False, "out/b": False, "out/d": True, "out/e": True},
            {"out/c": False, "out/f": True},
            {"out/a": True},
        ]
        uploads = runtime.node.feature(UploadDuties).uploads
        assert len(await uploads.find(DocumentQuery(kind=""))) == 4
