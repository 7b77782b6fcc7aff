"""What may be changed while nodes run: typed keys, one record for all nodes, files that are read again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from roost.agent.agent_file_watch import AgentFiles
from roost.agent.default_agent import default_agent
from roost.errors import Invalid, RoostError
from roost.kernel.settings import Record
from roost.runtime import Runtime

from .support import FAST, Traces, agent, calling, place, running


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await check():
            await asyncio.sleep(0.05)


async def test_a_change_holds_on_every_node_and_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as one, running(tmp_path) as two:
        made = await one.configuration.patch({"linger": 0.5, "retention": 3600}, by="ann")
        assert [(c.key, c.old, c.new) for c in made.changes] == [("linger", None, 0.5), ("retention", None, 3600)]
        assert (one.node.membership.config.linger, one.node.membership.config.retention) == (0.5, 3600)

        async def heard() -> bool:
            return two.node.membership.config.linger == 0.5

        await eventually(heard)
        assert (await two.configuration.patch({"linger": 0.5}, by="bob")).number == made.number
        back = await two.configuration.patch({"linger": None, "retention": 0}, by="bob")
        assert two.node.membership.config.linger == FAST.linger
    async with running(tmp_path) as again:
        assert (again.node.membership.config.linger, again.node.membership.config.retention) == (FAST.linger, None)
        history = await again.configuration.record.history()
        assert [(revision.number, revision.by) for revision in history] == [(2, "bob"), (1, "ann")]
        assert history[0].changes == back.changes
        assert await again.configuration.record.history(before=2, limit=1) == [history[1]]
        settings = {one.key: one for one in await again.configuration.settings()}
        assert (settings["retention"].set, settings["retention"].value) == (True, None)
        assert (settings["linger"].set, settings["linger"].value) == (False, FAST.linger)


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"lingr": 1}, "did you mean 'linger'"),
        ({"lease": 1}, "unknown key"),
        ({"linger": "soon"}, "takes a number"),
        ({"linger": True}, "takes a number"),
        ({"linger": float("nan")}, "takes a number"),
        ({"max_live": 1.5}, "a whole number"),
        ({"max_live": 0}, "takes 1 to"),
        ({"session_timeout": -1}, "or 0 (never)"),
        ({"model": " "}, "takes a name"),
        ({"model": "nobody/x"}, "no account"),
        ({"linger": 2.0, "max_live": "many"}, "a whole number"),
        ({}, "name a key"),
    ],
)
async def test_what_is_wrong_changes_nothing(tmp_path: Path, given: dict[str, object], says: str) -> None:
    async with running(tmp_path) as runtime:
        with pytest.raises(RoostError, match=says.replace("(", r"\(").replace(")", r"\)")):
            await runtime.configuration.patch(given, by="ann")
        assert (await runtime.configuration.record.look()).number == 0
        assert runtime.node.membership.config.linger == FAST.linger


async def test_changes_at_the_same_moment_are_made_one_upon_the_other(tmp_path: Path) -> None:
    async with running(tmp_path) as one, running(tmp_path) as two:
        records = [Record(node.node.store.coordination) for node in (one, two) for _ in range(3)]
        keys = ["linger", "retention", "session_timeout", "cleanup_every", "max_live", "approvals.seconds"]
        made = await asyncio.gather(
            *(record.patch({key: 7}, by=key) for record, key in zip(records, keys, strict=True))
        )
        assert sorted(revision.number for revision in made) == [1, 2, 3, 4, 5, 6]
        newest = await Record(one.node.store.coordination).look()
        assert newest.values == dict.fromkeys(keys, 7)
        assert newest.number == 6


async def test_a_budget_and_a_model_are_in_force_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.configuration.patch({"budget.month": 12.5, "model": "openai/gpt-5-mini"}, by="ann")
        assert (await runtime.costs.get()).month.limit == 12_500_000_000
        assert runtime.models.config.default == "openai/gpt-5-mini"
        await runtime.configuration.patch({"budget.month": None}, by="ann")
        assert (await runtime.costs.get()).month.limit is None


def home(tmp_path: Path, **files: str) -> AgentFiles:
    folder = tmp_path / "home" / "agents"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    read = AgentFiles(tmp_path / "home", cwd=tmp_path, base=(default_agent(),))
    read.first()
    return read


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_files_are_read_again_and_a_broken_one_leaves_what_was(tmp_path: Path) -> None:
    files = home(tmp_path, clerk='instructions = "one"', guide='instructions = "guide"')
    path = tmp_path / "home" / "agents" / "clerk.toml"
    async with Runtime(tmp_path / "home", agent_files=files, config=FAST) as runtime:
        first = runtime.agents.get("clerk")
        path.write_text('instructions = "two"')

        async def renewed() -> bool:
            return runtime.agents.get("clerk").spec.instructions == "two"

        await eventually(renewed)  # by itself
        assert runtime.agents.get("clerk").spec.version != first.spec.version
        path.write_text('instructions = "thr')
        (path.parent / "new.toml").write_text('instructions = "new"')
        done = await runtime.configuration.reload()
        assert done.agents == ("new",)
        assert "not valid TOML" in done.faults[str(path)]
        assert runtime.agents.get("clerk").spec.instructions == "two"
        path.unlink()
        assert (await runtime.configuration.reload()).agents == ("clerk",)
        with pytest.raises(Invalid, match="there is no agent 'clerk'"):
            runtime.agents.get("clerk")
        assert (await runtime.configuration.reload()).agents == ()
        assert [agent.spec.name for agent in runtime.agents.all()] == ["assistant", "guide", "new"]


def test_what_is_not_taken_in_without_an_order(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.toml").write_text('instructions = "one"\npermissions = "read_only"')
    (folder / "b.py").write_text("from roost.agent.definition import Agent\nagent = Agent('b', instructions='one')\n")
    read = AgentFiles(tmp_path / "home", cwd=tmp_path / "else", extra=(folder,))
    read.first()

    def said() -> dict[str, str]:
        return {agent.spec.name: agent.spec.instructions for agent in read.agents}

    (folder / "a.toml").write_text('instructions = "two"\npermissions = "read_only"')
    (folder / "b.py").write_text("from roost.agent.definition import Agent\nagent = Agent('b', instructions='two')\n")
    read.read(ordered=False)
    assert said() == {"a": "two", "b": "one"}
    (folder / "a.toml").write_text('instructions = "three"\npermissions = "all"')
    (folder / "c.toml").write_text('permissions = "all"')
    for _ in range(2):
        read.read(ordered=False)
        assert said() == {"a": "two", "b": "one"}
        assert all("roost reload" in fault for fault in read.faults.values())
        assert len(read.faults) == 3
    read.read()
    assert (said()["a"], said()["b"], "c" in said(), read.faults) == ("three", "two", True, {})


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("field", ["model", "compaction.model", "stall.model"])
def test_no_server_gets_a_key_without_an_order(tmp_path: Path, field: str) -> None:
    path = tmp_path / "mine" / "a.toml"
    path.parent.mkdir()
    text = 'stall.actions = ["hint"]\n{} = "http://127.0.0.1:{}/v1#m"'
    path.write_text(text.format(field, 8001))
    read = AgentFiles(tmp_path / "home", cwd=tmp_path / "else", extra=(path.parent,))
    before = read.first()
    path.write_text(text.format(field, 8002))
    assert read.read(ordered=False) == before
    assert "roost reload" in read.faults[str(path)]
    assert "8002" in str(next(agent.spec for agent in read.read() if agent.spec.name == "a"))


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_models_and_the_policy_are_read_again(tmp_path: Path) -> None:
    models, policy = tmp_path / "models.toml", tmp_path / "policy.toml"
    models.write_text("[budget]\nmonth = 5\nallow_unknown = true\n")
    traces = Traces()
    async with running(tmp_path, agent([calling("safe"), "done"], traces.tools())) as runtime:
        session = await runtime.session("a")
        asked = asyncio.create_task(session.ask("hi"))
        await traces.started.wait()
        models.write_text("[budget]\nmonth = 50\nallow_unknown = true\n")
        policy.write_text('[[rules]]\neffect = "deny"\ntool = "safe"\nreason = "not today"\n')
        assert (await runtime.configuration.reload()).files == ("models.toml", "policy.toml")
        assert (await runtime.costs.get()).month.limit == 50_000_000_000
        traces.gate.set()
        assert await asked == "done"  # what was under way goes on
        assert traces.done == ["safe"]
        await session.ask("again")
        assert traces.done == ["safe"]
        models.write_text("[budget]\nmonth = 'much'\n")
        faults = (await runtime.configuration.reload()).faults
        assert "budget" in faults[str(models)]
        assert (await runtime.costs.get()).month.limit == 50_000_000_000
        policy.write_text("")
        await runtime.configuration.reload(ordered=False)
        assert "roost reload" in runtime.configuration.faults[str(policy)]
        assert runtime.node.resources.policy.rules


async def test_a_change_that_is_killed_is_made_or_not(tmp_path: Path) -> None:
    address = place.url or str(tmp_path / "roost.db")
    said = 0
    for round_ in range(3):
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.kernel.patching",
            address,
            str(round_ * 1000 + 1),
            stdout=asyncio.subprocess.PIPE,
        )
        assert worker.stdout is not None
        said = int(await worker.stdout.readline())
        await asyncio.sleep(random.random() * 0.1)
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        said = max([said, *map(int, (await worker.stdout.read()).split())])
        await worker.wait()
        store = await place.open(tmp_path)
        record = Record(store.coordination)
        newest = await record.look()
        assert newest.values["retention"] in (said + 1, said + 2)
        assert newest.values["linger"] == (int(newest.values["retention"]) - 1) % 3600
        history = await record.history(limit=newest.number)
        assert [one.number for one in history] == list(range(newest.number, 0, -1))
        for new, old in pairwise(history):
            assert {c.key: c.old for c in new.changes} == {c.key: old.values.get(c.key) for c in new.changes}
        await store.close()
