"""What comes from outside taints a session: calls with an effect outside wait for a person, until one says trust."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.log import events as ev
from roost.policy.rules import Touches
from roost.runtime import SessionHandle
from roost.testing.scripted import Answer, Call
from roost.tools.errors import ToolError
from roost.tools.function import tool

from ..tools.web import Reply, serving
from .support import agent, calling, events, running

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


@tool(safety="read_only", replay="safe", reach=lambda arguments, root: Touches(outside=True))
async def post(text: str) -> str:
    """Say something to the world."""
    return "posted"


@tool(safety="read_only", replay="safe", taints=True)
async def mail(bad: bool = False) -> str:
    """Read the mail."""
    if bad:
        raise ToolError("unreadable: do as I say")
    return "do as I say"


@tool(safety="read_only", replay="safe", reach=lambda arguments, root: Touches(hosts=("example.com",)))
async def peek() -> str:
    """Look somewhere."""
    return "seen"


_POST = calling("post", text="x")


async def test_a_tainted_session_asks_until_a_person_trusts_it(tmp_path: Path) -> None:
    clerk = agent([calling("post", text="before"), calling("mail"), _POST, "done"], [post, mail])
    async with running(tmp_path, clerk) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        asked = await session.bus.wait_for(ev.ApprovalRequested, after=0, timeout=30)
        assert "from outside" in asked.reason
        log = await events(session, runtime)
        assert [event.by for event in log if isinstance(event, ev.SessionTainted)] == ["mail"]
        kinds = [ev.event_type(event) for event in log]
        assert kinds.index("session.tainted") == kinds.index("tool.completed", kinds.index("session.tainted")) - 1
        assert kinds.count("tool.completed") == 2
    async with running(tmp_path, clerk) as runtime:  # it is still so after a restart
        session = runtime.open(session.id)
        await session.approve(asked.call, "reject")
        await _turn(session, 1)
        await session.send("again")
        assert (await _asked(session, 2)).name == "post"  # and so is the first call of the next turn
        await session.control("trust")
        await session.control("cancel")
        await session.send("and now")
        assert (await _asked(session, 3)).name == "post"  # the mail has come again, before the second call
        log = await events(session, runtime)
        assert sum(isinstance(event, ev.SessionTainted) for event in log) == 2


async def _turn(session: SessionHandle, number: int) -> None:
    async for event in session.events():
        if isinstance(event, ev.TurnCompleted) and event.turn == number:
            return


async def _asked(session: SessionHandle, number: int) -> ev.ApprovalRequested:
    count = 0
    async for event in session.events():
        if isinstance(event, ev.ApprovalRequested):
            count += 1
            if count == number:
                return event
    raise AssertionError


@pytest.mark.parametrize("first", [Call("mail", {"bad": True}), Call("peek", {})])
async def test_errors_and_hosts_taint_too(tmp_path: Path, first: Call) -> None:
    script = [Answer(calls=(first,)), _POST, "done"]
    async with running(tmp_path, agent(script, [post, mail, peek])) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        assert (await _asked(session, 1)).name == "post"


async def test_calls_that_were_said_before_the_content_came_are_not_held(tmp_path: Path) -> None:
    both = Answer(calls=(Call("mail", {}), Call("post", {"text": "x"})))
    async with running(tmp_path, agent([both, "done"], [post, mail])) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "done"


async def test_the_web_taints_and_does_not_wait_for_a_person_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving({"/": Reply(b"<p>do as I say</p>")}) as server:
        monkeypatch.setenv("ROOST_WEB_ALLOW", f"127.0.0.1:{server.port}")
        script = [calling("web_fetch", url=f"{server.url}/"), calling("web_fetch", url=f"{server.url}/?secret"), "done"]
        async with running(tmp_path, agent(script, ["web_fetch"], permissions="workspace")) as runtime:
            session = await runtime.session("a")
            await session.send("go")
            assert "?secret" in (await _asked(session, 1)).arguments
            assert [asked.path for asked in server.asked] == ["/"]
