"""Files of sessions: search by tools and operations, one file put back, files that people write, shared folders and
links. On both stores."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent
from roost.authority import Authority, become, current
from roost.errors import Conflict, Forbidden, Invalid, NotFound
from roost.features.accounts import audit
from roost.features.files.duties import FileDuties
from roost.features.files.events import FileRestored, FileWritten
from roost.features.files.librarian import TOOLS, librarian
from roost.features.files.records import checked, token_of
from roost.log import events as ev
from roost.log.content import Text, UserMessage
from roost.models.request import Request
from roost.runtime import Runtime
from roost.testing.scripted import ScriptedModel, by_step
from roost.tools.function import tool
from roost.workspace.files import PathOutside
from tests.kernel.conftest import store as store
from tests.kernel.support import agent, asleep, calling, events, outcomes, running

ALL = list(TOOLS)


def results(log: list[ev.Event]) -> list[str]:
    return [
        "".join(part.text for part in event.parts if isinstance(part, Text))
        for event in log
        if isinstance(event, ev.ToolCompleted)
    ]


async def body(*pieces: bytes) -> AsyncIterator[bytes]:
    for one in pieces:
        yield one


async def read(runtime: Runtime, where: str, path: str) -> bytes:
    return b"".join([piece async for piece in (await runtime.files.read(where, path)).chunks])


def by_turn(*turns: list[Any]) -> ScriptedModel:
    """A model that answers each turn by a script of its own."""

    def answer(request: Request) -> Any:
        said = sum(isinstance(message, UserMessage) for message in request.messages)
        return by_step(turns[said - 1])(request)

    return ScriptedModel(answer)


async def test_tools_search_and_put_back(tmp_path: Path) -> None:
    first = [
        calling("write_file", path="plan.md", content="The garden needs roses.\n"),
        calling("search_files", query="roses"),
        "first",
    ]
    second = [
        calling("write_file", path="plan.md", content="Nothing but gravel.\n"),
        calling("search_files", query="roses"),
        calling("search_files", query="gravel", path="../.."),
        calling("file_history", path="plan.md"),
        calling("restore_file", path="plan.md", version="green"),
        calling("read_file", path="plan.md"),
        calling("restore_file", path="plan.md", version="red"),
        "second",
    ]
    clerk = Agent("a", model=by_turn(first, second), tools=ALL, permissions="all")
    async with running(tmp_path, clerk) as runtime:
        session = await runtime.session("a", id="s")
        (tmp_path / "workspaces/s").mkdir()
        (tmp_path / "workspaces/s/.env").write_text("KEY=roses")
        assert await session.ask("Plan.") == "first"
        made = await runtime.checkpoints.make("s", "green")
        assert await session.ask("Plan again.") == "second"
        log = await events(session, runtime)
        said = results(log)
        assert said[1].startswith("plan.md:1-1  (24 bytes")
        assert "The garden needs roses." in said[1]
        assert ".env" not in said[1]  # the policy holds it back from searches
        assert "nothing fits" in said[3]
        assert "denied" in said[4]
        assert f"{made.seq}: added, 24 bytes, checkpoint green" in said[5]
        assert said[6] == f"plan.md is as at {made.seq}: 24 bytes"
        assert "roses" in said[7]
        assert "there is no checkpoint 'red'" in said[8]
        (restored,) = [event for event in log if isinstance(event, FileRestored)]
        assert (restored.path, restored.to, restored.error) == ("plan.md", made.seq, None)
        assert restored.call is not None
        assert outcomes(log)[restored.call] == "ok"
        assert [hit.path for hit in (await runtime.files.search("s", "roses")).hits] == ["plan.md"]
        fork = await runtime.checkpoints.fork("s", "green", id="f")
        assert [hit.path for hit in (await runtime.files.search(fork.id, "roses")).hits] == ["plan.md"]
        assert (await runtime.files.search(fork.id, "gravel")).hits == []


async def test_people_write_and_put_back(tmp_path: Path) -> None:
    script = [calling("write_file", path="n.txt", content="one"), "done"]
    async with running(tmp_path, agent(script, ["write_file", "read_file"])) as runtime:
        session, files = await runtime.session("a", id="s"), runtime.files
        await session.ask("Begin.")
        here = tmp_path / "workspaces/s"
        (here / "link").symlink_to("n.txt")
        (here / "folder").mkdir()
        (here / "folder" / "in").write_text("x")
        await runtime.checkpoints.make("s", "one")
        done = await files.write("s", "n.txt", body(b"two ", b"words"))
        assert (done.done, done.size) == (True, 9)
        digest = (await files.digest("s", "n.txt")).digest
        await files.write("s", "new/file.bin", body(b"\0binary"), digest="")
        for given in ("", "0" * 32):
            with pytest.raises(Conflict, match="has changed"):
                await files.write("s", "n.txt", body(b"three"), digest=given)
        await files.write("s", "n.txt", body(b"four"), digest=digest)
        assert (await files.restore("s", "n.txt", "one")).size == 3
        assert await read(runtime, "s", "n.txt") == b"one"
        assert (await files.restore("s", "new/file.bin", "one")).size is None  # it did not exist there
        with pytest.raises(NotFound):
            await read(runtime, "s", "new/file.bin")
        with pytest.raises(PathOutside):
            await files.write("s", "../../escape", body(b"x"))
        with pytest.raises(Forbidden):
            await read(runtime, "s", ".env")
        with pytest.raises(NotFound):
            await files.restore("s", "n.txt", "none")
        (here / "link").unlink()
        shutil.rmtree(here / "folder")
        for name in ("link", "folder"):  # they did exist there, if not as files
            (here / name).write_text("kept")
            with pytest.raises(Conflict, match=f"is a {name} there"):
                await files.restore("s", name, "one")
            assert (here / name).read_text() == "kept"
            (here / name).unlink()
        log = await events(session, runtime)
        assert [event.error is None for event in log if isinstance(event, FileWritten)] == [
            True,
            True,
            False,
            False,
            True,
        ]
        assert [event.removed for event in log if isinstance(event, FileRestored)] == [False, True, False, False]
        entries = await files.list("s")
        assert [(one.path, one.folder) for one in entries.files] == [("n.txt", False), ("new", True)]


async def test_an_order_outlives_its_node(tmp_path: Path) -> None:
    """The order is committed while the session's tool runs; the node stops before the turn ends."""
    begun = asyncio.Event()

    @tool(replay="safe", safety="safe_write")
    async def slow() -> str:
        """Take long, once."""
        if not begun.is_set():
            begun.set()
            await asyncio.sleep(600)
        return "ok"

    script = [calling("slow"), "done"]
    async with running(tmp_path, agent(script, [slow, "write_file"])) as runtime:
        session = await runtime.session("a", id="s")
        await session.send("Begin.")
        await begun.wait()
        writing = asyncio.create_task(runtime.files.write("s", "late.txt", body(b"late")))
        async with asyncio.timeout(60):
            while not (await runtime.sessions.get("s")).pending:
                await asyncio.sleep(0.02)
        writing.cancel()
    async with running(tmp_path, agent(script, [slow, "write_file"])) as runtime:
        session = runtime.open("s")
        async with asyncio.timeout(60):
            while not [one for one in await events(session, runtime) if isinstance(one, FileWritten)]:
                await asyncio.sleep(0.05)
        assert (tmp_path / "workspaces/s/late.txt").read_text() == "late"


async def test_shared_folders(tmp_path: Path) -> None:
    papers, home = tmp_path / "papers", tmp_path / "home"
    (papers / "2026").mkdir(parents=True)
    (papers / "2026" / "invoice-may.txt").write_text("Invoice 17, due in May: 120 EUR")
    (papers / "out").symlink_to(tmp_path)
    async with running(home, librarian()) as runtime:
        files = runtime.files
        await files.add_space("papers", str(papers), account="acme")
        for wrong in ("relative", "/", str(home), str(home / "workspaces"), str(tmp_path / "none"), str(tmp_path)):
            with pytest.raises(Invalid):
                await files.add_space("wrong", wrong)
        found = await files.search("space:papers", "the invoice from May")
        assert [(hit.path, hit.first) for hit in found.hits] == [("2026/invoice-may.txt", 1)]
        assert [one.path for one in (await files.list("space:papers")).files] == ["2026"]
        with pytest.raises(PathOutside):
            await read(runtime, "space:papers", "out/home/token")
        owner = current()
        become(Authority(account="acme", role="operator"))
        try:
            assert [(one.name, one.folder) for one in (await files.spaces()).spaces] == [("papers", "")]
            assert (await files.search("space:papers", "invoice")).hits
            with pytest.raises(Forbidden):
                await files.write("space:papers", "x.txt", body(b"x"))
            share = await files.share("space:papers", "2026/invoice-may.txt")
            become(Authority(account="other", role="operator"))
            assert (await files.spaces()).spaces == []
            assert (await files.shares()).shares == []
            with pytest.raises(NotFound):
                await files.search("space:papers", "invoice")
            with pytest.raises(NotFound):
                await files.unshare(share.id)
        finally:
            become(owner)
        await files.add_space("papers", str(papers), account="acme", writable=True)
        become(Authority(account="acme", role="operator"))
        try:
            await files.write("space:papers", "theirs.txt", body(b"x"))
            for runs in (".git/hooks/post-commit", ".envrc", "2026/../.vscode/tasks.json"):
                with pytest.raises(Forbidden, match="runs later"):
                    await files.write("space:papers", runs, body(b"x"))
        finally:
            become(owner)
        await files.write("space:papers", ".envrc", body(b"the owner's own"))
        await files.write("space:papers", "mine.txt", body(b"written by the home"))
        assert (papers / "mine.txt").read_text() == "written by the home"
        await files.remove_space("papers")
        with pytest.raises(NotFound):
            await files.search("space:papers", "invoice")


async def test_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = [calling("write_file", path="report.html", content="<script>alert(1)</script>"), "done"]
    async with running(tmp_path, agent(script, ALL)) as runtime:
        session, files = await runtime.session("a", id="s"), runtime.files
        await session.ask("Begin.")
        made = await files.share("s", "report.html", seconds=60, key="k")
        assert await files.share("s", "report.html", seconds=60, key="k") == made
        sharing = runtime.node.feature(FileDuties).sharing
        token = made.link.split("/")[2]
        shown = await sharing.shown(token)
        assert (shown.name, shown.size) == ("report.html", 25)
        id, expires, mac = token.split(".")
        for forged in (
            f"{id}.{int(expires) + 9999}.{mac}",
            f"{id}.{expires}.{'0' * 64}",
            f"{'0' * 24}.{expires}.{mac}",
            token_of(b"another secret", id, float(expires)),
            "x", "..", "", f"{id}.-5.{mac}", f"{id}.{expires}.{mac}\u00e9",
        ):  # fmt: skip
            with pytest.raises(NotFound):
                await sharing.shown(forged)
        assert checked(b"s", token_of(b"s", "a", 5.0)) == ("a", 5)
        import time as clock

        now = clock.time()
        monkeypatch.setattr("roost.features.files.sharing.time.time", lambda: now + 61)
        with pytest.raises(NotFound):
            await sharing.shown(token)
        assert (await files.shares()).shares == []
        monkeypatch.undo()
        assert [one.id for one in (await files.shares()).shares] == [made.id]
        await files.unshare(made.id)
        with pytest.raises(NotFound):
            await sharing.shown(token)
        rows = [row.what for row in await audit.page(runtime.node.store.documents)]
        assert rows == ["file.unshare", "file.share"]
        with pytest.raises(NotFound):
            await files.share("s", "nothing.txt")
        with pytest.raises(Forbidden):
            await files.share("s", "key.pem")


async def test_sharing_by_an_agent_asks(tmp_path: Path) -> None:
    script = [
        calling("write_file", path="a.txt", content="x"),
        calling("share_file", path="a.txt", hours=2),
        "shared",
    ]
    one = agent(script, ALL, permissions="workspace", unattended="ask")
    async with running(tmp_path, one) as runtime:
        session: Any = await runtime.session("a", id="s")
        await session.send("Share it.")
        async with asyncio.timeout(60):
            while not (waiting := (await runtime.sessions.inspect("s")).approvals):
                await asyncio.sleep(0.02)
        assert waiting[0].tool == "share_file"
        assert (await runtime.files.shares()).shares == []
        await runtime.approvals.answer("s", waiting[0].call, "approve")
        async with asyncio.timeout(60):
            while not (made := (await runtime.files.shares()).shares):
                await asyncio.sleep(0.02)
        assert (made[0].path, made[0].source) == ("a.txt", "s")
        await asleep(runtime, session)
