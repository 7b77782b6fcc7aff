"""The definition of an agent. `AgentSpec` is data, which a session pins; `Agent` adds Python tools, hooks and
models."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec

from roost.agent.options import Compaction, IntentRule, Known, Stall
from roost.errors import ConfigError
from roost.ids import is_id
from roost.log.schedule_events import TurnLimits
from roost.memory.rights import Memory
from roost.models.request import Effort, Intent, Model
from roost.policy.gate import Permissions
from roost.policy.guardrails import Guard
from roost.policy.hooks import Hook
from roost.policy.rules import Rule
from roost.sandbox.choose import Isolation
from roost.tools.base import Tool
from roost.tools.builtin import BUILTIN

Horizon: TypeAlias = Literal["long"]
SnapshotsWhen: TypeAlias = Literal["steps"]
RollbackWhen: TypeAlias = Literal["failed"]
Surrounding: TypeAlias = Literal["clock", "files"]


class Limits(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
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


class CheckpointPolicy(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """When to make checkpoints without an order: every so many model calls or seconds with activity, at pause or stop,
    before high-risk calls. keep: number of these that are kept, the newest."""

    every_steps: int | None = None
    every_seconds: float | None = None
    at_pause: bool = True
    at_stop: bool = True
    before_risky: bool = False
    keep: int = 20


Unattended: TypeAlias = Literal["ask", "tell", "again"]


class Children(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """Delegation rights of an agent. agents: globs of the agent names it may call; each of them must allow it
    (`AgentSpec.callable_by`). depth: levels of children below its sessions. breadth: children that one turn may start.
    at_once: children of a session that run at the same time; a further call waits until one of them ends.
    """

    agents: tuple[str, ...] = ()
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


class AgentSpec(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """The definition of an agent as data.

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

    name: str
    instructions: str = "You are a helpful agent. Use your tools when they help. Be brief and exact."
    description: str = ""
    model: str | None = None
    tools: tuple[str, ...] = ()
    permissions: Permissions = "workspace"
    rules: tuple[Rule, ...] = ()
    limits: Limits = Limits()
    max_output: int | None = None
    temperature: float | None = None
    intent: Intent | None = None
    effort: Effort | None = None
    constraints: tuple[str, ...] = ()
    output_hint: str | None = None
    knobs: dict[str, Any] = {}
    horizon: Horizon | None = None
    snapshots: SnapshotsWhen | None = None
    rollback: RollbackWhen | None = None
    isolation: Isolation = Isolation()
    compaction: Compaction = Compaction()
    children: Children | None = None
    callable_by: tuple[str, ...] = ()
    memory: Memory | None = None
    checkpoints: CheckpointPolicy = CheckpointPolicy()
    stall: Stall = Stall()
    intents: tuple[IntentRule | Known, ...] = ()
    environment: tuple[Surrounding, ...] = ()
    unattended: Unattended = "tell"

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
    return _encoder.encode(spec)


@lru_cache(maxsize=256)
def decode_spec(data: bytes) -> AgentSpec:
    """Decode a definition. Returns the same object for the same bytes, so that sessions of one agent share it."""
    return _decoder.decode(data)


class Agent:
    """An agent written in Python.

    >>> Agent("clerk", instructions="Answer from the files.", tools=["read_file", "grep"])

    tools: names of built-in tools, and `Tool` objects. model: a name such as `openai/gpt-5-mini`, a `Model`, or None
    for the default. hooks, guardrails: run after those of the user. Raises `ConfigError`.
    """

    def __init__(
        self,
        name: str,
        *,
        instructions: str | None = None,
        description: str = "",
        model: str | Model | None = None,
        tools: Sequence[str | Tool] = (),
        permissions: Permissions = "workspace",
        rules: Sequence[Rule] = (),
        hooks: Sequence[Hook] = (),
        guardrails: Sequence[Guard] = (),
        limits: Limits | None = None,
        max_output: int | None = None,
        temperature: float | None = None,
        intent: Intent | None = None,
        effort: Effort | None = None,
        constraints: Sequence[str] = (),
        output_hint: str | None = None,
        knobs: Mapping[str, Any] | None = None,
        horizon: Horizon | None = None,
        snapshots: SnapshotsWhen | None = None,
        rollback: RollbackWhen | None = None,
        isolation: Isolation | None = None,
        compaction: Compaction | None = None,
        children: Children | None = None,
        callable_by: Sequence[str] = (),
        memory: Memory | None = None,
        checkpoints: CheckpointPolicy | None = None,
        stall: Stall | None = None,
        intents: Sequence[IntentRule | Known] = (),
        environment: Sequence[Surrounding] = (),
        unattended: Unattended = "tell",
    ) -> None:
        if not is_id(name):
            raise ConfigError(f"{name!r} cannot name an agent: use letters, digits and ._:- (at most 128)")
        _check(name, tools, permissions)
        self.own_tools = {tool.name: tool for tool in tools if isinstance(tool, Tool)}
        self.own_hooks, self.own_guards = tuple(hooks), tuple(guardrails)
        self.own_model = model if model is not None and not isinstance(model, str) else None
        given = {
            "instructions": instructions,
            "isolation": isolation,
            "compaction": compaction,
            "checkpoints": checkpoints,
            "stall": stall,
        }
        fields: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self.spec = AgentSpec(
            name=name,
            description=description,
            model=self.own_model.name if self.own_model is not None else _name(model),
            tools=tuple(tool if isinstance(tool, str) else tool.name for tool in tools),
            permissions=permissions,
            rules=tuple(rules),
            limits=limits or Limits(),
            max_output=max_output,
            temperature=temperature,
            intent=intent,
            effort=effort,
            constraints=tuple(constraints),
            output_hint=output_hint,
            knobs=dict(knobs or {}),
            horizon=horizon,
            snapshots=snapshots,
            rollback=rollback,
            children=children,
            callable_by=tuple(callable_by),
            memory=memory,
            intents=tuple(intents),
            environment=tuple(environment),
            unattended=unattended,
            **fields,
        )

    @classmethod
    def of(cls, spec: AgentSpec) -> Agent:
        agent = cls(spec.name)
        agent.spec = spec
        return agent

    @property
    def checks(self) -> tuple[str, ...]:
        """Names of its own hooks and guardrails. Every node that runs its sessions must know them."""
        return tuple(dict.fromkeys(one.name for one in (*self.own_hooks, *self.own_guards)))

    @property
    def is_python(self) -> bool:
        """Whether parts of it are Python objects: then only a process that has run its file knows all of it."""
        return bool(self.own_tools or self.own_model or self.own_hooks or self.own_guards)

    def changed(self, spec: AgentSpec) -> Agent:
        """Return the agent with another definition. It keeps all its hooks and guardrails, the own tools that `spec`
        names, and its own model if `spec` names it."""
        changed = Agent.of(spec)
        changed.own_tools = {name: tool for name, tool in self.own_tools.items() if name in spec.tools}
        changed.own_hooks, changed.own_guards = self.own_hooks, self.own_guards
        if self.own_model is not None and self.own_model.name == spec.model:
            changed.own_model = self.own_model
        return changed


def _check(name: str, tools: Sequence[object], permissions: object) -> None:
    """Check the argument types that a type checker would reject. Raises `ConfigError`."""
    if permissions not in (modes := get_args(Permissions)):
        raise ConfigError(f"agent {name!r}: permissions={permissions!r} is none of {', '.join(map(repr, modes))}")
    known = (*BUILTIN, *(tool.name for tool in tools if isinstance(tool, Tool)))
    for tool in tools:
        if isinstance(tool, str):
            if tool not in known:
                raise ConfigError(f"agent {name!r}: unknown tool {tool!r}{did_you_mean(tool, known)}")
        elif not isinstance(tool, Tool):
            raise ConfigError(f"agent {name!r}: {_no_tool(tool)}")


def _no_tool(value: object) -> str:
    called = getattr(value, "__name__", None)
    if callable(value) and called is not None:
        return f"{called!r} is a plain function; put @tool (from roost import tool) above it"
    return f"{value!r} is no tool; give the name of a built-in one or a function with @tool"


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return the end of an error about an unknown name: the most similar known one, and all of them."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    listed = f"The known ones are {', '.join(known)}"
    return f"; did you mean {near[0]!r}? {listed}" if near else f". {listed}"


def _name(model: str | Model | None) -> str | None:
    return model if isinstance(model, str) else None
