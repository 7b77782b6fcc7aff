"""`roost policy`: show the gate's decision about a call, and the layer that makes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from roost.agent.calling_rights import why_not
from roost.agent.definition import Agent
from roost.cli.app import App, folder
from roost.cli.options import agent_places, as_json, command
from roost.cli.output import Style, note, say, say_json, styled, table
from roost.errors import ConfigError
from roost.policy.gate import NOTHING, GateCall, LayeredGate, Verdict
from roost.policy.loading import FILE, load_policy, load_project
from roost.policy.rules import Touches
from roost.policy.system_rules import system_rules
from roost.policy.touched_paths import command as touched_by
from roost.tools.base import Tool
from roost.tools.builtin import builtin_tool
from roost.tools.call_trial import SHOWN, touches_of_path, trial_call

_COLOURS: dict[str, Style] = {"allow": "green", "ask": "yellow", "deny": "red"}


@click.group("policy")
def policy() -> None:
    """Show what agents may do, and the standing rules of people.

    \b
      roost policy check 'git push --force'         a shell command
      roost policy check --tool write_file --path .env
      roost policy check --agent lead --call scout      may lead give scout a task?
    """


@command("check")
@click.argument("text", required=False, metavar="[COMMAND]")
@click.option("--tool", "name", metavar="NAME", help="A tool. [default: shell for a command, else write_file]")
@click.option("--path", "path", metavar="PATH", help="The file that the tool gets.")
@click.option("--call", "callee", metavar="AGENT", help="The agent that would get a task.")
@click.option(
    "--agent", metavar="NAME", default="assistant", show_default=True, help="The agent whose rules and mode apply."
)
@click.option("--workspace", metavar="DIR", help="Where the agent works. [default: this folder]")
@click.option("--walled", is_flag=True, help="As if commands ran at isolation level 1 or more.")
@agent_places
@as_json
def check(
    app: App,
    text: str | None,
    name: str | None,
    path: str | None,
    callee: str | None,
    agent: str,
    workspace: str | None,
    walled: bool,
    agent_places: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Show what each layer decides about a call, and which one counts.

    The call does not run. Exit code 0: it would be allowed; 3: a person would be asked; 4: it would be denied.
    """
    if sum(one is not None for one in (text, path, callee)) != 1:
        raise click.UsageError("give a COMMAND, --path with --tool, or --call")
    root = Path(folder(workspace or os.getcwd()))
    specs = {one.name: one for one in app.agents(agent_places)}
    spec = _spec(specs, agent)
    gate = LayeredGate(
        spec.permissions,
        {
            "user": load_policy(app.home / FILE).rules,
            "config": spec.rules,
            "project": load_project(root, app.home),
            "system": system_rules(),
        },
        hidden=(app.home,),
        refusal=lambda called: why_not(spec, _spec(specs, called)),
    )
    name = name or ("shell" if text is not None else "write_file" if path is not None else "task")
    tool = spec.python.tools.get(name) or builtin_tool(name)
    if callee is not None:
        touches = Touches(agent=_spec(specs, callee).name)
    else:
        touches = touched_by(text, root) if text is not None else _of_path(name, tool, path or "", root)
    call = trial_call(name, tool, touches, root, walled=walled)
    if name not in spec.tools:
        note(f"{agent} does not have the tool {name}", "yellow")
    _tell(gate, call, as_json=as_json)
    return {"allow": 0, "ask": 3, "deny": 4}[gate.decide(call).decision]


policy.add_command(check)


def _spec(known: Mapping[str, Agent], agent: str) -> Agent:
    if agent not in known:
        raise ConfigError(f"there is no agent {agent!r}; the agents are: {', '.join(sorted(known))}")
    return known[agent]


def _of_path(name: str, tool: Tool | None, path: str, root: Path) -> Touches:
    found = touches_of_path(tool, path, root)
    if found is None:
        note(f"{name} has no `reach`: the gate does not know which files a call touches", "yellow")
    return NOTHING if found is None else found


def _tell(gate: LayeredGate, call: GateCall, *, as_json: bool) -> None:
    verdict = gate.decide(call)
    layers = {layer: gate.of_layer(layer, call) for layer in SHOWN}
    if as_json:
        say_json({"verdict": verdict, "layers": {name: said for name, said in layers.items() if said is not None}})
        return
    table(("LAYER", "SAYS", "WHY"), [(layer, *_row(said)) for layer, said in layers.items()])
    say()
    say(f"{styled(verdict.decision, _COLOURS[verdict.decision])} by the layer {verdict.layer}: {verdict.reason}")


def _row(said: Verdict | None) -> tuple[str, str]:
    if said is None:
        return "-", ""
    return said.decision, f"{said.reason} ({said.rule})" if said.rule else said.reason
