"""Turn the options of a command line into a session that is ready for a message."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from roost.agent.agent_files import AgentFile, present
from roost.agent.default_agent import DEFAULT_AGENT
from roost.agent.definition import Agent, Limits
from roost.agent.options import CodingAgent
from roost.cli.output import note
from roost.cli.session_ids import session_id
from roost.cli.weights_download import ensure_model
from roost.errors import Invalid, RoostError
from roost.ids import short
from roost.log.session_info import SessionInfo

if TYPE_CHECKING:
    from roost.cli.app import App
    from roost.cli.node import Node


class SessionOptions(NamedTuple):
    """The options of `run` and `chat`. `workspace` None is a private folder of the session. `message` is what `run`
    sends. `id`: of the new session. `program`: a coding agent that does the work in place of an agent.
    `definition`: an agent that no file has."""

    agent: str | None
    model: str | None
    places: tuple[Path, ...]
    session: str | None
    workspace: str | None
    quiet: bool = False
    message: str = ""
    id: str | None = None
    program: CodingAgent | None = None
    definition: Agent | None = None


def begin(app: App, wanted: SessionOptions) -> tuple[Node, str]:
    """Return the node and the session's id; the model's weights are here then. Raises `RoostError`."""
    if wanted.session is not None and (wanted.agent or wanted.model or wanted.program):
        raise Invalid("a session keeps the agent and the model that it began with: leave out the agent or --session")
    if wanted.agent is not None and wanted.program is not None:
        raise Invalid("--with names what does the work: leave out the agent")
    files = app.agent_files(wanted.places)
    agents = {agent.name: agent for agent in files.agents}
    node = app.node(tuple(files.agents))
    try:
        if wanted.session is not None:
            session = session_id(node, wanted.session)
            return node, _revive(node, session)
        return node, create(app, node, wanted, agents, files.files).id
    except BaseException:
        node.close()
        raise


def create(
    app: App, node: Node, wanted: SessionOptions, agents: dict[str, Agent], files: Sequence[AgentFile]
) -> SessionInfo:
    """Create a session. Raises `RoostError`."""
    if wanted.program is not None:
        return _of_program(node, wanted, wanted.program)
    if wanted.definition is not None:
        return _of_definition(node, wanted, wanted.definition)
    name = wanted.agent or DEFAULT_AGENT
    agent = agents.get(name)
    path = next((found.path for found in files if found.agent.name == name), None)
    known = {row.name: row for row in node.node.agents().agents}
    if wanted.agent is None and wanted.message in {*agents, *known}:
        raise Invalid(
            f'{wanted.message!r} is an agent, and its message is missing: roost run {wanted.message} "…"'
            f" (to send this word to the default agent: roost run {DEFAULT_AGENT} {wanted.message})"
        )
    if agent is None and name not in known:
        return _kept(app, node, wanted, name, {*agents, *known})
    model = wanted.model or (agent.model if agent else known[name].model)
    if not node.daemon or (model or "").partition("/")[0] == "local":
        # A daemon has fetched its default model at its start.
        ensure_model(model, agent, quiet=wanted.quiet)
    if path is not None and not wanted.quiet:
        note(f"agent {name} from {_shown(path)}")
        named = {path, path.parent}.intersection(wanted.places)
        if agent is not None and not named and name in known and known[name].version != agent.version:
            note(f"the daemon knows another agent {name}: to use that one, rename this file", "yellow")
    if node.daemon and model is None and (own := os.environ.get("ROOST_MODEL")):
        note(f"the daemon's model answers; for ROOST_MODEL of this shell: --model {own}", "yellow")
    if agent is not None and wanted.model is not None:
        agent = agent.replace(model=wanted.model)
    if agent is not None and (wanted.model is not None or _is_local(app, path)):
        return node.create_as(agent, workspace=wanted.workspace, id=wanted.id)
    model = wanted.model if agent is None else None
    return node.sessions.create(name, workspace=wanted.workspace, model=model, id=wanted.id)


def _kept(app: App, node: Node, wanted: SessionOptions, name: str, known: set[str]) -> SessionInfo:
    """Create a session of an agent that no file has: one that the store keeps, because a client made it by an API."""
    try:
        made = node.sessions.create(name, workspace=wanted.workspace, model=wanted.model, id=wanted.id)
    except RoostError as error:
        if error.code != "unknown_agent":
            raise
        raise Invalid(
            f"there is no agent {name!r}; the agents are: {', '.join(sorted(known))}"
            + _unread(name, app.home, wanted.places),
            code="unknown_agent",
        ) from None
    if not node.daemon:
        ensure_model(wanted.model, None, quiet=wanted.quiet)
    return made


def _of_program(node: Node, wanted: SessionOptions, program: CodingAgent) -> SessionInfo:
    """Create a session that a coding agent works in."""
    agent = Agent(
        program,
        instructions="",
        description=f"{program}, a coding agent of another product",
        program=program,
        model=wanted.model,
        environment=["instructions"],
        limits=Limits(steps=500, seconds=4 * 3600.0),
    )
    return _of_definition(node, wanted, agent)


def _of_definition(node: Node, wanted: SessionOptions, agent: Agent) -> SessionInfo:
    if not node.daemon or (agent.model or "").partition("/")[0] == "local":
        ensure_model(agent.model, agent, quiet=wanted.quiet)
    return node.create_as(agent, workspace=wanted.workspace, id=wanted.id)


def _is_local(app: App, path: Path | None) -> bool:
    """True when the definition is this folder's own; a daemon may have another version of it, or none."""
    return path is not None and (app.home / "agents").resolve() not in path.resolve().parents


def _unread(name: str, home: Path, named: Sequence[Path]) -> str:
    """Return a hint if a Python file of this folder, which runs only if the user names it, may define the agent."""
    found = [path for place in present(Path.cwd(), home) if place not in named for path in sorted(place.glob("*.py"))]
    path = next((path for path in found if path.stem == name), found[0].parent if found else None)
    if path is None or path in named:
        return ""
    shown = _shown(path)
    return f". Python files of a folder run only if you name them; to use {shown}: --agents {shown}"


def _revive(node: Node, session: str) -> str:
    info = node.info(session)
    if info.state in ("stopped", "error", "paused"):
        word = "start" if info.state == "stopped" else "resume"
        then = "" if node.daemon else f", and `roost attach {short(session)}` if no daemon runs"
        raise Invalid(
            f"session {short(session)} is {info.state}: `roost {word} {short(session)}` first{then}",
            code=f"session_{info.state}",
        )
    if unknown := node.sessions.inspect(session).unknown:
        from roost.kernel.placement import PartsUnknown

        raise PartsUnknown(session, unknown)
    return session


def _shown(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
