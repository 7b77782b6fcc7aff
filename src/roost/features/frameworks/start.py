"""How an agent's program is started, and what it is told first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from roost.agent.session import Session
from roost.features.frameworks.route_messages import BEGIN, RouteMessages
from roost.features.frameworks.state import FrameworkState
from roost.log.content import Text, UserMessage

FOLDER = ".roost-agent"
SESSION_KEY = "termo.key"
"""The label with the key by which a client of termo-agent calls the session."""
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


class ProgramPlace(NamedTuple):
    """Where an agent's program runs. gateway: base URL of its model calls. key: of the gateway, good for this session
    while the program runs. source: folder of its code. runner: folder of the package that runs it.
    key_of_session: by which a client of termo-agent calls the session; empty where none does."""

    framework: str
    object: str
    workspace: str
    gateway: str
    key: str
    source: str
    runner: str
    model: str
    key_of_session: str = ""


def place_of(session: Session, gateway: str, key: str, source: str, runner: str) -> ProgramPlace:
    spec, root = session.spec, str(session.means.workspace.root)
    model, own = session.means.model.name, session.labels.get(SESSION_KEY, "")
    return ProgramPlace(spec.framework or "", spec.object, root, gateway, key, source, runner, model, own)


def argv_of(python: str, place: ProgramPlace) -> list[str]:
    return [python, "-B", f"{place.runner}/start.py", place.framework]


def environment_of(place: ProgramPlace) -> dict[str, str]:
    """Return the program's variables before it knows of a run. They hold no secret. Hash seed, time zone and locale
    never change, so that it repeats itself."""
    return {
        "HOME": f"{place.workspace}/{FOLDER}/home",
        "PATH": _PATH,
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "TZ": "UTC",
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "LANGSMITH_TRACING": "false",
        "no_proxy": "127.0.0.1,localhost",
        "NO_PROXY": "127.0.0.1,localhost",
    }


def welcome_of(place: ProgramPlace) -> dict[str, Any]:
    """Return what the program is told of a run: what to import, where to work, and the key of its model calls."""
    env = {
        "OPENAI_BASE_URL": f"{place.gateway}/v1",
        "OPENAI_API_KEY": place.key,
        "ANTHROPIC_BASE_URL": place.gateway,
        "ANTHROPIC_API_KEY": place.key,
        "ROOST_MODEL": place.model,
        "ROOST_SESSION_KEY": place.key_of_session,
        "ROOST_MCP_URL": f"{place.gateway}/mcp",
        "ROOST_MCP_KEY": place.key,
    }
    return {"object": place.object, "source": place.source, "workspace": place.workspace, "env": env}


async def input_of(session: Session, first: int, told: int, run: int) -> dict[str, Any]:
    """Return what begins a run: the messages of the turn from `first` up to `told`, the conversation before, and the
    one clock of the turn. Raises `StoreFailed`."""
    turn = session.state.turn
    assert turn is not None
    said = messages_of(session)[first:told]
    return {
        "type": "turn.start",
        "turn": turn.number,
        "run": run,
        "input": await _heard(session, "\n\n".join(_text(message) for message in said)),
        "memory": session.state.part(FrameworkState).memory,
        "clock": turn.started_at,
    }


async def _heard(session: Session, text: str) -> str:
    """Return what the agent hears: an adapter takes a text for a request only if it begins like one."""
    if session.spec.framework != "termo-agent" or not text.startswith(BEGIN):
        return text
    routes = session.means.find(RouteMessages)
    return text if routes is not None and await routes.is_one(session.id, text) else f" {text}"


def messages_of(session: Session) -> Sequence[UserMessage]:
    """Return the user's messages of the open turn."""
    entries, turn = session.state.entries, session.state.turn
    assert turn is not None
    begin = next((at for at in range(len(entries) - 1, -1, -1) if entries[at].turn == turn.number), 0)
    return [one.message for one in entries[begin:] if isinstance(one.message, UserMessage) and not one.head]


def _text(message: UserMessage) -> str:
    texts = [part.text if isinstance(part, Text) else f"[a file of type {part.media_type}]" for part in message.parts]
    return "\n".join(texts)
