"""Agents of AIOS. The object is a class with `run(task)`, or with `run()` of a task that it was made with. Their SDK,
`cerebrum`, is their own where the agent brings it, else the part of it that is beside this package. Its system calls
are answered in this program (`aios_kernel.py`)."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import os
import secrets
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from .. import aios_kernel, aios_memory, aios_tools, kept_folder
from ..gate import run_name

_SDK = Path(__file__).parents[2] / "aios_sdk"
_state: dict[str, Any] = {}


def version() -> str:
    return "cerebrum"


def install() -> None:
    """Say where the kernel is, before the agent's modules ask for it. It answers once the turn begins."""
    listening = socket.create_server(("127.0.0.1", 0))
    _state["socket"], _state["secret"] = listening, secrets.token_urlsafe(16)
    _state["url"] = f"http://127.0.0.1:{listening.getsockname()[1]}/{_state['secret']}"
    os.environ["CEREBRUM_KERNEL_URL"] = _state["url"]
    sys.path.append(str(_SDK))


async def run(agent: Any, text: str, memory: list[Any]) -> tuple[str, list[Any]]:
    kept_folder.begin(aios_memory.folder(), run_name())
    _serve()
    _use_ours()
    made: Any = agent
    given: dict[str, Any] = {"agent_name": "", "task_input": text, "config_": {}}
    if isinstance(agent, type):
        config = _config_of(agent)
        given |= {"agent_name": config.get("name") or cast("type[Any]", agent).__name__, "config_": config}
        made = await asyncio.to_thread(agent, **_fitting(agent, given))
    if inspect.iscoroutinefunction(getattr(made, "initialize", None)):
        await made.initialize()
    work = functools.partial(made.run, **_fitting(made.run, given, first=text))
    result = await work() if inspect.iscoroutinefunction(made.run) else await asyncio.to_thread(work)
    said = _text(result)
    return said, [*memory, {"role": "user", "content": text}, {"role": "assistant", "content": said}]


def _fitting(function: Any, given: dict[str, Any], first: str | None = None) -> dict[str, Any]:
    """Return the arguments that a function takes, by their names. first: of one whose name is not known."""
    found: dict[str, Any] = {}
    for name, one in inspect.signature(function).parameters.items():
        if name in given:
            found[name] = given[name]
        elif first is not None and not found and one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD:
            found[name] = first
    return found


def _config_of(agent: Any) -> dict[str, Any]:
    path = os.path.join(os.path.dirname(sys.modules[agent.__module__].__file__ or ""), "config.json")
    if not os.path.isfile(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _text(result: Any) -> str:
    if isinstance(result, dict):
        result = cast("dict[str, Any]", result).get("result", result)
    return result if isinstance(result, str) else json.dumps(result, default=str, ensure_ascii=False)


def _use_ours() -> None:
    """Let an SDK that the agent brings find tools beside the agent, and the kernel here. It asks a hub otherwise."""
    interface = sys.modules.get("cerebrum.interface")
    if interface is not None and hasattr(interface, "AutoTool"):
        interface.AutoTool.from_preloaded = staticmethod(lambda name, local=False: aios_tools.load(name))  # type: ignore[reportUnknownLambdaType]
    client = sys.modules.get("cerebrum.client")
    if client is not None and hasattr(client, "Cerebrum"):
        made = client.Cerebrum.__init__
        client.Cerebrum.__init__ = lambda self, base_url=_state["url"]: made(self, _state["url"])  # type: ignore[reportUnknownLambdaType]


def _serve() -> None:
    """Answer the SDK's requests. Whoever asks must know the secret part of the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Kernel, bind_and_activate=False)
    server.socket.close()
    server.socket = _state["socket"]
    threading.Thread(target=server.serve_forever, name="roost-aios", daemon=True).start()


class _Kernel(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path != f"/{_state['secret']}/query":
            self._say(404, {"detail": "there is nothing here"})
            return
        self._say(200, aios_kernel.query(asked["query_type"], asked["query_data"]))

    def do_GET(self) -> None:
        known = self.path == f"/{_state['secret']}/core/llms/list"
        self._say(200 if known else 404, aios_kernel.models() if known else {"detail": "there is nothing here"})

    def _say(self, status: int, value: Any) -> None:
        data = json.dumps(value, default=str).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
