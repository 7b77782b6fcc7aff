"""The seams of the loop: the moments at which it asks the features of a session.

A feature is a subclass of `Feature` that overrides the seams it needs; `roost/features/NAME/behaviour.py` holds its one
instance, `FEATURE`. The loop asks the features in the order of `roost.registry.FEATURES`. A feature that the session
does not use, and a seam that it does not override, cost nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import msgspec

from roost import registry
from roost.agent.fold import tables
from roost.agent.session import Session
from roost.agent.state import Call, Turn, layout
from roost.log import events as ev
from roost.log.content import ErrorData, ResultPart, ToolOutcome
from roost.log.inputs import CORE, ControlInput, Input, input_types
from roost.log.protocols import Delivery, InboxItem
from roost.log.session_info import TurnOutcome
from roost.models.request import Budget, Completed, Effort, Failed, Intent, Model, ToolChoice
from roost.policy.gate import GateCall, Verdict
from roost.sandbox.guest.terminal import GuestTerminal
from roost.tools.base import Tool, Toolbox, ToolContext


class TurnEnd(NamedTuple):
    """The outcome of a turn that cannot go on. code: of the error that closes its open model call, if there is one."""

    outcome: Literal["failed", "limit"]
    reason: str
    code: str = "denied"


class AdmittedCall(NamedTuple):
    """A call that may run. why: the decision source that allowed it."""

    call: Call
    why: str
    tool: Tool


class Draft(msgspec.Struct):
    """What features decide of a request; fields as in `Request`."""

    intent: Intent | None
    effort: Effort | None
    tool_choice: ToolChoice = "auto"
    budgets: tuple[Budget, ...] = ()


class Sleeper(NamedTuple):
    """A program that sleeps with its session's sandbox. note: JSON from which `resumes` attaches it again. detach:
    called once the sandbox is suspended, when the program is no longer the session's."""

    note: msgspec.Raw
    detach: Callable[[], Awaitable[None]]


class CallStart(msgspec.Struct):
    """A call before its intent is noted. undo: as in `ToolStarted`. problem: why there is no undo point although there
    should be one; the model is told if the call fails."""

    call: Call
    tool: Tool
    undo: str | None = None
    problem: str = ""


class CallEnd(msgspec.Struct):
    """A call that has run, before its outcome is noted. Features change `outcome` and `parts`, and add to `deliver`,
    the messages to other sessions in the same commit. worked: the tool succeeded, whatever became of `outcome`.
    outside: the source that makes its result untrusted, or None."""

    call: Call
    tool: Tool
    context: ToolContext
    worked: bool
    outcome: ToolOutcome
    parts: tuple[ResultPart, ...]
    outside: str | None
    problem: str = ""
    deliver: list[Delivery] = []


RunCalls: TypeAlias = Callable[[Session, Sequence[AdmittedCall]], Awaitable[None]]
Take: TypeAlias = Callable[[Session, InboxItem], None]
Begin: TypeAlias = Callable[[Session, InboxItem], bool]


class Feature:
    """A feature of a session. Every method is a seam; the ones here do nothing.

    `takes` has the inputs that it consumes at once, `begins` those that may begin a turn, each with a function. A
    function of `takes` may leave its input in the inbox for a later seam. One of `begins` returns whether a turn is
    open now; it consumes the input in any case."""

    takes: ClassVar[Mapping[type[Input], Take]] = {}
    begins: ClassVar[Mapping[type[Input], Begin]] = {}

    def used(self, session: Session) -> bool:
        """Whether the session uses the feature. Asked when the session wakes, before each turn, and when inputs came in
        mid-turn: quick."""
        return True

    # Around a turn

    async def wake(self, session: Session) -> None:
        """Reconcile the log with the world, once after wake. Raises `StoreFailed`."""

    async def before_end(self, session: Session, how: ev.ChildOutcome) -> None:
        """Prepare for the end of the session (`stopped`) or of its open turn, which cannot be prevented."""

    async def before_orders(self, session: Session) -> None:
        """Load what `ordered` needs. Raises `StoreFailed`."""

    def ordered(self, session: Session, item: InboxItem, order: ControlInput, fits: bool) -> Sequence[Delivery]:
        """Return messages to other sessions that a control causes. fits: it fits the session's state."""
        return ()

    def given_up(self, session: Session, outcome: ev.ChildOutcome, why: str) -> None:
        """End open work outside the turn: the session was stopped, or its task cancelled."""

    async def between_turns(self, session: Session) -> None:
        """Do work that is due, before a turn begins or an open one is resumed."""

    def hears(self, session: Session, item: InboxItem) -> None:
        """A message is about to enter the conversation."""

    async def enter_turn(self, session: Session) -> None:
        """Prepare a turn that begins or is resumed. Raises `Interrupted`, `ObjectsFailed`."""

    def ending(self, session: Session, outcome: TurnOutcome, reason: str | None) -> Sequence[Delivery]:
        """Return messages to other sessions that the end of the turn causes."""
        return ()

    def ended(self, session: Session, turn: Turn) -> None:
        """Note what follows from the end of `turn`, in the same commit."""

    async def after_turn(self, session: Session) -> None:
        """Do work once a turn has ended."""

    async def at_rest(self, session: Session) -> None:
        """Do work while nothing waits, before the session may sleep."""

    # Around sleep

    def stays_awake(self, session: Session) -> bool:
        """Whether the session may not sleep yet, although it has nothing to do."""
        return False

    async def suspends(self, session: Session) -> Sequence[Sleeper]:
        """Return the programs that sleep with the session's sandbox, which is suspended next."""
        return ()

    async def before_sleep(self, session: Session) -> None:
        """Prepare for sleep, or for another node."""

    async def evicted(self, session: Session) -> None:
        """Release what belongs to the session: it leaves memory, after sleep or a failure."""

    def resumes(self, session: Session, note: msgspec.Raw, terminals: dict[int, GuestTerminal]) -> None:
        """Attach a program that slept to the session, and take its terminal out of `terminals`, which has them by
        number. A program left there is ended."""

    # Between the steps of a turn

    def due(self, session: Session) -> bool:
        """Whether `between_steps` may have work."""
        return False

    async def between_steps(self, session: Session) -> None:
        """Do work that is due between two steps. It may end the turn."""

    async def before_calls(self, session: Session) -> None:
        """Prepare for the calls of the newest answer. Raises `Interrupted`."""

    # Around a model call

    async def before_model(self, session: Session) -> TurnEnd | Literal["again"] | None:
        """Return how the turn ends if the model must not be called, or `again` to look at the inbox first. Raises
        `Interrupted`."""

    def model(self, session: Session) -> Model | None:
        """Return the model of the next call, if it is another than the agent's."""

    def tools(self, session: Session) -> Toolbox | None:
        """Return the tools of this turn, if they are not all."""

    def answer_schema(self, session: Session) -> dict[str, Any] | None:
        """Return the JSON Schema that the answer must fit, if there is one: the same object while it is the same."""

    def shape(self, session: Session, draft: Draft) -> None:
        """Change the draft of the next request."""

    def withholds(self, session: Session) -> bool:
        """Whether an answer must be judged as a whole before anyone sees a part of it."""
        return False

    def overflowed(self, session: Session) -> bool:
        """Shorten the context, which the model rejected as too long. Returns whether it is shorter."""
        return False

    async def after_model(self, session: Session, outcome: Completed | Failed) -> Completed | Failed:
        """Return the answer to note. Raises `Interrupted`."""
        return outcome

    def spent(self, session: Session) -> None:
        """A model call of the session cost money."""

    def failed(self, session: Session, error: ErrorData, refused: str) -> TurnEnd | None:
        """Return how the turn ends after a failed model call, if otherwise than `failed`. refused: the budget that
        refused it, or empty."""

    # Around a tool call

    def grants(self, session: Session) -> Sequence[str]:
        """Return standing rules of people that count in this session, beside its own (`State.grants`)."""
        return ()

    async def before_gate(self, session: Session, call: Call, tool: Tool) -> bool:
        """Judge a new call before the gate does. Returns False if it is denied and its outcome noted."""
        return True

    async def after_gate(self, session: Session, call: GateCall, verdict: Verdict) -> Verdict:
        """Return the verdict on a new call that the gate allows."""
        return verdict

    def judges(self, session: Session, tool: Tool) -> bool:
        """Whether no call of this tool may start before the answer is complete: the feature judges it first, or has
        work to do first."""
        return False

    def asks(self, session: Session, call: Call, reason: str) -> Sequence[Delivery]:
        """Return messages to other sessions that a question to a person causes."""
        return ()

    def runs(self, session: Session, tool: Tool) -> RunCalls | None:
        """Return the function that runs calls of this tool in place of the loop's own, if there is one."""

    async def before_call(self, session: Session, start: CallStart) -> None:
        """Prepare a call before its intent is noted. Raises `Interrupted`."""

    def equip(self, session: Session, call: Call, context: ToolContext) -> None:
        """Put the feature's port into the context of a call."""

    async def call_begins(self, session: Session, start: CallStart) -> None:
        """The intent of a call is committed, and it runs next."""

    async def after_call(self, session: Session, end: CallEnd) -> None:
        """Judge or change the result of a call. Raises `Interrupted`, `ObjectsFailed`."""

    def call_ends(self, session: Session, end: CallEnd) -> None:
        """Note what belongs before the outcome of a call, in the same commit; also if `after_call` was cut off."""

    def call_ended(self, session: Session, end: CallEnd) -> None:
        """Note what follows from the outcome of a call, in the same commit."""

    def call_closed(self, session: Session, call: Call) -> None:
        """A call that waited for something else than a person was closed without its outcome."""


def asked(session: Session, seam: str) -> tuple[Feature, ...]:
    """Return the features to ask at a seam, which is the name of a method of `Feature`."""
    return (session.seams or consider(session))[seam]


def stays_awake(session: Session) -> bool:
    """Whether a feature keeps the session in memory, as for a program that runs."""
    return any(feature.stays_awake(session) for feature in asked(session, "stays_awake"))


def consider(session: Session) -> Mapping[str, tuple[Feature, ...]]:
    """Look again which features the session uses. Return those to ask at each seam."""
    features = all_features() if session.cast is None else session.cast
    session.seams = _by_seam(tuple([feature for feature in features if feature.used(session)]))
    return session.seams


@cache
def _by_seam(used: tuple[Feature, ...]) -> Mapping[str, tuple[Feature, ...]]:
    return {name: tuple(one for one in used if name in _overridden(type(one))) for name in seam_names()}


@cache
def all_features() -> tuple[Feature, ...]:
    """Return every feature, in order. Raises `TypeError` unless each input of a feature has one owner."""
    features: tuple[Feature, ...] = tuple(module.FEATURE for module in registry.load("behaviour"))
    owners = Counter(kind for one in features for kind in (*one.takes, *one.begins))
    known = set(input_types())
    for kind in known - set(CORE) | owners.keys():
        name = f"{kind.__module__}.{kind.__name__}"
        if kind not in known:
            raise TypeError(f"{name} is in `takes` or `begins`, and not in `INPUTS` of its `events.py`")
        if owners[kind] != 1:
            raise TypeError(f"{name} is in `takes` or `begins` of {owners[kind]} features; exactly one takes an input")
    return features


@cache
def takers() -> Mapping[type[Input], Take]:
    """Return the function that takes each input of a feature. All features take their inputs in every session: an
    input of a feature that the session does not use is dropped by its function."""
    return {kind: take for feature in all_features() for kind, take in feature.takes.items()}


@cache
def beginners() -> Mapping[type[Input], Begin]:
    """Return the function for each input of a feature that may begin a turn."""
    return {kind: begin for feature in all_features() for kind, begin in feature.begins.items()}


def check_features() -> None:
    """Join the tables of all features. The tests do so first, so that a mistake in one ends them and no session meets
    it. A program joins each table when it first needs it: all of them take 0.07 s. Raises `TypeError`."""
    tables()
    layout()
    all_features()


@cache
def _overridden(kind: type[Feature]) -> frozenset[str]:
    return frozenset(name for name in seam_names() if getattr(kind, name) is not getattr(Feature, name))


@cache
def seam_names() -> tuple[str, ...]:
    """Return the names of all seams."""
    return tuple(_methods(Feature))


def _methods(kind: type) -> Iterator[str]:
    for name, value in vars(kind).items():
        if callable(value) and not name.startswith("_") and name != "used":
            yield name
