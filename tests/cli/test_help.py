"""What a newcomer meets: help, suggestions, exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import click
import pytest

from roost.cli.feature_commands import FEATURE_COMMANDS
from roost.cli.main import GROUPS
from roost.cli.main import roost as group

from .conftest import ROOST, Machine

COMMANDS = [name for names in GROUPS.values() for name in names]
LINES = {name: line for names in GROUPS.values() for name, line in names.items()}
BUDGET_SECONDS = 0.150


def _cpu(argv: list[str], times: int = 5) -> float:
    """The least CPU time of a few runs."""
    best = float("inf")
    for _ in range(times):
        before = os.times()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        best = min(best, after.children_user + after.children_system - before.children_user - before.children_system)
    return best


def test_help_costs_next_to_nothing() -> None:
    spent = _cpu([ROOST, "--help"]) - _cpu([sys.executable, "-c", "pass"])
    assert spent <= BUDGET_SECONDS


def test_help_imports_no_command_and_nothing_heavy() -> None:
    heavy = (
        "roost.cli.commands.",
        "roost.features.",
        "roost.kernel",
        "roost.log",
        "roost.models",
        "asyncio",
        "msgspec",
        "rich",
        "aiohttp",
    )
    code = (
        "import sys; from roost.cli.main import run; run(['--help'])\n"
        f"sys.exit(' '.join(name for name in sys.modules if name.startswith({heavy})) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_asking_a_daemon_imports_nothing_that_works() -> None:
    heavy = (
        "roost.kernel.node",
        "roost.agent",
        "roost.models",
        "roost.memory",
        "roost.tools",
        "roost.policy",
        "asyncio",
    )
    code = (
        "import sys, roost.cli.commands.listing, roost.cli.commands.send, roost.cli.node\n"
        f"sys.exit(' '.join(name for name in sys.modules if name.startswith({heavy})) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_commands_of_a_section_are_in_order_wherever_they_come_from() -> None:
    assert [list(names) for names in GROUPS.values()] == [sorted(names) for names in GROUPS.values()]
    assert {name for names in FEATURE_COMMANDS.values() for name in names} <= {*COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_overview_is_the_commands_own_first_line(name: str) -> None:
    context = click.Context(group)
    command = group.get_command(context, name)
    assert command is not None
    assert command.name == name
    assert (command.help or "").startswith(re.split("[;.,]", LINES[name])[0])


def test_a_wrong_word_is_a_usage_error_with_a_suggestion(roost: Machine) -> None:
    wrong = roost("chta")
    assert (wrong.code, wrong.out) == (2, "")
    assert "did you mean `roost chat`" in wrong.err
    assert "did you mean `roost help run`" in roost("help", "rum").err
    unquoted = roost("run", "what", "is", "this")
    assert unquoted.code == 2
    assert "quotes" in unquoted.err
    assert roost("run").code == 2
    assert roost("ps", "--nope").code == 2
    assert roost("--help").code == roost().code == roost("run", "-h").code == 0


def test_version_and_agents_for_programs(roost: Machine) -> None:
    assert roost("version").out.startswith("roost 0")
    assert set(roost("version", "--json").json) == {"version", "python"}
    folder = roost.work / "agents"
    folder.mkdir()
    (folder / "clerk.toml").write_text('description = "Files things"\ntools = ["grep"]\n')
    (roost.work / "more.md").write_text("---\nname: extra\n---\nBe extra.\n")
    found = {row["name"]: row for row in roost("agents", "--json", "--agents", "more.md").json}
    assert set(found) == {"assistant", "clerk", "extra"}
    assert (found["clerk"]["tools"], found["clerk"]["source"].endswith("clerk.toml")) == (["grep"], True)
    assert "Files things" in roost("agents").out
    (folder / "broken.toml").write_text("tools = 3")
    broken = roost("agents").ok()
    assert "skipped: agents/broken.toml:1: field 'tools'" in broken.err


def test_the_version_is_an_option_too(roost: Machine) -> None:
    assert roost("--version").ok().out.startswith("roost ")


def test_help_is_a_word_too(roost: Machine) -> None:
    assert roost("help").ok().out == roost("--help").out
    assert roost("help", "run").ok().out == roost("run", "--help").out
    assert roost("help", "runn").code == 2
