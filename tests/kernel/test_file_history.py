"""The versions of one private file over the checkpoints of a session, and reading one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roost.errors import Conflict, NotFound
from roost.features.checkpoints import service

from .test_travel import Stage, stage

__all__ = ["stage"]


async def _bytes(download: Any) -> bytes:
    return b"".join([chunk async for chunk in download.chunks])


async def test_each_version_is_listed_once_with_the_steps_that_made_it(stage: Stage, tmp_path: Path) -> None:
    async with stage.up() as runtime:
        session, checkpoints = await runtime.session("clerk", id="s"), runtime.checkpoints
        made = []
        for command in (
            "echo 1 > n",
            "echo x > other",
            "echo 2 > n\nsh true",
            "rm n",
            "ln -s other n",
            "rm n; echo 1 > n",
        ):
            await session.ask(f"sh {command}")
            made.append((await checkpoints.make("s", f"after {len(made)}")).seq)
        found = await checkpoints.history("s", "n")
        assert [(one.change, one.seq, one.label) for one in found.versions] == [
            ("changed", made[5], "after 5"),
            ("added", made[4], "after 4"),
            ("removed", made[3], "after 3"),
            ("changed", made[2], "after 2"),
            ("added", made[0], "after 0"),
        ]
        assert [one.since for one in found.versions] == [made[4], made[3], made[2], made[1], None]
        assert [one.file and (one.file.kind, one.file.size) for one in found.versions] == [
            ("file", 2), ("link", 0), None, ("file", 2), ("file", 2),
        ]  # fmt: skip
        assert [one.turns for one in found.versions] == [(5, 6), (4, 5), (3, 4), (2, 3), (0, 1)]
        assert all(begin < end for one in found.versions for begin, end in [one.steps])
        assert (found.unread, found.next) == ([], None)
        await session.ask("sh echo later > n")
        assert [(one.seq, one.change, one.since) for one in (await checkpoints.history("s", "n")).versions[:1]] == [
            (None, "changed", made[5])
        ]
        assert (await checkpoints.history("s", "nothing")).versions == []
        assert await _bytes(await checkpoints.file("s", "n")) == b"later\n"
        assert await _bytes(await checkpoints.file("s", "n", at="after 2")) == b"2\n"
        assert await _bytes(await checkpoints.file("s", "n", at=made[0])) == b"1\n"
        for at in ("after 3", "after 4"):  # removed, and a link: nothing is followed
            with pytest.raises(NotFound) as none:
                await checkpoints.file("s", "n", at=at)
            assert none.value.code == "no_file"
        only = await checkpoints.diff("s", since="after 0", until="after 2", path="n")
        assert [one.path for one in only.changes] == ["n"]
        assert (await checkpoints.diff("s", since="after 0", until="after 2")).added == 1  # the other file
        fork = await checkpoints.fork("s", "after 2", id="f")
        assert [one.seq for one in (await checkpoints.history(fork.id, "n")).versions] == [made[2], made[0]]
        assert await _bytes(await checkpoints.file(fork.id, "n", at="after 0")) == b"1\n"
        await checkpoints.rollback("s", "after 0")
        newest = (await checkpoints.history("s", "n")).versions[0]
        assert (newest.seq, newest.change) == (None, "changed")
        assert await _bytes(await checkpoints.file("s", "n")) == b"1\n"


async def test_requests_for_files_leave_threads_to_others(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    looking, most = 0, 0

    def slow(look: Callable[..., Any]) -> Callable[..., Any]:
        async def slowed(*given: Any, **named: Any) -> Any:
            nonlocal looking, most
            looking += 1
            most = max(most, looking)
            await asyncio.sleep(0.05)
            looking -= 1
            return await look(*given, **named)

        return slowed

    for name in ("differences", "history_of", "read_version"):
        monkeypatch.setattr(service, name, slow(getattr(service, name)))
    async with stage.up() as runtime:
        session, checkpoints = await runtime.session("clerk", id="s"), runtime.checkpoints
        await session.ask("sh echo 1 > n")
        await checkpoints.make("s", "one")
        asked = [(checkpoints.history("s", "n"), checkpoints.file("s", "n"), checkpoints.diff("s")) for _ in range(4)]
        found = await asyncio.gather(*(one for each in asked for one in each))
        assert (len(found), most) == (12, 3)


async def test_pages_are_those_of_the_whole_and_odd_names_are_found(stage: Stage, tmp_path: Path) -> None:
    async with stage.up() as runtime:
        session, checkpoints = await runtime.session("clerk", id="s"), runtime.checkpoints
        for n in range(7):
            await session.ask(f"sh echo {n} > n; printf {n} > \"$(printf 'b\\377d')\"")
            await checkpoints.make("s", f"after {n}")
        whole = await checkpoints.history("s", "n")
        assert len(whole.versions) == 7
        paged, before, pages = [], None, 0
        while True:
            page = await checkpoints.history("s", "n", before=before, limit=3)
            paged += page.versions
            pages += 1
            before = page.next
            if before is None:
                break
        assert (paged, pages) == (whole.versions, 3)
        listed = [one.path for one in (await checkpoints.diff("s", since="after 0")).changes]
        odd = next(one for one in listed if one != "n")
        assert odd == "b\\xffd"
        assert len((await checkpoints.history("s", odd)).versions) == 7
        assert await _bytes(await checkpoints.file("s", odd, at="after 3")) == b"3"
        with pytest.raises(NotFound):
            await checkpoints.file("s", "../s/n")
        (tmp_path / "mine").mkdir()
        mine = await runtime.session("clerk", workspace=str(tmp_path / "mine"))
        with pytest.raises(Conflict) as none:
            await checkpoints.history(mine.id, "n")
        assert none.value.code == "no_files"
