"""The methods of the Agent Client Protocol that this side answers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from roost.acp import shapes
from roost.acp.abilities import Abilities
from roost.acp.content import parts_of
from roost.acp.host import Host
from roost.acp.json_rpc import INVALID_PARAMS, INVALID_REQUEST, NOT_FOUND, Call, Method, Peer, Reply, RpcError
from roost.acp.mcp_servers import add_servers
from roost.acp.mentions import Mentions
from roost.acp.options import DEFAULT, config_options, is_mode, mode_state
from roost.acp.session import OpenSession, title_of
from roost.acp.slash_commands import COMMANDS, command_of
from roost.acp.updates import note
from roost.agent.definition import decode_spec
from roost.api.models import ModelEntry
from roost.api.node import AgentInfo
from roost.features.upgrades.events import SessionMoved
from roost.ids import is_id, new_id, short
from roost.log import events as ev
from roost.log.content import UserPart
from roost.log.session_info import SessionInfo
from roost.log.session_views import SessionView
from roost.version import version

VERSION = 1
_PAGE = 50
_TITLE = 80
_FIRST_EVENTS = 6


class Service:
    """One connection of an editor."""

    def __init__(self, host: Host, source: int, target: int) -> None:
        self._host, self._client = host, host.client
        self._origin = new_id("acp")
        self._ready = False
        self._sessions: dict[str, OpenSession] = {}
        self._models: list[ModelEntry] | None = None
        self._agents: list[AgentInfo] = []
        self._titles: dict[str, str] = {}
        self._peer = Peer.on(source, target, self._methods())
        self._abilities = Abilities()
        self._mentions = Mentions(self._peer, self._abilities)

    async def serve(self) -> None:
        """Answer until the editor closes its end."""
        try:
            await self._peer.serve()
        finally:
            await asyncio.gather(*(one.editing.detach() for one in self._sessions.values()))

    def _methods(self) -> Mapping[str, Method]:
        return {
            "initialize": Method(shapes.Initialize, self._initialize),
            "authenticate": Method(shapes.Authenticate, self._authenticate),
            "session/new": Method(shapes.NewSession, self._after_initialize(self._new)),
            "session/load": Method(shapes.OpenSession, self._after_initialize(self._load)),
            "session/resume": Method(shapes.OpenSession, self._after_initialize(self._resume)),
            "session/fork": Method(shapes.OpenSession, self._after_initialize(self._fork)),
            "session/list": Method(shapes.ListSessions, self._after_initialize(self._list)),
            "session/close": Method(shapes.OfSession, self._after_initialize(self._close)),
            "session/delete": Method(shapes.OfSession, self._after_initialize(self._delete)),
            "session/prompt": Method(shapes.Prompt, self._after_initialize(self._prompt)),
            "session/cancel": Method(shapes.OfSession, self._after_initialize(self._cancel)),
            "session/set_mode": Method(shapes.SetMode, self._after_initialize(self._set_mode)),
            "session/set_config_option": Method(shapes.SetOption, self._after_initialize(self._set_option)),
        }

    def _after_initialize(self, run: Any) -> Any:
        async def checked(params: Any, call: Call) -> Any:
            if not self._ready:
                raise RpcError(INVALID_REQUEST, f"send `initialize` before `{call.method}`")
            if isinstance(params, shapes.OfSession) and not is_id(params.session_id):
                raise RpcError(NOT_FOUND, f"there is no session {params.session_id[:_TITLE]!r}")
            return await run(params, call)

        return checked

    async def _initialize(self, params: shapes.Initialize, call: Call) -> Any:
        self._ready = True
        self._abilities.learn(params.client_capabilities)
        every: dict[str, Any] = {}
        return {
            "protocolVersion": VERSION,
            "agentInfo": {"name": "roost", "title": "Roost", "version": version()},
            "authMethods": [],
            "agentCapabilities": {
                "loadSession": True,
                "promptCapabilities": {"image": True, "audio": True, "embeddedContext": True},
                "mcpCapabilities": {"http": True, "sse": True},
                "sessionCapabilities": dict.fromkeys(("list", "resume", "fork", "close", "delete"), every),
            },
        }

    async def _authenticate(self, params: shapes.Authenticate, call: Call) -> Any:
        raise RpcError(
            INVALID_PARAMS,
            f"there is no method {params.method_id!r}: Roost reads the daemon's token from its home or ROOST_TOKEN",
        )

    async def _new(self, params: shapes.NewSession, call: Call) -> Any:
        info = await self._host.create(_folder(params.cwd), self._host.agent)
        return await self._opened(info.id, params.mcp_servers)

    async def _load(self, params: shapes.OpenSession, call: Call) -> Any:
        return await self._opened(params.session_id, params.mcp_servers, replay=True)

    async def _resume(self, params: shapes.OpenSession, call: Call) -> Any:
        return await self._opened(params.session_id, params.mcp_servers)

    async def _fork(self, params: shapes.OpenSession, call: Call) -> Any:
        made = await self._client.checkpoints.fork(params.session_id)
        return await self._opened(made.id, params.mcp_servers)

    async def _opened(self, session: str, servers: list[shapes.McpServer] | None, *, replay: bool = False) -> Reply:
        """Open a session, also one that is open already, and return what the editor needs of it."""
        view = await self._client.sessions.inspect(session)
        opened = self._sessions.get(view.info.id) or self._open(view)
        if replay:
            await opened.replay()
        refused = await add_servers(self._client, opened.id, servers or [])
        await opened.editing.attach()
        await self._host.work_on(opened.id)
        state = {"modes": mode_state(opened.mode), "configOptions": await self._options(opened)}
        answer = state if replay else {"sessionId": opened.id, **state}
        return Reply(answer, lambda: self._introduce(opened, refused))

    def _open(self, view: SessionView) -> OpenSession:
        async def moved(event: SessionMoved) -> None:
            await self._tell_moved(opened, event)

        opened = OpenSession(self._client, self._peer, view, self._window, moved, self._abilities)
        self._sessions[opened.id] = opened
        return opened

    async def _introduce(self, opened: OpenSession, refused: list[str]) -> None:
        """Send what follows the answer: the editor knows the session from it. refused: lines about MCP servers."""
        commands = [
            {"name": name, "description": one.description} | ({"input": {"hint": one.hint}} if one.hint else {})
            for name, one in COMMANDS.items()
        ]
        await opened.update({"sessionUpdate": "available_commands_update", "availableCommands": commands})
        for line in refused:
            await opened.update(note(f"({line})"))
        opened.follow()

    async def _list(self, params: shapes.ListSessions, call: Call) -> Any:
        found: list[SessionInfo] = []
        before = params.cursor
        while True:
            page = await self._client.sessions.find(before=before, limit=200)
            fits = [
                info
                for info in page.sessions
                if info.parent is None and (params.cwd is None or info.workspace == _same(params.cwd))
            ]
            found, before = found + fits, page.next
            if before is None or len(found) >= _PAGE:
                break
        shown = [await self._listed(info) for info in found]
        return {"sessions": shown} | ({} if before is None else {"nextCursor": before})

    async def _listed(self, info: SessionInfo) -> dict[str, Any]:
        return {
            "sessionId": info.id,
            "cwd": info.workspace or str(Path.home()),
            "title": info.title or await self._title(info),
            "updatedAt": datetime.fromtimestamp(info.updated_at, UTC).isoformat(),
        }

    async def _title(self, info: SessionInfo) -> str:
        """Return the beginning of the first message, else the agent's name."""
        if info.id not in self._titles:
            page = await self._client.sessions.events(info.id, limit=_FIRST_EVENTS)
            for entry in page.events:
                if bytes(entry.event).startswith(ev.beginning_of(ev.InputReceived)):
                    event: Any = ev.decode_event(bytes(entry.event))
                    self._titles[info.id] = title_of(event)
                    break
        return self._titles.get(info.id) or f"{info.agent} {short(info.id)}"

    async def _close(self, params: shapes.OfSession, call: Call) -> Any:
        opened = self._sessions.pop(params.session_id, None)
        if opened is not None:
            if opened.prompts:
                await opened.cancel()
            await opened.editing.detach()
            opened.close()
        return {}

    async def _delete(self, params: shapes.OfSession, call: Call) -> Any:
        await self._close(params, call)
        await self._client.sessions.delete(params.session_id)
        return {}

    async def _prompt(self, params: shapes.Prompt, call: Call) -> Any:
        opened = await self._session(params.session_id)
        key = self._key(params, call)
        if (command := command_of(parts_of(params.prompt))) is not None:
            name, rest = command
            async with opened.order:
                said = await COMMANDS[name].run(self._client, opened.id, rest, key)
            await opened.update(note(said))
            return {"stopReason": "end_turn"}

        async def content() -> list[UserPart]:
            return parts_of([await self._mentions.read(opened.id, block) for block in params.prompt])

        return await opened.prompt(content, key)

    def _key(self, params: shapes.Prompt, call: Call) -> str:
        """Return the idempotency key: the client's own, else one of this connection."""
        given = params.key
        if given is None:
            return f"{self._origin}:{hashlib.sha256(repr(call.id).encode()).hexdigest()[:32]}"
        return f"acp:{given}" if is_id(f"acp:{given}") else f"acp:{hashlib.sha256(given.encode()).hexdigest()}"

    async def _cancel(self, params: shapes.OfSession, call: Call) -> Any:
        if (opened := self._sessions.get(params.session_id)) is not None:
            await opened.cancel()
        return {}

    async def _set_mode(self, params: shapes.SetMode, call: Call) -> Any:
        opened = await self._session(params.session_id)
        await self._change_mode(opened, params.mode_id)
        return {}

    async def _change_mode(self, opened: OpenSession, mode: str) -> None:
        if not is_mode(mode, opened.mode):
            raise RpcError(INVALID_PARAMS, f"there is no mode {mode!r}")
        async with opened.order:
            await self._client.upgrades.adjust(opened.id, permissions=mode, by="acp")  # pyright: ignore[reportArgumentType] - checked
            opened.mode = mode

    async def _set_option(self, params: shapes.SetOption, call: Call) -> Any:
        opened = await self._session(params.session_id)
        match params.config_id:
            case "mode":
                await self._change_mode(opened, params.value)
            case "model":
                await self._change_model(opened, params.value)
            case "agent":
                opened = await self._change_agent(opened, params.value)
            case _:
                raise RpcError(INVALID_PARAMS, f"there is no option {params.config_id!r}")
        return {"configOptions": await self._options(opened)}

    async def _change_model(self, opened: OpenSession, model: str) -> None:
        usable = {one.name for one in await self._known_models() if one.usable}
        if model not in (DEFAULT, opened.model, *usable):
            raise RpcError(INVALID_PARAMS, f"there is no usable model {model!r}")
        async with opened.order:
            await self._client.upgrades.adjust(opened.id, model=model, by="acp")
            opened.model = None if model == DEFAULT else model

    async def _change_agent(self, opened: OpenSession, agent: str) -> OpenSession:
        """Make the session again, of another agent, while nothing was said in it."""
        if agent == opened.info.agent:
            return opened
        if agent not in {one.name for one in await self._known_agents()}:
            raise RpcError(INVALID_PARAMS, f"there is no agent {agent!r}")
        if opened.turns or opened.prompts or opened.info.workspace is None:
            raise RpcError(INVALID_REQUEST, "a session keeps the agent that it began with: open a new one")
        async with opened.order:
            opened.close()
            await self._client.sessions.delete(opened.id)
            await self._host.create(opened.info.workspace, agent, id=opened.id)
        again = self._open(await self._client.sessions.inspect(opened.id))
        await self._host.work_on(again.id)
        again.follow()
        await again.update({"sessionUpdate": "current_mode_update", "currentModeId": again.mode})
        return again

    async def _tell_moved(self, opened: OpenSession, event: SessionMoved) -> None:
        spec = decode_spec(bytes(event.spec))
        opened.mode, opened.model = spec.permissions, spec.model
        await opened.update({"sessionUpdate": "current_mode_update", "currentModeId": opened.mode})
        options = await self._options(opened)
        await opened.update({"sessionUpdate": "config_option_update", "configOptions": options})

    async def _session(self, session: str) -> OpenSession:
        """Return an open session. One that another connection opened is opened here: a log has no connection."""
        if session not in self._sessions:
            view = await self._client.sessions.inspect(session)
            if session not in self._sessions:
                self._open(view)
                await self._host.work_on(session)
        return self._sessions[session]

    async def _options(self, opened: OpenSession) -> list[dict[str, Any]]:
        models = await self._known_models()
        agents = [] if opened.turns else await self._known_agents()
        return config_options(opened.mode, opened.model, opened.info.agent, models, agents)

    async def _known_models(self) -> list[ModelEntry]:
        if self._models is None:
            self._models = (await self._client.models.list()).models
        return self._models

    async def _known_agents(self) -> list[AgentInfo]:
        if not self._agents:
            self._agents = (await self._client.node.agents()).agents
        return self._agents

    def _window(self, model: str) -> int | None:
        return next((one.window for one in self._models or () if one.name == model), None)


def _folder(path: str) -> str:
    place = Path(path)
    if not place.is_absolute():
        raise RpcError(INVALID_PARAMS, f"cwd: {path!r} is not an absolute path")
    if not place.is_dir():
        raise RpcError(NOT_FOUND, f"cwd: {path!r} is not a folder that exists")
    return str(place.resolve())


def _same(path: str) -> str:
    try:
        return str(Path(path).resolve())
    except (OSError, ValueError):
        return path
