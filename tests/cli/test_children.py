"""Tasks for other agents, from the command line and with no daemon."""

from __future__ import annotations

from .conftest import Machine


def team(roost: Machine) -> list[str]:
    folder = roost.work / "team"
    folder.mkdir()
    (folder / "lead.toml").write_text('tools = ["task"]\npermissions = "all"\nchildren = { agents = ["worker"] }\n')
    (folder / "worker.toml").write_text('tools = ["shell"]\npermissions = "ask"\ncallable_by = ["lead"]\n')
    return ["--agents", str(folder)]


def test_a_child_works_here_and_asks_here(roost: Machine) -> None:
    agents = team(roost)
    done = roost("run", *agents, "--yes", "lead", "delegate that").ok()
    assert "They said: The result: done" in done.out
    assert "worker has a task" in done.err
    assert (roost.work / "made.txt").read_text() == "made\n"
    listed = roost("ps", "--tree").ok().out.splitlines()
    assert [line.split()[1] for line in listed[1:]] == ["lead", "worker"]
    assert listed[2].startswith("  ")
    [parent] = [info for info in roost("ps", "--json").json if info["agent"] == "lead"]
    assert [info["parent"] for info in roost("ps", "--tree", "--json").json] == [None, parent["id"]]


def test_nobody_is_there_to_allow_what_a_child_wants(roost: Machine) -> None:
    agents = team(roost)
    done = roost("run", *agents, "lead", "delegate that").ok()
    assert "not run" in done.out
    assert not (roost.work / "made.txt").exists()


def test_agents_that_came_with_a_folder_call_nobody(roost: Machine) -> None:
    (roost.work / "agents").mkdir()
    (roost.work / "agents" / "lead.toml").write_text('children = { agents = ["*"] }\n')
    refused = roost("run", "lead", "hello")
    assert refused.code != 0
    assert "tasks for other agents" in refused.err
