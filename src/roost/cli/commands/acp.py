"""`roost acp`."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roost.agent.default_agent import DEFAULT_AGENT
from roost.cli.app import App
from roost.cli.logs import quiet_logs
from roost.cli.open_session import SessionOptions, create
from roost.cli.options import agent_places, command
from roost.log.session_info import SessionInfo

if TYPE_CHECKING:
    from roost.agent.agent_file_watch import AgentFiles
    from roost.cli.node import Node


@command("acp")
@click.argument("agent", required=False)
@click.option("--model", "-m", metavar="NAME", help="A model for new sessions, as in openai/gpt-5-mini or local.")
@agent_places
def acp(app: App, agent: str | None, model: str | None, agent_places: tuple[Path, ...]) -> int:
    """Let an editor drive sessions by the Agent Client Protocol, on standard input and output.

    An editor starts this command; AGENT is the agent of new sessions, by default the built-in assistant. It uses the
    daemon if one runs; else it does the work itself until the editor closes it, and sessions go on when they are opened
    again. Standard error has the log.
    """
    from roost.acp.pipes import own_streams

    source, target = own_streams()
    files = app.agent_files(agent_places)
    node = app.node(tuple(files.agents))
    if node.daemon:
        quiet_logs()
    logging.getLogger("roost.acp").setLevel(logging.WARNING)
    for number in (signal.SIGTERM, signal.SIGHUP):  # an editor that closes: commands that run end before this does
        signal.signal(number, signal.default_int_handler)
    try:
        node.drive(lambda: _serve(_Host(app, node, files, agent, model), source, target))
        return 0
    finally:
        node.close(grace=1.0)


async def _serve(host: _Host, source: int, target: int) -> None:
    from roost.acp.service import Service

    try:
        await Service(host, source, target).serve()
    finally:
        await host.client.aclose()


class _Host:
    """The daemon, or the application in this process, and the agents of this folder."""

    def __init__(self, app: App, node: Node, files: AgentFiles, agent: str | None, model: str | None) -> None:
        self._app, self._node, self._files, self._model = app, node, files, model
        self.client = node.client()
        self.agent = agent or DEFAULT_AGENT

    async def create(self, folder: str, agent: str, *, id: str | None = None) -> SessionInfo:
        wanted = SessionOptions(agent, self._model, (), None, folder, quiet=True, id=id)
        agents = {one.name: one for one in self._files.agents}
        return await asyncio.to_thread(create, self._app, self._node, wanted, agents, self._files.files)

    async def work_on(self, session: str) -> None:
        await asyncio.to_thread(self._node.work_on, session)
