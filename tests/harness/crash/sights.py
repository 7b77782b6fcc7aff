"""What must be so when an action has come to its end, however often it was struck on the way. Each looks at a store,
the home that worked on it, and a session, and says in words what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

from tests.harness.crash.check import problems

from roost.agent.state import transcript
from roost.features.checkpoints.events import CheckpointMade
from roost.features.compaction.events import ContextCompacted
from roost.features.delegation.events import ChildEnded, ChildStarted
from roost.features.memory.events import MemoryChanged, MemoryConsolidated
from roost.features.schedules.events import ScheduleFired, timer_of
from roost.kernel.state_loader import load_state
from roost.log import events as ev
from roost.log.content import Text, Usage, UserMessage
from roost.log.facts import FactQuery
from roost.log.protocols import SessionQuery
from roost.log.store import Store

Sight: TypeAlias = Callable[[Store, Path, str], Awaitable[list[str]]]
E = TypeVar("E", bound=ev.Event)
ASIDE = "[This is not from the user.]"
"""How a request begins that no user has made."""
_CUT_OFF = "cut off"
KEPT = "The port is 8080"
"""What the one who travels knew at the checkpoint."""
FACTS = ["The office is in Oslo", KEPT]


def forked(session: str) -> str:
    """The fork of a session that travels."""
    return f"{session}-f"


async def family(store: Store, session: str) -> list[str]:
    """The session and what has come from it."""
    there = await store.sessions.find(SessionQuery(ids=(forked(session),)))
    return [session, *(info.id for info in [*there, *await store.sessions.find(SessionQuery(parent=session))])]


async def of_turn(store: Store, home: Path, session: str) -> list[str]:
    """Nothing that is not so of any session."""
    return []


async def of_travel(store: Store, home: Path, session: str) -> list[str]:
    """Conversation, files and memory are those of the checkpoint, in the session; in its fork the first two."""
    log = await _log(store, session)
    fork = forked(session)
    facts = await store.facts.find(FactQuery(spaces=(f"session:{session}",)))
    return [
        *_differs("rollbacks", len(_of(log, ev.SessionRolledBack)), 1),
        *_differs("checkpoints", sum(event.label == "good" for event in _of(log, CheckpointMade)), 1),
        *_differs("said", await _said(store, session), ["[one]"]),
        *_differs("said in the fork", await _said(store, fork), ["[one]", "[show]"]),
        *_differs("facts", [fact.text for fact in facts], [KEPT]),
        *_differs("files", _files(home, session), {"a": "1\n"}),
        *_differs("files of the fork", _files(home, fork), {"a": "1\n"}),
        *await problems(store, fork, settled=True),
    ]


async def of_compaction(store: Store, home: Path, session: str) -> list[str]:
    """Both were made by the model, each shrank the context, and what the log says was spent is what the ledger says."""
    log = await _log(store, session)
    done = _of(log, ContextCompacted)
    balance = await store.ledger.balance(f"session:{session}")
    return [
        *_differs("compactions", [event.by for event in done], ["model", "model"]),
        *(f"compacted from {event.before} to {event.after}" for event in done if event.after >= event.before),
        *_differs("spent", balance.spent, _cost(log)),
        *_differs("reserved", balance.reserved, 0),
    ]


async def of_consolidation(store: Store, home: Path, session: str) -> list[str]:
    """Each fact is there once, and the log tells of it."""
    log = await _log(store, session)
    facts = await store.facts.find(FactQuery(spaces=(f"session:{session}",), ended=True))
    ended = _of(log, MemoryConsolidated)
    return [
        *_differs("facts", sorted(fact.text for fact in facts), FACTS),
        *_differs("changes in the log", len(_of(log, MemoryChanged)), len(FACTS)),
        *_differs("kept", sum(event.facts for event in ended), len(FACTS)),
        *(f"one failed: {event.error}" for event in ended if not (event.error or _CUT_OFF).startswith(_CUT_OFF)),
    ]


async def of_children(store: Store, home: Path, session: str) -> list[str]:
    """Each task ran once in a session of its own, its end arrived once, and the ledger has what all logs say."""
    log = await _log(store, session)
    started, ended = Counter[str](), Counter[str]()
    started.update(event.child for event in _of(log, ChildStarted))
    ended.update(event.child for event in _of(log, ChildEnded))
    there = await store.sessions.find(SessionQuery(parent=session))
    found = [
        *_differs("tasks", (len(started), set(started.values())), (4, {1})),
        *_differs("ends", ended, started),
        *_differs("outcomes", {event.outcome for event in _of(log, ChildEnded)}, {"answered"}),
        *_differs("calls", {event.outcome for event in _of(log, ev.ToolCompleted)}, {"ok"}),
        *_differs("sessions", {info.id for info in there}, set(started)),
    ]
    for info in there:
        own = await _log(store, info.id)
        found += [f"{info.id}: {one}" for one in await problems(store, info.id, settled=True)]
        found += _differs(f"turns of {info.id}", len(_of(own, ev.TurnCompleted)), 1)
        log += own
    told = [str(event.source) for event in _of(log, ev.InputReceived)]
    balance = await store.ledger.balance(f"tree:{session}")
    return [
        *found,
        *_differs("told from the background", sum(source.startswith("child:") for source in told), 1),
        *_differs("spent", balance.spent, _cost(log)),
        *_differs("reserved", balance.reserved, 0),
    ]


async def of_firing(store: Store, home: Path, session: str) -> list[str]:
    """It was set once, has fired once, and spoke once."""
    log = await _log(store, session)
    timers = [event.timer for event in _of(log, ev.TimerFired)]
    return [
        *_differs("fired", [event.name for event in _of(log, ScheduleFired)], ["soon"]),
        *_differs("timers", timers, [timer_of("soon")]),
        *_differs("turns", [event.outcome for event in _of(log, ev.TurnCompleted)], ["answered"]),
    ]


async def _log(store: Store, session: str) -> list[ev.Event]:
    return [record.event for record in await store.logs.read(session, limit=100_000)]


def _of(log: Iterable[ev.Event], kind: type[E]) -> list[E]:
    return [event for event in log if isinstance(event, kind)]


def _differs(what: str, found: object, wanted: object) -> list[str]:
    return [] if found == wanted else [f"{what}: {found!r}, where {wanted!r} is right"]


def _cost(log: Sequence[ev.Event]) -> int:
    usages: list[Usage | None] = [
        event.usage
        for event in log
        if isinstance(event, ev.ModelCompleted | ev.ModelFailed | ev.ModelLost | ContextCompacted)
    ]
    return sum(usage.cost or 0 for usage in usages if usage is not None)


async def _said(store: Store, session: str) -> list[str]:
    """The plans that the user named."""
    texts = [
        part.text
        for message in transcript(await load_state(store, session))
        if isinstance(message, UserMessage)
        for part in message.parts
        if isinstance(part, Text)
    ]
    return [text[text.index("[") : text.index("]") + 1] for text in texts if text.startswith("Please do ")]


def _files(home: Path, session: str) -> dict[str, str]:
    folder = home / "workspaces" / session
    return {path.name: path.read_text() for path in folder.iterdir()} if folder.is_dir() else {}
