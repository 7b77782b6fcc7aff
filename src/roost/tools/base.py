"""The type of a tool: data plus one coroutine. `roost.tools.tool` makes one from a typed function."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast, get_args

import msgspec

from roost.errors import ConfigError
from roost.log.content import Replay, ResultPart, Text
from roost.models.request import ToolSpec
from roost.policy.gate import NOTHING, Safety
from roost.policy.rules import Touches
from roost.policy.touched_paths import Reach
from roost.ports import Ports
from roost.sandbox.base import Sandbox
from roost.tools.errors import ToolError
from roost.workspace.files import Workspace

_P = TypeVar("_P")
_log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""A tool name that every provider accepts."""


class ToolResult(msgspec.Struct, frozen=True):
    parts: tuple[ResultPart, ...]
    error: bool = False

    @staticmethod
    def of(text: str, *, error: bool = False) -> ToolResult:
        return ToolResult((Text(text),), error)


def _no_secret(name: str) -> str:
    raise ToolError(f"this tool may not have the secret {name!r}: declare it with secrets=({name!r},)")


def _confirmed() -> None:
    pass


class ToolContext(Ports, kw_only=True):
    """What a running tool knows of its call. `key`: idempotency key, the same for every attempt of this call, so that
    an outside service can drop a repetition. `call`: its id; for a speculative call, which starts before the answer
    ends, a temporary one. Its ports are those that the features of the session give to this call: `equip` asks them
    when the first port is looked for, so `given` finds none in a call that did not look."""

    session: str
    call: str
    key: str
    attempt: int
    workspace: Workspace
    sandbox: Sandbox
    seen: dict[str, str]
    """Digest of each file as the session last read or wrote it, by real path. Changes that a tool makes are kept."""
    emit: Callable[[str, Any], Awaitable[None]]
    """Append an event of the embedding program to the session's log."""
    confirm: Callable[[], None] = _confirmed
    """Called by a port before it leaves a trace. Raises `CancelledError` while the call is speculative."""
    code: int | None = None
    """A tool that runs a command sets its exit code here, for the log."""
    secret: Callable[[str], str] = _no_secret
    """Return the value of a secret that the tool declares, by its name or handle. Raises `ToolError`. The tool's result
    is masked; any other use of the value is the tool's responsibility."""

    equip: Callable[[ToolContext], None] | None = None

    def find(self, kind: type[_P]) -> _P | None:
        if (equip := self.equip) is not None:
            self.equip = None
            equip(self)
        return self.given(kind)

    def port(self, kind: type[_P], missing: str = "") -> _P:
        """Return the port of a type. Raises `ToolError`, with the text `missing` if there is one, where it is not
        available."""
        found = self.find(kind)
        if found is None:
            raise ToolError(missing or f"this needs {kind.__name__}, which is not available here")
        return found


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool. `run` gets validated arguments. It raises `ToolError` to tell the model; any other exception also becomes
    data for the model, with its type, and a line in the operator's log. It must let `CancelledError` pass, and leave
    nothing running when it ends. `inside`: the tool cannot touch anything but the workspace. `files`: it works in the
    workspace; a session without such tools can move to another machine without its files. Raises `ConfigError` for a
    wrong value."""

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
    """Its result is untrusted content: strangers may have written it to mislead the model."""
    reach: Reach | None = None
    """Tells the gate what a call would touch. Must be fast. If it raises, the gate denies the call."""
    secrets: tuple[str, ...] = ()
    """Names of the vault's secrets that it may read."""
    early: bool = True
    """Allow speculative calls: a tool that only reads, is local and is safe to repeat may start before the answer ends,
    in vain if the finished answer lacks the call. False for a tool that returns each thing only once."""
    delegates: bool = False
    """It delegates tasks to other agents (`roost.features.delegation.tools`): its call has the outcome of the task."""

    undescribed: ClassVar[bool] = False
    """Its description may be empty."""
    function: Callable[..., Any] | None = None
    """The function of a tool made by `@tool`; calling the tool calls it."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"{self.name!r} cannot name a tool: use letters, digits, _ and - (at most 64)")
        if not (self.undescribed or self.description.strip()):
            raise ConfigError(
                f"the tool {self.name!r} has no description, by which a model knows when to call it: write a docstring,"
                " or description="
            )
        for field, value, known in (
            ("replay", self.replay, get_args(Replay)),
            ("safety", self.safety, get_args(Safety)),
        ):
            if value not in known:
                raise ConfigError(f"tool {self.name!r}: {field}={value!r} is none of {', '.join(map(repr, known))}")
        for field, value, right, fix in (
            (
                "reach",
                self.reach,
                self.reach is None or callable(self.reach),
                "a function; for a path in the argument 'path': reach=reads_at('path') or writes_at('path') (from"
                " roost.policy.touched_paths)",
            ),
            ("timeout", self.timeout, _positive(self.timeout), "a number of seconds above 0"),
        ):
            if not right:
                raise ConfigError(f"tool {self.name!r}: {field}={value!r} is wrong; it must be {fix}")

    def touches(self, arguments: Mapping[str, Any], root: Path) -> Touches:
        """Return what a call with these arguments would touch in the workspace `root`, with a `fault` if `reach`
        fails."""
        if self.reach is None:
            return NOTHING
        try:
            found = cast("object", self.reach(arguments, root))
        except Exception as error:  # `reach` is foreign code; its failure must not end the session
            _log.warning("tool %r: `reach` failed", self.name, exc_info=error)
            return self._fault(f"failed with {type(error).__name__}: {error}")
        if isinstance(found, Touches):
            return found
        return self._fault(f"returned {type(found).__name__}, not Touches")

    def _fault(self, what: str) -> Touches:
        return Touches(unknown=True, fault=f"the option `reach` of the tool {self.name!r} {what}")

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Call the Python function directly, for tests and other code, without gate, log or sandbox."""
        if self.function is None:
            raise TypeError(f"the tool {self.name!r} is not made from a function")
        return self.function(*args, **named)

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(self.name, self.description, self.schema)


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


Toolbox = Mapping[str, Tool]
