"""Pages of a conversation's items from the newest back: the items of the whole log, at the cost of the page."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.harness.doors.transport import Within

from roost import Agent, Runtime
from roost.kernel.sessions import Sessions
from roost.server.app import build_app
from roost.testing.scripted import Answer, ScriptedModel

TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}


class Place(NamedTuple):
    runtime: Runtime
    http: Within

    async def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        heard = await self.http.ask(method, path, body)
        assert heard.status == status, heard.body
        return heard.json

    async def head(self) -> int:
        """Return the end of the log once nothing waits to be put there."""
        while (info := await self.runtime.sessions.get("c")).pending:
            await asyncio.sleep(0.01)
        return info.head

    async def listed(self, order: str, limit: int) -> list[Any]:
        """Return all items, by pages."""
        found: list[Any] = []
        after = ""
        while True:
            page = await self.ask("GET", f"/v1/conversations/c/items?order={order}&limit={limit}{after}")
            found += page["data"]
            assert len(page["data"]) <= limit
            if not page["has_more"]:
                return found
            after = f"&after={found[-1]['id']}"

    async def remove(self, ids: list[str]) -> set[str]:
        """Remove an item, and return it if no agent was told of it."""
        done: set[str] = set()
        for id in ids:
            heard = await self.http.ask("DELETE", f"/v1/conversations/c/items/{id}")
            assert heard.status in (200, 409), heard.body
            done |= {id} if heard.status == 200 else set()
        return done

    async def same(self) -> list[Any]:
        """Return the items, which are the same in every way to read them."""
        every = await self.listed("asc", 100)
        for limit in (1, 3, 100):
            assert [one["id"] for one in await self.listed("desc", limit)] == [one["id"] for one in every][::-1], limit
            assert await self.listed("asc", limit) == every, limit
        for one in every[:: max(1, len(every) // 7)]:
            assert await self.ask("GET", f"/v1/conversations/c/items/{one['id']}") == one
        return every


def reply(request: Any) -> Answer:
    from roost.testing.scripted import Call

    last = request.messages[-1]
    if not hasattr(last, "call") and "weather" in last.parts[-1].text:
        return Answer(calls=(Call("weather", {}),))
    return Answer(thinking="Well.", text="So it is.")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    clerk = Agent("clerk", model=ScriptedModel(reply))
    async with Runtime(tmp_path / "home", agents=[clerk]) as runtime:
        app, _ = build_app(runtime, token=None)
        await runtime.sessions.create(clerk, id="c")
        yield Place(runtime, Within(app))


async def said(place: Place, text: str) -> None:
    body: dict[str, Any] = {"model": "clerk", "conversation": "c", "input": text}
    if "weather" in text:
        body["tools"] = [TOOL]
    answer = await place.ask("POST", "/v1/responses", body)
    calls = [one for one in answer["output"] if one["type"] == "function_call"]
    if calls:
        results = [{"type": "function_call_output", "call_id": one["call_id"], "output": "rain"} for one in calls]
        await place.ask("POST", "/v1/responses", {**body, "input": results})


@pytest.mark.parametrize(("seed", "backs"), [(1, True), (2, True), (3, True), (4, False), (5, False)])
async def test_pages_have_what_the_whole_log_has(place: Place, seed: int, backs: bool) -> None:
    chance = random.Random(seed)
    then: dict[int, list[str]] = {}
    removed: set[str] = set()
    ids: list[str] = []
    for number in range(25):
        before, back, fresh = ids, 0, 0
        match chance.choice(["say", "say", "call", "add", "add", "remove", "back"]):
            case "say":
                await said(place, f"words {number}")
                fresh = 3  # the message, reasoning, the answer
            case "call":
                await said(place, f"weather {number}")
                fresh = 5  # the message, the call, its output, reasoning, the answer
            case "add":
                items = [{"role": "user", "content": f"added {number}.{at}"} for at in range(2)]
                await place.ask("POST", "/v1/conversations/c/items", {"items": items})
                fresh = 2
            case "remove":
                removed |= await place.remove(ids[-1:])
            case _ if then and backs:
                back = chance.choice(list(then))  # perhaps one that was left by an earlier rollback
                if back < await place.head():
                    await place.runtime.checkpoints.rollback("c", back)
                    before = then[back]
            case _:
                continue
        head = await place.head()
        ids = [one["id"] for one in await place.listed("asc", 100)]
        kept = [one for one in before if one not in removed]
        assert (ids[: len(kept)], len(ids)) == (kept, len(kept) + fresh), number
        then[head] = ids
    assert await place.same()


async def test_an_item_that_no_conversation_has(place: Place) -> None:
    await said(place, "hello")
    for id in ("msg_c_99", "msg_c_1.7", "item_x", "x"):
        await place.ask("GET", f"/v1/conversations/c/items/{id}", status=404)
        await place.ask("DELETE", f"/v1/conversations/c/items/{id}", status=404)
        await place.ask("GET", f"/v1/conversations/c/items?after={id}", status=400)


async def test_an_item_stays_that_its_agent_was_told_of_before_it_was_removed(place: Place) -> None:
    (added,) = (await place.ask("POST", "/v1/conversations/c/items", {"items": [{"role": "user", "content": "a"}]}))[
        "data"
    ]
    await said(place, "hello")
    await place.ask("DELETE", f"/v1/conversations/c/items/{added['id']}", status=409)
    await place.runtime.sessions.emit("c", "openai.item_removed", {"id": added["id"]})  # it was sent before the message
    await place.head()
    assert added["id"] in [one["id"] for one in await place.same()]


async def test_a_page_reads_no_more_of_the_log_than_it_shows(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(150):
        await place.runtime.sessions.send("c", f"m{number}", key=str(number))
    async for record in place.runtime.sessions.tail("c"):
        if record.body.startswith(b'{"type":"turn.completed"') and getattr(record.event, "turn", 0) == 150:
            break
    read: list[int] = []
    history = Sessions.history

    async def counted(self: Sessions, session: str, *, after: int = 0, limit: int = 1000) -> Any:
        found = await history(self, session, after=after, limit=limit)
        read.append(len(found))
        return found

    monkeypatch.setattr(Sessions, "history", counted)
    page = await place.ask("GET", "/v1/conversations/c/items?limit=20")
    assert len(page["data"]) == 20
    assert page["has_more"]
    head = (await place.runtime.sessions.get("c")).head
    assert head > 500
    assert sum(read) <= 100, (head, read)
    read.clear()
    assert (await place.ask("GET", f"/v1/conversations/c/items/{page['data'][-1]['id']}"))["id"] == page["last_id"]
    assert sum(read) <= 100
    after = ""
    for _ in range(3):
        read.clear()
        page = await place.ask("GET", f"/v1/conversations/c/items?order=asc&limit=20{after}")
        after = f"&after={page['last_id']}"
        assert len(page["data"]) == 20
        assert sum(read) <= 200, read
    assert len(await place.same()) == 450
