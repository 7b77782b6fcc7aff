"""What a tool is. A tool is data plus one coroutine; `roost.tools.tool` makes one from a typed function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from roost.log.content import Replay, ResultPart, Text
from roost.log.events import Goal
from roost.log.protocols import Record
from roost.models.request import ToolSpec
from roost.policy.gate import Safety
from roost.policy.touched_paths import Reach
from roost.sandbox.base import Sandbox
from roost.tools.errors import ToolError
from roost.workspace.files import Workspace

if TYPE_CHECKING:
    from roost.memory.ports import OwnMemory
    from roost.tools.background_jobs import Jobs
    from roost.tools.delegation_ports import OwnAgents


class ToolResult(msgspec.Struct, frozen=True):
    parts: tuple[ResultPart, ...]
    error: bool = False

    @staticmethod
    def of(text: str, *, error: bool = False) -> ToolResult:
        return ToolResult((Text(text),), error)


def _no_secret(name: str) -> str:
    raise ToolError(f"this tool may not have the secret {name!r}: declare it with secrets=({name!r},)")


class History(Protocol):
    """A session's own log, up to `head`, which was committed."""

    @property
    def head(self) -> int: ...

    async def read(self, after: int, limit: int) -> list[Record]:
        """As of `Journal.read`."""
        ...


class Pins(Protocol):
    """What the session keeps word for word, by key."""

    def all(self) -> Mapping[str, str]: ...

    async def set(self, key: str, text: str | None) -> None:
        """Returns when it is committed. None takes it away."""
        ...


class Plans(Protocol):
    """The sub-goals of the session's task."""

    async def set(self, goals: Sequence[Goal], score: int | None, note: str) -> str:
        """Returns when it is committed, with how far it is, for the model."""
        ...


class ToolContext(msgspec.Struct, kw_only=True):
    """What a running tool knows of its place. `key` is the idempotency key: the same for every attempt of this call,
    so that an outside service can drop a repetition. `call` is its id, which is one of ours for a call that begins
    before the answer is whole, until it is."""

    session: str
    call: str
    key: str
    attempt: int
    workspace: Workspace
    sandbox: Sandbox
    seen: dict[str, str]
    """Digest of each file as the session last read or wrote it, by real path. What a tool changes here is kept."""
    emit: Callable[[str, Any], Awaitable[None]]
    """Put a program's own event into the session's log."""
    code: int | None = None
    """A tool that runs a command sets its exit code here, for the log."""
    secret: Callable[[str], str] = _no_secret
    """The value of a secret that the tool declares, by its name or handle. Raises `ToolError`. What the tool returns is
    masked; what it does with the value elsewhere is its own business."""
    jobs: Jobs | None = None
    """What the session keeps running between its calls."""
    history: History | None = None
    pins: Pins | None = None
    plans: Plans | None = None
    memory: OwnMemory | None = None
    agents: OwnAgents | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """`run` gets validated arguments. It raises `ToolError` for the model; any other exception also becomes data for
    the model, with its type, and a line in the operator's log. It must let `CancelledError` pass, and leave nothing
    running when it ends. `inside`: the tool cannot touch anything but the workspace. `files`: it works in
    the workspace; a session whose tools do not can move to another machine without its files."""

    name: str
    description: str
    schema: dict[str, Any]
    run: Callable[[ToolContext, dict[str, Any]], Awaitable[ToolResult]]
    replay: Replay = "never"
    safety: Safety = "high_risk"
    inside: bool = False
    files: bool = True
    timeout: float = 120.0
    taints: bool = False
    """What it returns comes from outside: strangers may have written it to lead the model astray."""
    reach: Reach | None = None
    """For the gate. Takes no time to speak of and raises nothing."""
    secrets: tuple[str, ...] = ()
    """Names of the vault's secrets that it may have."""
    early: bool = True
    """Where it only reads, here, and is safe to run again, it may begin while the model still speaks, for nothing if
    the call is not in the finished answer. False for what gives a thing out once."""
    delegates: bool = False
    """It gives tasks to other agents (`roost.tools.agents`): the outcome of its call is that of the task."""

    function: Callable[..., Any] | None = None
    """Of a tool that `@tool` made: calling the tool calls it."""

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Call the Python function as it was written, for tests and other code. No gate, log or sandbox has a part."""
        if self.function is None:
            raise TypeError(f"the tool {self.name!r} is not made from a function")
        return self.function(*args, **named)

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(self.name, self.description, self.schema)


Toolbox = Mapping[str, Tool]
