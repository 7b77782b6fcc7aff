"""`roost mcp`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from roost.cli.app import App
from roost.cli.logs import mask, quiet_logs
from roost.cli.options import agent_places, command


@command("mcp")
@agent_places
def mcp(app: App, agent_places: tuple[Path, ...]) -> int:
    """Offer agents and sessions to a client of the Model Context Protocol, on standard input and output.

    A client starts this command. It uses the daemon if one runs; else it works on the home itself, as a daemon would,
    until the client closes it. Standard error has the log.
    """
    from roost.acp.pipes import own_streams

    quiet_logs()
    source, target = own_streams()
    daemon = None if app.store_meant and not app.url else app.daemon()
    if daemon is not None:
        daemon.close()
    asyncio.run(_serve(app, agent_places, source, target, remote=daemon is not None))
    return 0


async def _serve(app: App, places: tuple[Path, ...], source: int, target: int, *, remote: bool) -> None:
    from roost.acp.pipes import LineReader, LineWriter
    from roost.cli.mcp_stdio import LINE_BYTES, Bridge
    from roost.client.app_transport import AppTransport
    from roost.client.async_client import SocketTransport

    lines, write = LineReader(source, LINE_BYTES).lines(), LineWriter(target).write
    if remote:
        transport = SocketTransport(app.locate)
        try:
            await Bridge(transport, lines, write).serve()
        finally:
            await transport.aclose()
        return
    from roost.runtime import Runtime
    from roost.sandbox.environment import hide_secrets
    from roost.server.app import build_app

    hide_secrets()
    async with Runtime(app.home, agent_files=app.agent_files(places), store=app.store) as runtime:
        mask(runtime.vault.scrub)
        application, api = build_app(runtime, token=None)
        try:
            await Bridge(AppTransport(application), lines, write).serve()
        finally:
            api.stop()
