"""A file that the model has read may be changed later: after a person's pause, in a later turn, on another node, in a
fork; and not after a rollback to before the read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.kernel.config import KernelConfig
from roost.log import events as ev
from roost.log.content import AssistantMessage, Text, UserMessage
from roost.models.request import Request
from roost.policy.gate import Permissions
from roost.runtime import Runtime, SessionHandle
from roost.testing.scripted import Answer, Call, ScriptedModel

from .policies import found
from .support import FAST, asleep, events, place, until

READ = Call("read_file", {"path": "f.txt"})
EDIT = Call("edit_file", {"path": "f.txt", "old": "one", "new": "two"})
BACK = Call("edit_file", {"path": "f.txt", "old": "two", "new": "three"})
MAKE = Call("write_file", {"path": "f.txt", "content": "one\n"})
_STEPS = {"make": MAKE, "read": READ, "edit": EDIT, "back": BACK}


def obey(request: Request) -> Answer | str:
    """Each word of the last message that names a step is one."""
    done, words = 0, list[str]()
    for message in request.messages:
        if isinstance(message, UserMessage):
            text = " ".join(part.text for part in message.parts if isinstance(part, Text))
            done, words = 0, [word for word in text.split() if word in _STEPS]
        elif isinstance(message, AssistantMessage):
            done += 1
    return Answer(calls=(_STEPS[words[done]],)) if done < len(words) else "end"


def editor(permissions: Permissions = "all") -> Agent:
    return Agent(
        "a", model=ScriptedModel(obey), tools=["read_file", "write_file", "edit_file"], permissions=permissions
    )


@contextlib.asynccontextmanager
async def node(
    home: Path, permissions: Permissions = "all", config: KernelConfig = FAST, snapshots: str | None = None
) -> AsyncGenerator[Runtime]:
    runtime = Runtime(home, agents=[editor(permissions)], config=config, store=place.url, snapshots=snapshots)
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop(grace=0.2)


async def in_folder(runtime: Runtime, folder: Path, text: str = "one\n") -> SessionHandle:
    folder.mkdir()
    (folder / "f.txt").write_text(text)
    return await runtime.session("a", workspace=str(folder))


async def said(session: SessionHandle, runtime: Runtime) -> list[str]:
    """What the newest call came back with."""
    done = found(await events(session, runtime), ev.ToolCompleted)[-1]
    return [done.outcome, *(part.text for part in done.parts)]


async def test_a_person_takes_longer_than_the_session_stays_awake(tmp_path: Path) -> None:
    async with node(tmp_path / "home", "ask", KernelConfig()) as runtime:  # with the pause that ships
        session = await in_folder(runtime, tmp_path / "work")
        accepted = await session.send("read edit")
        asked = await until(session, ev.ApprovalRequested)
        await asleep(runtime, session)
        await session.approve(asked.call)
        assert await session.answer(accepted.id) == "end"
        assert (await said(session, runtime))[0] == "ok"
    assert (tmp_path / "work/f.txt").read_text() == "two\n"


@pytest.mark.parametrize("restart", [False, True])
async def test_a_later_turn(tmp_path: Path, restart: bool) -> None:
    async with node(tmp_path / "home") as runtime:
        session = await in_folder(runtime, tmp_path / "work")
        await session.ask("read")
        await asleep(runtime, session)
        if not restart:
            await session.ask("edit")
    if restart:
        async with node(tmp_path / "home") as runtime:
            await runtime.open(session.id).ask("edit")
    async with node(tmp_path / "home") as runtime:
        await runtime.open(session.id).ask("back")  # an edit makes the file known as it is then
    assert (tmp_path / "work/f.txt").read_text() == "three\n"


async def test_a_file_that_somebody_has_changed_since_is_not_known(tmp_path: Path) -> None:
    async with node(tmp_path / "home") as runtime:
        session = await in_folder(runtime, tmp_path / "work")
        await session.ask("read")
        await asleep(runtime, session)
        (tmp_path / "work/f.txt").write_text("one by another hand\n")
        await session.ask("edit")
        assert await said(session, runtime) == [
            "error",
            "'f.txt' has changed since you read it; read it again with read_file",
        ]


async def test_a_rollback_takes_it_back(tmp_path: Path) -> None:
    async with node(tmp_path / "home") as runtime:
        session = await in_folder(runtime, tmp_path / "work")
        await session.ask("hello")
        before = (await runtime.sessions.get(session.id)).head
        await session.ask("read")
        await runtime.checkpoints.rollback(session.id, to=before)
        await asleep(runtime, session)
        await session.ask("edit")
        assert "read it with read_file before you change it" in (await said(session, runtime))[1]
        await session.ask("read edit")
        assert (await said(session, runtime))[0] == "ok"


async def test_a_fork_knows_what_its_source_knew(tmp_path: Path) -> None:
    async with node(tmp_path / "home") as runtime:
        session = await runtime.session("a")
        folder = runtime.node.resources.private(session.id)
        folder.mkdir(parents=True)
        (folder / "f.txt").write_text("one\n")
        await session.ask("read")
        fork = runtime.open((await runtime.checkpoints.fork(session.id)).id)
        await fork.ask("edit")
        assert (await said(fork, runtime))[0] == "ok"
        assert (runtime.node.resources.private(fork.id) / "f.txt").read_text() == "two\n"
        assert (folder / "f.txt").read_text() == "one\n"


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_another_node_knows_it(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    shared = f"file://{tmp_path}/objects"
    async with node(tmp_path / "one", snapshots=shared) as runtime:
        session = await runtime.session("a")
        await session.ask("make read")
    async with node(tmp_path / "two", snapshots=shared) as runtime:
        session = runtime.open(session.id)
        await session.ask("edit")
        assert (await said(session, runtime))[0] == "ok"
        assert (runtime.node.resources.private(session.id) / "f.txt").read_text() == "two\n"


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    async with node(tmp_path / "home") as runtime:
        session = await in_folder(runtime, tmp_path / "work")
        odd = os.fsencode(tmp_path / "work") + b"/\xff.txt"
        os.rename(tmp_path / "work/f.txt", odd)
        os.symlink(odd, tmp_path / "work/f.txt")
        await session.ask("read edit")
        assert "read it with read_file" in (await said(session, runtime))[1]
