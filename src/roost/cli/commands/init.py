"""`roost init`: what a project needs for agents of its own."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from roost.cli.app import App, folder
from roost.cli.options import command
from roost.cli.output import note, say
from roost.errors import ConfigError
from roost.ids import is_id
from roost.policy.system_rules import PROJECT_FILE

_AGENT = """---
description: Knows this project.
# model = the default of this machine; roost models lists those that you can use
tools: [list_files, glob, grep, read_file, write_file, edit_file, shell]
permissions: workspace
environment: [clock, files, instructions]
---
You work on the project in this folder. Look before you answer, and say what you could not find out.
Run the tests after a change.
"""
_POLICY = """# What no agent may do in this project without a person. A project's rules may only ask and deny.
# To try one: roost policy check 'git push'

[[rules]]
effect = "ask"
command = "git push"
reason = "a person looks at what is published"

[[rules]]
effect = "deny"
path = "**/.env"
reason = "it holds keys"
"""
_IGNORED = "/.env"
_NOTE = "# keys for agents (roost)"


@command("init")
@click.argument("place", required=False, metavar="[DIR]")
@click.option("--name", default="project", show_default=True, help="The agent's name.")
def init(app: App, place: str | None, name: str) -> int:
    """Write an agent, a policy and a line of .gitignore for this project.

    Files that exist stay as they are. The agent is .roost/agents/NAME.md, the policy .roost/policy.toml.
    """
    if not is_id(name):
        raise click.UsageError(f"{name!r} is no name of an agent: letters, digits and ._:-")
    root = Path(folder(place or "."))
    if (root / ".roost").resolve() == app.home.resolve():
        raise ConfigError(f"{root} holds Roost's home: go into the folder of a project")
    _made(root / ".roost/agents" / f"{name}.md", _AGENT, root)
    _made(root / PROJECT_FILE, _POLICY, root)
    _ignore(root)
    where = "" if place is None else f"cd {shlex.quote(str(root))} && "
    say(f'try it: {where}roost run --agent {name} "What is this project?"')
    return 0


def _made(path: Path, text: str, root: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        note(f"{path.relative_to(root)} is there already")
    else:
        say(f"wrote {path.relative_to(root)}")


def _ignore(root: Path) -> None:
    """Keep `.env`, from which Roost reads keys, out of the repository."""
    path = root / ".gitignore"
    before = path.read_text(errors="surrogateescape") if path.exists() else ""
    if any(line.strip() in (_IGNORED, ".env", "*.env", ".env*") for line in before.splitlines()):
        note(".gitignore names .env already")
        return
    gap = "" if not before or before.endswith("\n") else "\n"
    with path.open("a") as file:
        file.write(f"{gap}{_NOTE}\n{_IGNORED}\n")
    say(f"added {_IGNORED} to .gitignore")
