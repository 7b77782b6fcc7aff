"""What a replay must not do: anything. Store and home are the same afterwards, whatever the session once did."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from roost import Agent, Runtime
from roost.agent.definition import Children
from roost.log import events as ev
from roost.log.content import Text
from roost.memory.rights import Memory
from roost.models.profile import Price
from roost.models.request import Profile
from roost.policy.hooks import Answer as Judged
from roost.policy.hooks import Moment, PythonHook
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from roost.tools.base import ToolContext
from roost.tools.function import tool
from tests.kernel.support import asleep, calling, events, place, running, until

from .test_replay import FILES, clerk, difference, recorded


class Outside:
    """What a hook and a tool did."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def hook(self) -> PythonHook:
        async def heard(moment: Moment) -> Judged | None:
            self.done.append(f"hook {moment.on}")
            return None

        return PythonHook(heard, on=["session_start", "turn_start", "pre_model", "post_model", "pre_tool", "turn_end"])

    def tool(self) -> Any:
        @tool(replay="never", safety="high_risk")
        async def pay(context: ToolContext, sum: int) -> str:
            """Pay."""
            self.done.append(f"paid {sum}")
            await context.emit("paid", {"sum": sum})
            return f"paid {sum}"

        return pay


async def content(runtime: Runtime) -> dict[str, Any]:
    """All that the store and the home hold, but for leases and beats."""
    portable = runtime.node.store.portable
    dumps: dict[str, Any] = {}
    async for session in portable.sessions():
        dump = await portable.dump(session)
        info = dump.info
        bodies = [record.body for record in await runtime.node.store.logs.read(session, limit=100_000)]
        dumps[session] = (info.state, info.phase, info.head, info.pending, dump.inputs, dump.inbox, dump.timers, bodies)
    dumps["facts"] = [await portable.fact_rows(space) for space in ("agent:clerk", "user:@home", "global")]
    shared = await portable.dump_shared()
    dumps["shared"] = (shared.budgets, shared.reservations, shared.calls)
    dumps["documents"] = list(await portable.documents())
    folders = [runtime.home / name for name in ("workspaces", "workspaces.memory", "uploads", "replays")]
    dumps["files"] = sorted(
        f"{path} {path.stat().st_size if path.is_file() else ''}"
        for folder in folders
        for path in folder.rglob("*")
        if path.name != ".bin"
    )
    return dumps


def eventful(outside: Outside) -> list[Agent]:
    answers = [
        Answer(calls=(Call("remember", {"text": "The office is in Ghent."}),)),
        Answer(calls=(Call("task", {"agent": "helper", "task": "Count the birds."}),)),
        Answer(calls=(Call("plan", {"goals": [{"text": "a", "state": "doing"}]}),)),
        Answer(calls=(Call("pin", {"key": "k", "text": "keep this"}),)),
        Answer(calls=(Call("pay", {"sum": 3}),)),
        FILES[0],
        Answer(calls=(Call("shell_start", {"command": "echo hi"}),)),
        "All done.",
    ]
    tools = ["remember", "task", "plan", "pin", outside.tool(), "write_file", "shell_start"]
    boss = Agent(
        "clerk",
        model=ScriptedModel(by_step(answers)),
        tools=tools,
        permissions="all",
        hooks=[outside.hook()],
        children=Children(agents=("*",)),
        memory=Memory(),
        environment=("clock", "files"),
        callable_by=("*",),
    )
    return [boss, Agent("helper", model=ScriptedModel(by_step(["Twelve."])), callable_by=("*",))]


@pytest.mark.parametrize("options", [{}, {"compare": "calls"}, {"tools": "live"}, {"agent": "clerk"}])
async def test_nothing_changes(tmp_path: Path, options: dict[str, Any]) -> None:
    outside = Outside()
    async with running(tmp_path, *eventful(outside)) as runtime:
        handle = await runtime.session("clerk", labels={"user": "@home"})
        assert await handle.ask("Do everything.") == "All done."
        ended = [event.outcome for event in await events(handle, runtime) if isinstance(event, ev.ToolCompleted)]
        assert ended.count("ok") >= 6, ended
        await asleep(runtime, handle)
        before, did = await content(runtime), list(outside.done)
        found = await runtime.replays.run(handle.id, **options)
        assert found.divergence is None, found.divergence
        assert found.calls == 7
        await asyncio.sleep(0.2)
        assert outside.done == did
        assert await content(runtime) == before


async def test_a_replay_with_a_model_is_in_the_ledger_and_leaves_no_budget(tmp_path: Path) -> None:
    priced = ScriptedModel(by_step(FILES), profile=Profile(price=Price(input=1.0, output=2.0)))
    spender = Agent("spender", model=priced, tools=["write_file", "read_file", "list_files"])
    async with running(tmp_path, clerk(), spender) as runtime:
        handle = await runtime.session("clerk", labels={"user": "bob"})
        await handle.ask("Go.")
        found = await runtime.replays.run(handle.id, agent="spender")
        assert found.divergence is None
        assert found.cost
        shared = await runtime.node.store.portable.dump_shared()
        assert not [name for name in shared.budgets if "rpl_" in name or "bob" in name]
        assert sum(spent for name, (spent, _) in shared.budgets.items() if name.startswith("agent:spender")) > 0


async def test_a_replay_that_is_cut_off_leaves_nothing(tmp_path: Path) -> None:
    slow = Agent(
        "slow",
        model=ScriptedModel([Answer(calls=(Call("write_file", {"path": "a.txt", "content": "hello"}),), delay=600)]),
        tools=["write_file"],
    )
    async with running(tmp_path, clerk(), slow) as runtime:
        session = await recorded(runtime)
        handle = runtime.open(session)
        await asleep(runtime, handle)
        before = await content(runtime)
        work = asyncio.create_task(runtime.replays.run(session, agent="slow"))
        await asyncio.sleep(0.3)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        after = await content(runtime)
        assert after == before
        assert (await runtime.replays.run(session)).divergence is None


async def test_what_people_did_is_part_of_the_record(tmp_path: Path) -> None:
    """Approvals, steering, a cancel, a failure, a rollback, a fork: each is replayed as it was."""
    held = asyncio.Event()

    @tool(replay="safe", safety="safe_write")
    async def hold() -> str:
        """Hold."""
        await held.wait()
        return "held"

    script = {
        "approve": by_step([FILES[0], "approved"]),
        "steer": by_step([calling("hold")]),
        "cancel": by_step([calling("hold"), "never"]),
    }

    def answer(request: Any) -> Any:
        said = [part.text for message in request.messages for part in message.parts if isinstance(part, Text)]
        return "steered" if "and be quick" in said else script[said[0]](request)

    asking = Agent("clerk", model=ScriptedModel(answer), tools=["write_file", hold], permissions="ask")
    async with running(tmp_path, asking) as runtime:
        approved, steered, cancelled = [await runtime.session("clerk") for _ in range(3)]
        accepted = await approved.send("approve")
        asked = await until(approved, ev.ApprovalRequested)
        await approved.approve(asked.call, "approve")
        assert await approved.answer(accepted.id) == "approved"
        for session, text in ((steered, "steer"), (cancelled, "cancel")):
            await session.send(text)
            asked = await until(session, ev.ApprovalRequested)
            await session.approve(asked.call, "approve")
            await until(session, ev.ToolStarted)
        await steered.send("and be quick", mode="steer")
        await runtime.sessions.control(cancelled.id, "cancel")
        held.set()
        await until(steered, ev.TurnCompleted)
        await until(cancelled, ev.TurnCompleted)
        await runtime.checkpoints.rollback(approved.id, 3)
        fork = await runtime.checkpoints.fork(steered.id)
        for session in (steered.id, cancelled.id, fork.id):
            found = await runtime.replays.run(session)
            assert found.divergence is None, (session, found.divergence)
            assert found.turns == 1
        assert (await runtime.replays.run(cancelled.id)).outcome == "cancelled"
        runtime.agents.add(asking.replace(permissions="all"))
        assert difference(await runtime.replays.run(steered.id)).kind == "gate"


async def test_a_crash_in_the_record(tmp_path: Path) -> None:
    """A call that a crash cut off has its outcome, and the replay goes on after it."""
    started = asyncio.Event()

    @tool(replay="never", safety="safe_write")
    async def once() -> str:
        """Must not run twice."""
        started.set()
        await asyncio.sleep(600)
        return "done"

    agent = clerk([calling("once"), "Over."], [once], permissions="all")
    runtime = Runtime(tmp_path, agents=[agent], store=place.url)
    await runtime.start()
    handle = await runtime.session("clerk")
    accepted = await handle.send("Go.")
    await asyncio.wait_for(started.wait(), 60)
    await runtime.stop(grace=0.0)
    async with running(tmp_path, agent) as again:
        assert await again.open(handle.id).answer(accepted.id) == "Over."
        found = await again.replays.run(handle.id)
        assert found.divergence is None
        assert found.tools == ["once"]


async def test_the_log_of_an_export_is_replayed_anywhere(tmp_path: Path) -> None:
    async with running(tmp_path / "one", clerk()) as runtime:
        session = await recorded(runtime)
        await runtime.exchange.write(session, tmp_path / "log.jsonl")
    log = (tmp_path / "log.jsonl").read_text()
    there = Runtime(tmp_path / "two")
    async with there as runtime:
        found = await runtime.replays.log(log)
        assert (found.divergence, found.session, found.calls) == (None, session, 3)
        assert (await runtime.replays.log(log, tools="live", files=["a.txt"])).files == {"a.txt": "hello"}
        assert set(os.listdir(tmp_path / "two" / "workspaces")) <= {".bin"}


async def test_what_was_imported_is_not_judged_again(tmp_path: Path) -> None:
    """An import taints the session, which makes the gate stricter; the calls before it were judged elsewhere."""
    shelling = clerk([calling("shell", command="curl -s http://localhost:1 || true"), "Done."], ["shell"])
    shelling = shelling.replace(permissions="all")
    async with running(tmp_path, shelling) as runtime:
        session = await recorded(runtime)
        await runtime.exchange.write(session, tmp_path / "log.jsonl")
        copy = (await runtime.exchange.read(tmp_path / "log.jsonl", id="copy", agent="clerk")).session.id
        found = await runtime.replays.run(copy)
        assert (found.divergence, found.tools) == (None, ["shell"])
        assert "was not judged again" in found.notes[0]


async def test_a_refusal_of_a_feature_is_no_unknown_tool(tmp_path: Path) -> None:
    refused = [Answer(calls=(Call("task", {"agent": "nobody", "prompt": "x"}),)), "Nobody."]
    boss = clerk(refused, ["task"], permissions="all", children=Children(agents=("helper",)))
    async with running(tmp_path, boss, eventful(Outside())[1]) as runtime:
        session = await recorded(runtime)
        log = [record.event for record in await runtime.sessions.history(session)]
        (outcome,) = [event.outcome for event in log if isinstance(event, ev.ToolCompleted)]
        assert outcome != "ok"
        assert (await runtime.replays.run(session)).divergence is None


async def test_a_tool_that_was_unknown_and_is_there_now(tmp_path: Path) -> None:
    async with running(tmp_path, clerk(FILES, ["write_file"])) as runtime:
        session = await recorded(runtime)
        assert (await runtime.replays.run(session)).divergence is None
        runtime.agents.add(clerk())
        one = difference(await runtime.replays.run(session, compare="calls"))
        assert (one.kind, one.recorded.partition("\n")[0]) == ("gate", "unknown")


async def test_all_calls_of_an_answer_are_judged_before_the_first_has_a_result(tmp_path: Path) -> None:
    @tool(replay="safe", safety="read_only", taints=True)
    async def read_mail() -> str:
        """Read what strangers wrote."""
        return "Hello."

    outside = Outside()
    both = Answer(calls=(Call("read_mail", {}), Call("pay", {"sum": 3})))
    reading = clerk([both, "Paid."], [read_mail, outside.tool()], permissions="all")
    async with running(tmp_path, reading) as runtime:
        session = await recorded(runtime)
        assert outside.done == ["paid 3"]
        assert (await runtime.replays.run(session)).divergence is None
