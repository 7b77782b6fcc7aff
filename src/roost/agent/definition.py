"""The definition of an agent. Each option is one field of `AgentSpec`, the data that a session pins. `Agent` adds what
only Python can say: `PythonParts`."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import InitVar
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, cast

import msgspec

from roost.agent.options import Compaction, IntentRule, Known, Stall
from roost.ids import is_id
from roost.log.schedule_events import TurnLimits
from roost.memory.rights import Memory
from roost.models.request import Effort, Intent, Model
from roost.policy.gate import Permissions
from roost.policy.guardrails import Guard
from roost.policy.hooks import Hook
from roost.policy.rules import Rule
from roost.sandbox.choose import Isolation
from roost.tools.base import Tool, Toolbox
from roost.tools.builtin import BUILTIN, builtin_tool
from roost.validated import Validated, WrongValue, did_you_mean, listed, option, values_of

Horizon: TypeAlias = Literal["long"]
SnapshotsWhen: TypeAlias = Literal["steps"]
RollbackWhen: TypeAlias = Literal["failed"]
Surrounding: TypeAlias = Literal["clock", "files"]


class Limits(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of a turn, and with the prefix `session_` of the whole session. None = no limit.

    steps: model calls. tokens: input plus output. money: US dollars; a model with an unknown price cannot run under it.
    seconds: working wall time.
    """

    steps: int | None = 50
    tokens: int | None = None
    money: float | None = None
    seconds: float | None = 1800.0
    session_steps: int | None = None
    session_tokens: int | None = None
    session_money: float | None = None
    session_seconds: float | None = None


class CheckpointPolicy(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """When to make checkpoints without an order: every so many model calls or seconds with activity, at pause or stop,
    before high-risk calls. keep: number of these that are kept, the newest."""

    every_steps: int | None = None
    every_seconds: float | None = None
    at_pause: bool = True
    at_stop: bool = True
    before_risky: bool = False
    keep: int = 20


Unattended: TypeAlias = Literal["ask", "tell", "again"]


class Children(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """Delegation rights of an agent. agents: globs of the agent names it may call; each of them must allow it
    (`AgentSpec.callable_by`). depth: levels of children below its sessions. breadth: children that one turn may start.
    at_once: children of a session that run at the same time; a further call waits until one of them ends.
    """

    agents: tuple[str, ...] = option(default=(), converter=listed)
    depth: Annotated[int, msgspec.Meta(ge=0)] = 3
    breadth: Annotated[int, msgspec.Meta(ge=0)] = 16
    at_once: Annotated[int, msgspec.Meta(ge=1)] = 8


def tightened(limits: Limits, more: TurnLimits | None) -> Limits:
    """Return the tighter value of each limit."""
    if more is None:
        return limits
    both = {name: (getattr(limits, name), getattr(more, name)) for name in more.__struct_fields__}
    least = {name: min((one for one in pair if one is not None), default=None) for name, pair in both.items()}
    return msgspec.structs.replace(limits, **least)


def _names(tools: Sequence[str | Tool]) -> tuple[str, ...]:
    return tuple(one.name if isinstance(one, Tool) else one for one in tools)


def _name(model: str | Model | None) -> str | None:
    return model if model is None or isinstance(model, str) else model.name


def _intents(intents: Sequence[IntentRule | Known]) -> tuple[IntentRule | Known, ...]:
    return tuple(intents)


def _surroundings(environment: Sequence[Surrounding]) -> tuple[Surrounding, ...]:
    return tuple(environment)


class _Named(Validated, frozen=True, kw_only=False):
    name: str


class AgentSpec(_Named, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """The definition of an agent as data: every option, with its type and its default.

    model: None = the node's default. tools: names, resolved where the session runs. rules: apply before `permissions`
    and after the user's rules (`roost.policy.gate`).

    intent: purpose of the model calls. effort: how hard the model thinks. constraints: rules that the model is reminded
    of. output_hint: expected form of an answer. None leaves each to the model. knobs: further settings by their names
    in a model's profile; a model without a knob is not sent it. horizon: "long" tells the router that the task takes
    many steps.

    snapshots: "steps" snapshots the private files when a turn begins and before each call that may write. rollback:
    "failed" takes the same snapshots, and restores the one before a call that failed or was cut off.

    children: the agents that it may call. callable_by: globs of the agent names that may call it.

    isolation: how strictly its commands are isolated from the machine. compaction: how its context is shortened.
    memory: what it may remember, and what is recalled automatically; None gives its tools only its own spaces.
    checkpoints: when checkpoints are made. stall: when a turn counts as stalled, and what is done then. intents: topics
    of turns, which select tools. environment: facts added to each message that begins a turn: "clock" = the time,
    "files" = file names.

    unattended: what happens to a call with `replay="ask"` that a crash, a restart or a pause cut off while no person
    watches: in a session with permissions "all", in a child, in a turn that a schedule began. "tell": the model reads
    that the effect is unknown. "again": the call runs again. "ask": it waits for a person, as in all other cases.
    """

    instructions: str = "You are a helpful agent. Use your tools when they help. Be brief and exact."
    description: str = ""
    model: str | None = option(default=None, converter=_name)
    tools: tuple[str, ...] = option(default=(), converter=_names)
    permissions: Permissions = "workspace"
    rules: tuple[Rule, ...] = option(default=(), converter=listed)
    limits: Limits = Limits()
    max_output: int | None = None
    temperature: float | None = None
    intent: Intent | None = None
    effort: Effort | None = None
    constraints: tuple[str, ...] = option(default=(), converter=listed)
    output_hint: str | None = None
    knobs: dict[str, Any] = {}
    horizon: Horizon | None = None
    snapshots: SnapshotsWhen | None = None
    rollback: RollbackWhen | None = None
    isolation: Isolation = Isolation()
    compaction: Compaction = Compaction()
    children: Children | None = None
    callable_by: tuple[str, ...] = option(default=(), converter=listed)
    memory: Memory | None = None
    checkpoints: CheckpointPolicy = CheckpointPolicy()
    stall: Stall = Stall()
    intents: tuple[IntentRule | Known, ...] = option(default=(), converter=_intents)
    environment: tuple[Surrounding, ...] = option(default=(), converter=_surroundings)
    unattended: Unattended = "tell"

    @classmethod
    def label(cls, given: Mapping[str, Any]) -> str:
        return f"agent {given.get('name')!r}"

    def __hash__(self) -> int:
        """Refuse: a definition has tables, which have no hash."""
        raise TypeError(f"agent {self.name!r} cannot be hashed; use its name, or `agent.version` for its content")

    @property
    def points(self) -> bool:
        """Whether snapshots of its files are kept as undo points."""
        return self.snapshots is not None or self.rollback is not None

    @property
    def version(self) -> str:
        """Digest of the definition: equal content has an equal version."""
        return hashlib.blake2b(encode_spec(self), digest_size=8).hexdigest()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AgentSpec)


def encode_spec(spec: AgentSpec) -> bytes:
    """Encode a definition as data, without its Python parts."""
    return _encoder.encode(spec.spec if isinstance(spec, Agent) else spec)


@lru_cache(maxsize=256)
def decode_spec(data: bytes) -> AgentSpec:
    """Decode a definition. Returns the same object for the same bytes, so that sessions of one agent share it."""
    return _decoder.decode(data)


class PythonParts(msgspec.Struct, frozen=True):
    """The parts of an agent that are Python objects, which only a process that has run its file knows. True if there
    are any. tools: by name."""

    tools: Mapping[str, Tool] = {}
    hooks: tuple[Hook, ...] = ()
    guards: tuple[Guard, ...] = ()
    model: Model | None = None

    def __bool__(self) -> bool:
        return bool(self.tools or self.hooks or self.guards or self.model is not None)

    @property
    def checks(self) -> tuple[str, ...]:
        """Names of the hooks and guardrails. Every node that runs a session of the agent must know them."""
        return tuple(dict.fromkeys(one.name for one in (*self.hooks, *self.guards)))

    def toolbox(self, names: Collection[str]) -> Toolbox:
        """Return the tools of these names: of these parts, or built in. A name that is neither is left out."""
        found = {name: self.tools.get(name) or builtin_tool(name) for name in names}
        return {name: tool for name, tool in found.items() if tool is not None}

    def used(self, tools: Collection[str], model: str | None) -> PythonParts:
        """Return the parts of a definition with these tools and this model. Hooks and guardrails are always kept."""
        own = self.model if self.model is not None and self.model.name == model else None
        return PythonParts(
            {name: tool for name, tool in self.tools.items() if name in tools}, self.hooks, self.guards, own
        )


NO_PARTS = PythonParts()
_PARTS = ("python", "hooks", "guardrails")


class Agent(AgentSpec, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """An agent: its definition as data, and its Python parts.

    >>> Agent("clerk", instructions="Answer from the files.", tools=["read_file", "grep"])

    tools: names of built-in tools, and `Tool` objects. model: a name such as `openai/gpt-5-mini`, a `Model`, or None
    for the default. hooks, guardrails: run after those of the user. `replace` returns a changed copy, which keeps the
    Python parts that it uses. Raises `WrongValue`, a `ConfigError`, for a value that is wrong.
    """

    python: PythonParts = NO_PARTS
    if TYPE_CHECKING:  # only the constructor takes them; `python` has them
        hooks: InitVar[Sequence[Hook]] = ()
        guardrails: InitVar[Sequence[Guard]] = ()

    @classmethod
    def check(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        shown, python = cls.label(given), given.get("python", NO_PARTS)
        data = {name: value for name, value in given.items() if name not in _PARTS}
        data.setdefault("limits", Limits())  # the version of an agent in Python has always counted them
        tools, own = dict(python.tools), python.model
        if "tools" in data:
            items = _items(shown, "tools", data["tools"])
            tools |= _by_name(shown, [tool for tool in items if isinstance(tool, Tool)])
            data["tools"] = [_tool_name(shown, tool) for tool in items]
        if "model" in data and not isinstance(data["model"], str | None):
            own = _items(shown, "model", [data["model"]], "name", "stream")[0]
            data["model"] = own.name
        hooks = _items(shown, "hooks", given.get("hooks", python.hooks), "name", "on", "judge")
        guards = _items(shown, "guardrails", given.get("guardrails", python.guards), "name", "on", "check")
        return _whole(AgentSpec.check(data), PythonParts(tools, tuple(hooks), tuple(guards), own))

    @classmethod
    def of(cls, spec: AgentSpec, python: PythonParts | None = None) -> Agent:
        """Return the agent of a definition, with those of the Python parts that it uses. Raises `WrongValue`."""
        values = values_of(spec)
        own = values.pop("python", NO_PARTS)
        return cls.of_values(_whole(values, own if python is None else python))

    @property
    def spec(self) -> AgentSpec:
        """The definition as data, which a session pins."""
        return AgentSpec.of_values({name: getattr(self, name) for name in AgentSpec.__struct_fields__})


def _whole(values: dict[str, Any], python: PythonParts) -> dict[str, Any]:
    """Return the values of an agent. Raises `WrongValue` for a name that none can have, and for unknown tools."""
    shown, name = AgentSpec.label(values), values["name"]
    if not is_id(name):
        what = f"{name!r} cannot name an agent: use letters, digits and ._:- (at most 128)"
        raise WrongValue("", what, field="name")
    known = (*BUILTIN, *python.tools)
    for tool in values.get("tools", ()):
        if tool not in known:
            raise WrongValue(shown, f"unknown tool {tool!r}{did_you_mean(tool, known)}", field="tools")
    return {**values, "python": python.used(values.get("tools", ()), values.get("model"))}


def _by_name(shown: str, tools: Sequence[Tool]) -> dict[str, Tool]:
    found: dict[str, Tool] = {}
    for tool in tools:
        if found.setdefault(tool.name, tool) is not tool:
            what = f"two tools have the name {tool.name!r}; give one another with @tool(name=…)"
            raise WrongValue(shown, what, field="tools")
        if tool.name in BUILTIN and builtin_tool(tool.name) is not tool:
            what = f"{_place(tool)} has the name of the built-in tool {tool.name!r}; give it another with @tool(name=…)"
            raise WrongValue(shown, what, field="tools")
    return found


def _place(tool: Tool) -> str:
    function = tool.function or tool.run
    return f"{function.__module__}.{function.__qualname__}"


def _tool_name(shown: str, tool: object) -> str:
    if isinstance(tool, str):
        return tool
    if isinstance(tool, Tool):
        return tool.name
    called = getattr(tool, "__name__", None)
    if callable(tool) and called is not None:
        what = f"{called!r} is a plain function; put @tool (from roost import tool) above it"
    else:
        what = f"{tool!r} is no tool; give the name of a built-in one or a function with @tool"
    raise WrongValue(shown, f"{what}", field="tools")


def _items(shown: str, field: str, values: Any, *must: str) -> Sequence[Any]:
    """Return the values of an option as they are. Raises `WrongValue` unless they are several objects that have the
    attributes `must`."""
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping):
        raise WrongValue(shown, f"{field}={values!r}: expected a list", field=field)
    found = tuple(cast("Iterable[Any]", values))
    for value in found:
        missing = [name for name in must if not hasattr(value, name)]
        if missing:
            raise WrongValue(shown, f"{field}: {value!r} has no {', '.join(missing)}", field=field)
    return found
