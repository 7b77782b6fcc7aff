"""Editors: the official client library of the Agent Client Protocol against `roost acp` as a process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import acp
import httpx2
import pytest
from acp.schema import (
    AllowedOutcome,
    ClientCapabilities,
    DeniedOutcome,
    FileSystemCapabilities,
    ReadTextFileResponse,
    RequestPermissionResponse,
)

from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

BIN = Path(sys.executable).parent / "roost"
LONG = "word " * 60
ASKED = "git ls-remote . >/dev/null 2>&1; echo done"
"""A command that a person is asked about: it speaks to other machines."""
SCRIPT = Script(
    rules=(
        Rule(
            when="make it", answers=(Reply(calls=(Call("shell", {"command": ASKED}),)), Reply(text="It says {result}"))
        ),
        Rule(
            when="think",
            answers=(
                Reply(text="Let me look.", thinking="Where is it?", calls=(Call("read_file", {"path": "notes.txt"}),)),
                Reply(text="Found."),
            ),
        ),
        Rule(
            when="delegate",
            answers=(Reply(calls=(Call("task", {"agent": "worker", "prompt": "make it"}),)), Reply(text="{result}")),
        ),
        Rule(
            when="correct",
            answers=(
                Reply(calls=(Call("read_file", {"path": "notes.txt"}),)),
                Reply(calls=(Call("edit_file", {"path": "notes.txt", "old": "old", "new": "new"}),)),
                Reply(text="Corrected."),
            ),
        ),
        Rule(when="long", answers=(Reply(text=LONG, pace=0.02, piece=5),)),
        Rule(
            when="sleep",
            answers=(
                Reply(calls=(Call("shell", {"command": "touch begun; while true; do sleep 0.1; done"}),)),
                Reply(text="Slept."),
            ),
        ),
        Rule(answers=(Reply(text="You said: {input}"),)),
    )
)


class Editor(acp.Client):
    """Records what it is sent. answer: chooses an option of a question, None closes it."""

    def __init__(self) -> None:
        self.updates: list[dict[str, Any]] = []
        self.questions: list[dict[str, Any]] = []
        self.answer: Callable[[list[Any]], str | None] | asyncio.Future[str] = lambda options: "once"
        self._changed = asyncio.Condition()
        self.agent: Any = None
        self.unsaved: dict[str, str] = {}

    async def read_text_file(self, path: str, session_id: str, **kwargs: Any) -> ReadTextFileResponse:
        if path not in self.unsaved:
            raise acp.RequestError.resource_not_found(path)
        return ReadTextFileResponse(content=self.unsaved[path])

    async def session_update(self, session_id: str, update: Any, **kwargs: Any) -> None:
        async with self._changed:
            self.updates.append(update.model_dump(by_alias=True, exclude_none=True) | {"session": session_id})
            self._changed.notify_all()

    async def request_permission(self, options: Any, session_id: str, tool_call: Any, **kwargs: Any) -> Any:
        async with self._changed:
            call = tool_call.model_dump(by_alias=True, exclude_none=True)
            self.questions.append({"options": [one.model_dump(by_alias=True) for one in options], "call": call})
            self._changed.notify_all()
        chosen = await self.answer if isinstance(self.answer, asyncio.Future) else self.answer(options)
        if chosen is None:
            return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))
        return RequestPermissionResponse(outcome=AllowedOutcome(outcome="selected", option_id=chosen))

    async def until(self, condition: Callable[[], Any]) -> Any:
        async with self._changed:
            await self._changed.wait_for(condition)
        return condition()

    def text(self, kind: str = "agent_message_chunk") -> str:
        found = (one["content"].get("text", "") for one in self.updates if one["sessionUpdate"] == kind)
        return "".join(found)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.updates if one["sessionUpdate"] == kind]

    async def ask(self, session: str, text: str, **more: Any) -> Any:
        return await self.agent.prompt(session_id=session, prompt=[acp.text_block(text)], **more)


class Home:
    """A home with a folder to work in, and a daemon if one is started."""

    def __init__(self, root: Path, provider: str) -> None:
        self.root, self.work = root, root / "work"
        self.work.mkdir()
        (self.work / "notes.txt").write_text("old\n")
        keep = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        self.environment = keep | {
            "HOME": str(root),
            "ROOST_HOME": str(root / "home"),
            "ROOST_PORT": "0",
            "ROOST_MODEL": "openai/scripted",
            "OPENAI_BASE_URL": provider,
            "OPENAI_API_KEY": "stub",
            "ROOST_OFFLINE": "1",
            "ROOST_CACHE": str(root / "cache"),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def up(self, *arguments: str) -> None:
        known = self.root / "home" / "daemon.json"
        known.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [BIN, "up", *arguments],
            env=self.environment,
            cwd=self.work,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 100
        while not known.exists():
            assert time.monotonic() < deadline
            assert self.process.poll() is None
            time.sleep(0.05)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def get(self, path: str) -> Any:
        known = json.loads((self.root / "home" / "daemon.json").read_text())
        token = (self.root / "home" / "token").read_text().strip()
        return httpx2.get(known["url"] + path, headers={"authorization": f"Bearer {token}"}).json()

    def post(self, path: str, body: Any) -> Any:
        known = json.loads((self.root / "home" / "daemon.json").read_text())
        token = (self.root / "home" / "token").read_text().strip()
        return httpx2.post(known["url"] + path, headers={"authorization": f"Bearer {token}"}, json=body).json()

    def kinds(self, session: str) -> list[str]:
        """The kinds of the session's events."""
        done = subprocess.run(
            [BIN, "logs", session, "--json"], env=self.environment, cwd=self.work, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["event"]["type"] for line in done.stdout.splitlines()]

    @contextlib.asynccontextmanager
    async def editor(self, *arguments: str) -> AsyncIterator[Editor]:
        """An editor that has started `roost acp` and is connected to it."""
        editor = Editor()
        spawned = acp.spawn_agent_process(
            editor, str(BIN), "acp", *arguments, env=self.environment, cwd=str(self.work), use_unstable_protocol=True
        )
        async with spawned as (agent, process):
            editor.agent, editor.process = agent, process  # type: ignore[attr-defined]
            offered = ClientCapabilities(fs=FileSystemCapabilities(read_text_file=True))
            await agent.initialize(protocol_version=acp.PROTOCOL_VERSION, client_capabilities=offered)
            yield editor

    async def new(self, editor: Editor) -> str:
        return (await editor.agent.new_session(cwd=str(self.work), mcp_servers=[])).session_id


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with ProviderServer(SCRIPT) as provider:
        home = Home(tmp_path, provider.url)
        yield home
        home.kill()


@pytest.fixture(params=["embedded", "daemon"])
def node(request: pytest.FixtureRequest, home: Home) -> Home:
    if request.param == "daemon":
        home.up()
    return home


@pytest.fixture(params=["sqlite", "postgres"])
def stored(request: pytest.FixtureRequest, home: Home) -> Home:
    """A home whose log is in each of the stores."""
    if request.param == "postgres":
        home.environment["ROOST_STORE"] = request.getfixturevalue("database")
    return home
