"""A daemon that is root gives each session a user of the host, to whom its files belong, whoever makes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.log.content import Text, UserMessage
from roost.models.request import Request
from roost.policy.loading import Policy
from roost.runtime import Runtime, SessionHandle
from roost.sandbox.choose import Isolation, Settings
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.workspace.owners import find_owners

from .support import FAST, running

pytestmark = [
    pytest.mark.parametrize("store", ["sqlite"], indirect=True),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a session a user of its own"),
]


@pytest.fixture(autouse=True)
def _able(tmp_path: Path) -> None:
    if (why := find_owners(tmp_path / "tried", True).why) is not None:
        pytest.skip(f"this machine gives sessions no users: {why}")


PLAIN, WALLED = Isolation(prefers=0), Isolation(required=1)


def agent(isolation: Isolation) -> Agent:
    """One that does what it is told: `sh COMMAND`, or `write PATH`."""

    def obey(request: Request) -> Answer | str:
        last = request.messages[-1]
        if not isinstance(last, UserMessage):
            return "done"
        kind, _, rest = " ".join(part.text for part in last.parts if isinstance(part, Text)).partition(" ")
        if kind == "sh":
            return Answer(calls=(Call("shell", {"command": rest}),))
        return Answer(calls=(Call("write_file", {"path": rest, "content": "written"}),))

    return Agent("a", model=ScriptedModel(obey), tools=["shell", "write_file"], permissions="all", isolation=isolation)


def owners(folder: Path) -> set[int]:
    return {os.lstat(path).st_uid for path in (folder, *folder.rglob("*"))}


async def tell(session: SessionHandle, *commands: str) -> None:
    for command in commands:
        assert await session.ask(command) == "done"


MAKE = ("sh mkdir made; echo x > made/file; ln -s file made/link", "write here", "write new/folder/there", "sh rm here")


@pytest.mark.parametrize("isolation", [PLAIN, WALLED])
async def test_all_files_of_a_session_belong_to_its_own_user(tmp_path: Path, isolation: Isolation) -> None:
    home = tmp_path / "home"
    async with running(home, agent(isolation)) as runtime:
        one, two = await runtime.session("a"), await runtime.session("a")
        await tell(one, *MAKE)
        await tell(two, "write file")
        folders = [home / "workspaces" / each.id for each in (one, two)]
        first, second = map(owners, folders)
        assert len(first) == len(second) == 1
        assert len(first | second | {0}) == 3
        assert folders[0].stat().st_mode & 0o777 == 0o700
    async with running(home, agent(isolation)) as runtime:  # and after a restart
        await tell(runtime.open(one.id), "write later", "sh echo x >> new/folder/there; echo y > more")
        assert owners(folders[0]) == first
        assert (folders[0] / "new/folder/there").read_text() == "writtenx\n"
        await runtime.sessions.delete(one.id)


async def test_what_was_put_back_or_forked_belongs_to_its_session(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with running(home, agent(WALLED)) as runtime:
        session = await runtime.session("a")
        folder = home / "workspaces" / session.id
        await tell(session, *MAKE)
        before = owners(folder)
        await runtime.checkpoints.make(session.id, "good")
        await tell(session, "sh rm -r new made; echo bad > bad", "write made")
        await runtime.checkpoints.rollback(session.id, "good", wait=20.0)
        assert sorted(os.listdir(folder)) == ["made", "new"]
        assert owners(folder) == before
        await tell(session, "sh echo on >> new/folder/there")
        fork = await runtime.checkpoints.fork(session.id, "good")
        await tell(runtime.open(fork.id), "sh echo on >> new/folder/there", "write mine")
        there = home / "workspaces" / fork.id
        assert (there / "new/folder/there").read_text() == "writtenon\n"
        assert len(owners(there)) == 1
        assert not owners(there) & {0, *before}


async def test_files_of_a_former_version_are_given_to_the_session(tmp_path: Path) -> None:
    home = tmp_path / "home"
    no = Policy(sandbox=Settings(users=False))
    async with Runtime(home, agents=[agent(WALLED)], policy=no, config=FAST) as runtime:
        session = await runtime.session("a")
        await tell(session, *MAKE)
    folder = home / "workspaces" / session.id
    assert owners(folder) == {0}
    async with running(home, agent(WALLED)) as runtime:
        await tell(runtime.open(session.id), "sh echo on >> new/folder/there")
    assert len(owners(folder)) == 1
    assert 0 not in owners(folder)
    assert (folder / "new/folder/there").read_text() == "writtenon\n"


@pytest.mark.parametrize("isolation", [PLAIN, WALLED])
async def test_in_a_folder_of_a_person_files_belong_to_that_person(tmp_path: Path, isolation: Isolation) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for owner in (0, 12345):
        os.chown(project, owner, owner)
        async with running(tmp_path / f"home{owner}", agent(isolation)) as runtime:
            session = await runtime.session("a", workspace=str(project))
            await tell(session, f"sh echo x > made{owner}", f"write written{owner}")
        assert {os.stat(project / f"{name}{owner}").st_uid for name in ("made", "written")} == {owner}


async def test_a_home_says_who_gets_users(tmp_path: Path) -> None:
    async with Runtime(tmp_path / "home", agents=[agent(PLAIN)]) as runtime:
        assert runtime.users.owners is not None
    no = Policy(sandbox=Settings(users=False))
    async with Runtime(tmp_path / "home", agents=[agent(PLAIN)], policy=no) as runtime:
        assert (runtime.users.owners, runtime.users.why) == (None, "policy.toml says so (sandbox.users)")
