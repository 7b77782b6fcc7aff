"""The definition of an agent. Each option is one field of `AgentSpec`, the data that a session pins. `Agent` adds what
only Python can say: `PythonParts`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import InitVar
from functools import lru_cache
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, cast

import msgspec

from roost.agent.memory_mounts import MountedStore
from roost.agent.openapi_options import OpenApi
from roost.agent.options import CodingAgent, Compaction, Framework, IntentRule, Known, Stall
from roost.agent.remote_agent_options import RemoteAgent
from roost.agent.servers import McpServer
from roost.ids import is_id
from roost.log.content import Replay
from roost.log.schedule_events import TurnLimits
from roost.memory.rights import Memory
from roost.models.request import Effort, Intent, Model
from roost.policy.gate import Permissions
from roost.policy.guardrails import Guard
from roost.policy.hooks import Hook
from roost.policy.rules import Rule
from roost.sandbox.backend import Bounds
from roost.sandbox.choose import Isolation
from roost.tools.base import Tool, Toolbox
from roost.tools.builtin import BUILTIN, builtin_tool
from roost.validated import Validated, WrongValue, did_you_mean, listed, option, values_of

Horizon: TypeAlias = Literal["long"]
SnapshotsWhen: TypeAlias = Literal["steps"]
RollbackWhen: TypeAlias = Literal["failed"]
Surrounding: TypeAlias = Literal["clock", "files", "instructions"]


class Limits(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of a turn, and with the prefix `session_` of the whole session."""

    steps: int | None = 50
    """Model calls of a turn."""
    tokens: int | None = None
    """Input plus output tokens of a turn."""
    money: float | None = None
    """US dollars of a turn; a model of unknown price does not run under this limit."""
    seconds: float | None = 1800.0
    """Wall time in which a turn works, in seconds."""
    session_steps: int | None = None
    """Model calls of the session."""
    session_tokens: int | None = None
    """Input plus output tokens of the session."""
    session_money: float | None = None
    """US dollars of the session; a model of unknown price does not run under this limit."""
    session_seconds: float | None = None
    """Wall time in which the session works, in seconds."""


class CheckpointPolicy(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """When to make checkpoints without an order."""

    every_steps: int | None = None
    """After this many model calls since the last checkpoint. Default: never."""
    every_seconds: float | None = None
    """After this many seconds of activity since the last checkpoint. Default: never."""
    at_pause: bool = True
    """When the session is paused, and something happened since the last checkpoint."""
    at_stop: bool = True
    """When the session is stopped, and something happened since the last checkpoint."""
    before_risky: bool = False
    """Before a call of a high-risk tool."""
    keep: int = 20
    """The newest automatic checkpoints that are kept."""


Unattended: TypeAlias = Literal["ask", "tell", "again"]


class Children(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """Which agents it may delegate to, and how many at a time."""

    agents: tuple[str, ...] = option(default=(), converter=listed)
    """Globs of the agents that it may delegate to; each of them must allow it with `callable_by`."""
    depth: Annotated[int, msgspec.Meta(ge=0)] = 3
    """Levels of children below its sessions."""
    breadth: Annotated[int, msgspec.Meta(ge=0)] = 16
    """Children that one turn may start."""
    at_once: Annotated[int, msgspec.Meta(ge=1)] = 8
    """Children of a session that run at the same time; a further call waits until one of them ends."""


def tightened(limits: Limits, more: TurnLimits | None) -> Limits:
    """Return the tighter value of each limit."""
    if more is None:
        return limits
    both = {name: (getattr(limits, name), getattr(more, name)) for name in more.__struct_fields__}
    least = {name: min((one for one in pair if one is not None), default=None) for name, pair in both.items()}
    return msgspec.structs.replace(limits, **least)


def _names(tools: Sequence[str | Tool | Callable[..., Any]]) -> tuple[str, ...]:
    return tuple(one.name if isinstance(one, Tool) else one if isinstance(one, str) else one.__name__ for one in tools)


def _name(model: str | Model | None) -> str | None:
    return model if model is None or isinstance(model, str) else model.name


def _intents(intents: Sequence[IntentRule | Known]) -> tuple[IntentRule | Known, ...]:
    return tuple(intents)


def _surroundings(environment: Sequence[Surrounding]) -> tuple[Surrounding, ...]:
    return tuple(environment)


def _skills(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else listed(names)


def _servers(servers: Sequence[McpServer | str]) -> tuple[McpServer | str, ...]:
    return tuple(servers)


class _Named(Validated, frozen=True, kw_only=False):
    name: str
    """The agent's name. Default: the file's name."""


class AgentSpec(_Named, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """The definition of an agent as data. Each option is one field: its type, its default, and below it what it does.
    `python -m tools.agent_reference` makes the table in docs/reference/agent-file.md from them."""

    instructions: str = "You are a helpful agent. Use your tools when they help. Be brief and exact."
    """The instructions of the agent; in Markdown files the text below the front matter. Default: a short general
    instruction."""
    description: str = ""
    """What it does, for people, and for agents that may delegate to it."""
    model: str | None = option(default=None, converter=_name)
    """A model such as `openai/gpt-5-mini`, or an alias; `auto` is the router. Default: the node's default."""
    tools: tuple[str, ...] = option(default=(), converter=_names)
    """Names of tools; each node that runs a session resolves them."""
    permissions: Permissions = "workspace"
    """What the agent may do without asking (docs/guides/policy.md)."""
    rules: tuple[Rule, ...] = option(default=(), converter=listed)
    """A list of policy rules; they come after the user's and before `permissions` (docs/guides/policy.md#rules)."""
    limits: Limits = Limits()
    """Limits of a turn and of a session."""
    max_output: int | None = None
    """The most tokens of one answer. Default: the model's."""
    temperature: float | None = None
    """The temperature of an answer. Default: the model's."""
    intent: Intent | None = None
    """What its model calls are for. It shapes the prompt, and the router uses it."""
    effort: Effort | None = None
    """How hard the model thinks. Default: the model's."""
    constraints: tuple[str, ...] = option(default=(), converter=listed)
    """A list of rules, of which Roost reminds the model."""
    output_hint: str | None = None
    """What an answer should look like, in words."""
    knobs: dict[str, Any] = {}
    """A table of more settings, by their names in the model's profile; a model without such a knob does not get it."""
    horizon: Horizon | None = None
    """`long`: the task takes many steps; the router uses it."""
    snapshots: SnapshotsWhen | None = None
    """`steps`: keep an undo point of the private files when a turn begins and before each call that may write
    (docs/guides/workspaces.md#undo-the-changes-of-a-failed-call)."""
    rollback: RollbackWhen | None = None
    """`failed`: keep the same undo points, and restore the one before a call that failed or was cut off."""
    isolation: Isolation = Isolation()
    """How strictly its commands are isolated from the machine."""
    compaction: Compaction = Compaction()
    """When and how the context is compacted."""
    children: Children | None = None
    """Agents that it may delegate to."""
    callable_by: tuple[str, ...] = option(default=(), converter=listed)
    """Globs of the agents that may delegate to it."""
    memory: Memory | None = None
    """Spaces, recall and consolidation. Without it the tools reach the agent's own spaces, and nothing is recalled
    automatically."""
    checkpoints: CheckpointPolicy = CheckpointPolicy()
    """When checkpoints are made automatically."""
    stall: Stall = Stall()
    """When a turn counts as stalled, and what happens then."""
    intents: tuple[IntentRule | Known, ...] = option(default=(), converter=_intents)
    """Topics of turns, each with the tools it has: a table, or the name of a known one
    (docs/guides/turns.md#turn-intents)."""
    environment: tuple[Surrounding, ...] = option(default=(), converter=_surroundings)
    """Facts that Roost adds to each message that begins a turn: `clock` is the time, `files` the names of the files,
    `instructions` the `AGENTS.md` or `CLAUDE.md` of the workspace (docs/guides/skills.md#agentsmd)."""
    skills: tuple[str, ...] | None = option(default=None, converter=_skills)
    """Globs of the skills that it may use, as in `["*"]` (docs/guides/skills.md). Default: all if `tools` has
    `use_skill`, else none."""
    unattended: Unattended = "tell"
    """What happens to a call with `replay="ask"`, such as one of `shell`, that a crash, a restart or a pause cut off
    while no person watches: in a session with permissions `all`, in a child, in a turn that a schedule began. `tell`:
    the model reads that the effect is unknown. `again`: the call runs again. `ask`: it waits for a person, as in all
    other cases (docs/guides/turns.md#interrupted-calls-in-unattended-sessions)."""
    memory_stores: tuple[MountedStore, ...] = option(default=(), converter=listed)
    """Memory stores that its sessions use. The Managed Agents API sets it."""
    uploaded_skills: tuple[str, ...] = option(default=(), converter=listed)
    """Ids of uploaded versions of skills that it may use, if `skills` names them. The Managed Agents API sets it."""
    servers: tuple[McpServer | str, ...] = option(default=(), converter=_servers)
    """MCP servers whose tools it may use ([more](../guides/mcp-servers.md)): tables, or names of servers of the home;
    `"*"` is all of the home, and the accepted ones of the workspace. Default: none."""
    tool_search: Annotated[int, msgspec.Meta(ge=0)] = 24
    """Tools of APIs and servers above which the model searches for them instead of seeing all."""
    openapi: tuple[OpenApi, ...] = option(default=(), converter=listed)
    """HTTP APIs whose operations are tools (docs/guides/openapi-tools.md)."""
    packages: tuple[str, ...] = option(default=(), converter=listed)
    """Accepted packages whose tools it may use; `*` is all ([more](../guides/packages.md#tools))."""
    remote_agents: tuple[RemoteAgent, ...] = option(default=(), converter=listed)
    """Agents of others that it may ask, by A2A (docs/guides/a2a.md#ask-agents-of-others)."""
    roster: tuple[dict[str, Any], ...] = option(default=(), converter=listed)
    """Definitions of further agents that it may delegate to, as data. The Managed Agents API sets it."""
    vaults: tuple[str, ...] = option(default=(), converter=listed)
    """Ids of vaults whose credentials its sessions use, for MCP servers and hosts (docs/guides/secrets.md#vaults)."""
    serves: dict[str, tuple[str, ...]] = {}
    """By caller, what it may call of a session of this agent: names of agents, or `@program`; names of tools, or
    `model`; both may be globs (docs/guides/system-calls.md). Default: nobody may call anything."""
    program: CodingAgent | None = None
    """A coding agent that works in place of Roost's own tools (docs/guides/coding-agents.md). It brings its own tools
    and prompts; leave `tools` out. Default: none."""
    framework: Framework | None = None
    """A framework whose agent does the work (docs/guides/bring-your-agent.md). `python` is a function of your own. It
    brings its own tools and instructions; `tools` are those of Roost that it may call by MCP. Default: none."""
    object: str = ""
    """With `framework`: the agent object, as `module:attribute`."""
    source: str = ""
    """With `framework`: the folder of the module. A relative path starts at the agent file. Default: the folder of the
    agent file."""
    requirements: tuple[str, ...] = option(default=(), converter=listed)
    """With `framework`: the packages that the module needs, as in `["openai-agents==0.24.0"]`."""
    replay: dict[str, Replay] = {}
    """With `framework`: by the name of a tool, what happens to a call that a crash cut off: `safe` runs it again,
    `never` tells the model that its effect is unknown, `ask` asks a person. Default: `never`."""
    public_routes: tuple[str, ...] = option(default=(), converter=listed)
    """With `framework = "termo-agent"`: beginnings of paths, as in `["/api/webhook"]`. Requests to routes of its
    adapter below them need no token, if the adapter says so, too. Default: none."""

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

    tools: names of built-in tools, `Tool` objects, and plain functions, which become tools as by `@tool`. model: a name
    such as `openai/gpt-5-mini`, a `Model`, or None for the default. hooks, guardrails: run after those of the user.
    `replace` returns a changed copy, which keeps the Python parts that it uses. Raises `WrongValue`, a `ConfigError`,
    for a value that is wrong.
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
            items = [_tool_of(shown, item) for item in _items(shown, "tools", data["tools"])]
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
    if values.get("program") is not None:
        values = _for_program(shown, values, "program")
    values = _for_framework(shown, values)
    apis = [api.name for api in values.get("openapi", ())]
    if twice := [api for api in apis if apis.count(api) > 1]:
        raise WrongValue(shown, f"two APIs have the name {twice[0]!r}", field="openapi")
    remote = [one.name for one in values.get("remote_agents", ())]
    if twice := [one for one in remote if remote.count(one) > 1]:
        raise WrongValue(shown, f"two remote agents have the name {twice[0]!r}", field="remote_agents")
    return {**values, "python": python.used(values.get("tools", ()), values.get("model"))}


def _for_framework(shown: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of an agent that a framework may run. Raises `WrongValue`."""
    if values.get("framework") is None:
        if field := next((name for name in _HOSTED if values.get(name)), None):
            raise WrongValue(shown, f"{field!r} is for agents of a framework: set `framework`, too", field=field)
        return values
    if values.get("program") is not None:
        raise WrongValue(shown, "an agent has a `program` or a `framework`, not both", field="framework")
    if not _OBJECT.fullmatch(values.get("object", "")):
        what = f"object={values.get('object', '')!r} must name the agent object, as in 'my_agent:agent'"
        raise WrongValue(shown, what, field="object")
    own = tuple(name for name in values.get("tools", ()) if name not in _PROGRAM_TOOLS)  # its program may call these
    values = _for_program(shown, {**values, "tools": ()}, "framework")
    return {**values, "tools": (*own, *_PROGRAM_TOOLS)}


def _for_program(shown: str, values: dict[str, Any], field: str) -> dict[str, Any]:
    """Return the values of an agent whose work a program does. `shell` stands for the commands that it runs: it makes
    the session's files durable, and says what isolation it needs. Raises `WrongValue`."""
    if tuple(values.get("tools", ())) not in ((), _PROGRAM_TOOLS):
        raise WrongValue(
            shown, f"an agent with `{field}` has the tools of its {field}: leave `tools` out", field="tools"
        )
    values = {**values, "tools": _PROGRAM_TOOLS}
    if values.get("isolation", Isolation()) == Isolation():
        values["isolation"] = _PROGRAM_ISOLATION
    if values.get("compaction", Compaction()) == Compaction():  # the program keeps its own context: no model is asked
        values["compaction"] = Compaction(by="plain")
    return values


_HOSTED = ("object", "source", "requirements", "replay", "public_routes")
_OBJECT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_PROGRAM_TOOLS = ("shell",)
_PROGRAM_ISOLATION = Isolation(bounds=Bounds(memory_bytes=4 * 1024**3, cpus=2.0, pids=512, disk_bytes=4 * 1024**3))


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
    raise WrongValue(shown, f"{tool!r} is no tool; give the name of a built-in one, or a function", field="tools")


def _tool_of(shown: str, item: object) -> object:
    """Make a tool of a plain function, as `@tool` does without options."""
    if not isinstance(item, FunctionType | MethodType):
        return item
    from roost.tools.function import tool

    try:
        return tool(item)
    except TypeError as error:
        raise WrongValue(shown, f"{item.__name__!r} cannot be a tool: {error}", field="tools") from None


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
