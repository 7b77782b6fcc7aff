"""Editors: the official client library of the Agent Client Protocol against `roost acp` as a process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import acp
import httpx2
import pytest
from acp.schema import (
    AcceptElicitationResponse,
    AllowedOutcome,
    ClientCapabilities,
    CreateTerminalResponse,
    DeclineElicitationResponse,
    DeniedOutcome,
    ElicitationCapabilities,
    ElicitationFormCapabilities,
    FileSystemCapabilities,
    ReadTextFileResponse,
    RequestPermissionResponse,
    TerminalExitStatus,
    TerminalOutputResponse,
    WaitForTerminalExitResponse,
)
from tests.harness.prefork import Order
from tests.harness.processes import Piped, Prefork, Process, run, start

from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

_MOST = 64 * 1024 * 1024
"""Bytes of a line that the editor reads."""
LONG = "word " * 60
ASKED = "git ls-remote . 2>&1"
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
        Rule(
            when="test it",
            answers=(
                Reply(calls=(Call("editor_terminal", {"command": "echo $((6 * 7)); exit 3"}),)),
                Reply(text="It says {result}"),
            ),
        ),
        Rule(
            when="fetch it",
            answers=(
                Reply(calls=(Call("editor_terminal", {"command": "echo http://example.com/"}),)),
                Reply(text="It says {result}"),
            ),
        ),
        Rule(
            when="wait there",
            answers=(
                Reply(calls=(Call("editor_terminal", {"command": "touch begun; exec sleep 300"}),)),
                Reply(text="It says {result}"),
            ),
        ),
        Rule(
            when="write",
            answers=(
                Reply(calls=(Call("write_file", {"path": "new/page.txt", "content": "one\n"}),)),
                Reply(calls=(Call("read_file", {"path": "new/page.txt"}),)),
                Reply(text="It says {result}"),
            ),
        ),
        Rule(
            when="both",
            answers=(
                Reply(calls=(Call("read_file", {"path": "notes.txt"}), Call("read_file", {"path": "other.txt"}))),
                Reply(
                    calls=(
                        Call(
                            "edit_files",
                            {
                                "changes": [
                                    {"path": "notes.txt", "edits": [{"old": "old", "new": "new"}]},
                                    {"path": "other.txt", "content": "other\n"},
                                ]
                            },
                        ),
                    )
                ),
                Reply(text="It says {result}"),
            ),
        ),
        Rule(when="count", answers=(Reply(calls=(Call("kit__count", {}),)), Reply(text="It says {result}"))),
        Rule(when="colour", answers=(Reply(calls=(Call("kit__ask", {}),)), Reply(text="It says {result}"))),
        Rule(when="add", answers=(Reply(calls=(Call("sums__add", {"a": 2, "b": 3}),)), Reply(text="It says {result}"))),
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
        self.process: Any = None
        self.unsaved: dict[str, str] = {}
        self.saves = True
        self.reads: list[str] = []
        self.writes: list[str] = []
        self.at_read: Callable[[str], None] = self.reads.append
        self.hold: asyncio.Event | None = None
        self.terminals: list[Any] = []
        self.released: list[str] = []
        self.forms: list[dict[str, Any]] = []
        self.fill: dict[str, Any] | None = None

    async def read_text_file(self, path: str, session_id: str, **kwargs: Any) -> ReadTextFileResponse:
        self.at_read(path)
        if path not in self.unsaved:
            raise acp.RequestError.resource_not_found(path)
        return ReadTextFileResponse(content=self.unsaved[path])

    async def write_text_file(self, path: str, content: str, session_id: str, **kwargs: Any) -> None:
        self.writes.append(path)
        if self.hold is not None:
            await self.hold.wait()
        self.unsaved[path] = content
        if self.saves:
            Path(path).write_text(content)

    async def create_terminal(
        self, session_id: str, command: str, args: Any = None, cwd: str | None = None, **kwargs: Any
    ) -> Any:
        process = await asyncio.create_subprocess_exec(
            command, *(args or ()), cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        self.terminals.append(process)
        return CreateTerminalResponse(terminal_id=f"t{len(self.terminals) - 1}")

    def _terminal(self, terminal_id: str) -> Any:
        return self.terminals[int(terminal_id[1:])]

    async def wait_for_terminal_exit(self, session_id: str, terminal_id: str, **kwargs: Any) -> Any:
        return WaitForTerminalExitResponse(exit_code=await self._terminal(terminal_id).wait())

    async def terminal_output(self, session_id: str, terminal_id: str, **kwargs: Any) -> Any:
        process = self._terminal(terminal_id)
        said = (await process.stdout.read()).decode()
        return TerminalOutputResponse(
            output=said, truncated=False, exit_status=TerminalExitStatus(exit_code=process.returncode)
        )

    async def kill_terminal(self, session_id: str, terminal_id: str, **kwargs: Any) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._terminal(terminal_id).kill()

    async def release_terminal(self, session_id: str, terminal_id: str, **kwargs: Any) -> None:
        self.released.append(terminal_id)

    async def create_elicitation(self, message: str, mode: Any, **kwargs: Any) -> Any:
        self.forms.append({"message": message, **mode.model_dump(by_alias=True, exclude_none=True)})
        if self.fill is None:
            return DeclineElicitationResponse(action="decline")
        return AcceptElicitationResponse(action="accept", content=self.fill)

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

    def __init__(self, root: Path, provider: str, prefork: Prefork) -> None:
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
        self._prefork = prefork
        self.process: Process | None = None

    def order(self, *arguments: str) -> Order:
        return Order([*arguments], str(self.work), self.environment)

    def up(self, *arguments: str) -> None:
        self.process = start(self._prefork, self.order("up", "--json", *arguments))
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), "the daemon did not start"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
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
        done = run(self._prefork, self.order("logs", session, "--json"), "", 100)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["event"]["type"] for line in done.stdout.splitlines()]

    def acp(self, *arguments: str) -> Piped:
        """Start `roost acp`, as an editor does."""
        return Piped(self._prefork, self.order("acp", *arguments))

    @contextlib.asynccontextmanager
    async def editor(self, *arguments: str, full: bool = False) -> AsyncIterator[Editor]:
        """An editor that has started `roost acp` and is connected to it. full: it writes files and runs commands."""
        loop, editor, process = asyncio.get_running_loop(), Editor(), self.acp(*arguments)
        reader = asyncio.StreamReader(limit=_MOST)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(process.output, "rb"))
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(process.input, "wb")
        )
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        agent = acp.connect_to_agent(editor, writer, reader, use_unstable_protocol=True)
        editor.agent, editor.process = agent, process
        try:
            offered = ClientCapabilities(
                fs=FileSystemCapabilities(read_text_file=True, write_text_file=full),
                terminal=full,
                elicitation=ElicitationCapabilities(form=ElicitationFormCapabilities()),
            )
            await agent.initialize(protocol_version=acp.PROTOCOL_VERSION, client_capabilities=offered)
            yield editor
        finally:
            writer.close()
            await agent.close()
            await asyncio.to_thread(process.wait)

    async def new(self, editor: Editor, *servers: Any) -> str:
        return (await editor.agent.new_session(cwd=str(self.work), mcp_servers=[*servers])).session_id


@pytest.fixture
def home(tmp_path: Path, prefork: Prefork) -> Iterator[Home]:
    with ProviderServer(SCRIPT) as provider:
        home = Home(tmp_path, provider.url, prefork)
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
