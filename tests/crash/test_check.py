"""The checks find what they are for: each promise is broken once, in a log that is otherwise sound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roost.agent.state import STATE_VERSION, State, encode_state
from roost.log import events as ev
from roost.log.content import AssistantMessage, Text, ToolCall
from roost.log.dispatch import NodeCard
from roost.log.inputs import MessageInput
from roost.log.protocols import Append, NewSession, Snapshot
from roost.log.session_info import TurnOutcome
from roost.stores.sqlite.store import open_sqlite
from tests.harness.crash.check import Sent, check, problems
from tests.harness.crash.killing import KillingStore
from tests.harness.crash.witness import Effect, Witness, effects

AT: dict[str, Any] = {"at": 1.0}
KEY = "s:1:c"


def turn(*middle: ev.Event, outcome: TurnOutcome = "answered", answer: str = "yes #1.") -> list[ev.Event]:
    """A turn whose model calls a tool, then answers. `middle` is what became of the call."""
    call = ToolCall("c", "never_effect")
    return [
        ev.StateChanged(state="running", **AT),
        ev.InputReceived(input=1, parts=(Text("do #1."),), **AT),
        ev.TurnStarted(turn=1, input=1, **AT),
        ev.ModelStarted(step=1, model="m", **AT),
        ev.ModelCompleted(step=1, parts=(call,), stop="tool_calls", **AT),
        *middle,
        ev.ModelStarted(step=2, model="m", **AT),
        ev.ModelCompleted(step=2, parts=AssistantMessage((Text(answer),)).parts, **AT),
        ev.TurnCompleted(turn=1, outcome=outcome, **AT),
    ]


def started(attempt: int = 1, replay: Any = "never", key: str = KEY) -> ev.ToolStarted:
    return ev.ToolStarted(call="c", name="never_effect", replay=replay, key=key, attempt=attempt, **AT)


def completed() -> ev.ToolCompleted:
    return ev.ToolCompleted(call="c", outcome="ok", parts=(Text("done"),), **AT)


def effect(kind: Any = "began", attempt: int = 1, key: str = KEY) -> Effect:
    return Effect("never_effect", "s", "c", key, attempt, kind)


SOUND = turn(started(), completed())
DONE = [effect(), effect("done")]


async def found(
    folder: Path, log: Sequence[ev.Event], seen: Sequence[Effect] = DONE, *, snapshot: State | None = None
) -> str:
    """What the check says of this log, as one text."""
    journal = await open_sqlite(folder / "roost.db")
    try:
        made = ev.SessionCreated(at=1.0, agent="a", version="1", spec=msgspec.Raw(b"{}"))
        await journal.sessions.create(NewSession(id="s", agent="a", version="1"), [made])
        await journal.inboxes.accept("s", MessageInput((Text("do #1."),)))
        await journal.dispatch.beat(NodeCard(id="n"), ttl=60)
        (claim,) = await journal.dispatch.claim("n", session="s")
        bodies = [ev.encode_event(event) for event in log]
        body = None if snapshot is None else Snapshot(3, STATE_VERSION, encode_state(snapshot))
        append = Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies, consume=[1], state="running")
        append.snapshot = body
        await journal.logs.append(append)
        sent = [Sent("s", 1, "do #1.")]
        return "\n".join(await problems(journal, "s", sent=sent, effects=seen, settled=True))
    finally:
        await journal.close()


async def test_a_sound_log_passes(tmp_path: Path) -> None:
    assert await found(tmp_path, SOUND) == ""


BROKEN: dict[str, tuple[Sequence[ev.Event], Sequence[Effect], str]] = {
    "tool ran again after its end": (turn(started(), completed(), started(2)), DONE, "ran again after its end"),
    "never ran twice": (turn(started(), started(2), completed()), DONE, "its rule is never"),
    "ask without approval": (turn(started(1, "ask"), started(2, "ask"), completed()), DONE, "without approval"),
    "another key": (turn(started(1, "safe"), started(2, "safe", "other"), completed()), DONE, "several keys"),
    "effect twice": (SOUND, [*DONE, effect()], "had its effect 2 times"),
    "effect without intent": (turn(completed()), DONE, "before its intent"),
    "effect under another key": (SOUND, [effect(key="x"), effect("done", key="x")], "is not the log's"),
    "success without effect": (SOUND, [effect()], "never finished"),
    "a lie about a call": (
        turn(started(), ev.ToolCompleted(call="c", outcome="skipped", parts=(Text("[not run: no]"),), **AT)),
        [effect()],
        "was told that call c did not run",
    ),
    "no outcome": (turn(started()), [effect()], "has no outcome"),
    "step ran again": ([*SOUND[:-1], ev.ModelStarted(step=2, model="m", **AT), SOUND[-1]], DONE, "ran again"),
    "turn never ended": (SOUND[:-1], DONE, "never ended"),
    "turn ended twice": ([*SOUND, SOUND[-1]], DONE, "not open"),
    "wrong answer": (turn(started(), completed(), answer="yes #2."), DONE, "was answered with"),
    "cancelled by nobody": (turn(started(), completed(), outcome="cancelled"), DONE, "ended as cancelled"),
    "failed": (turn(started(), completed(), outcome="failed"), DONE, "ended as failed"),
    "input twice": ([*SOUND, SOUND[1]], DONE, "taken in 2 times"),
    "input never": ([event for event in SOUND if not isinstance(event, ev.InputReceived)], DONE, "never taken in"),
    "timer twice": ([*SOUND, *(2 * [ev.TimerFired(timer="t", input=2, **AT)])], DONE, "fired 2 times"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_promise_is_found(tmp_path: Path, name: str) -> None:
    log, seen, words = BROKEN[name]
    assert words in await found(tmp_path, log, seen)


async def test_a_snapshot_that_is_not_the_fold_is_found(tmp_path: Path) -> None:
    assert "not the fold" in await found(tmp_path, SOUND, snapshot=State(agent="another"))


async def test_check_raises_with_every_problem(tmp_path: Path) -> None:
    await found(tmp_path, turn(started(), started(2), completed()))
    journal = await open_sqlite(tmp_path / "roost.db")
    with pytest.raises(AssertionError, match=r"(?s)its rule is never.*had its effect 2 times"):
        await check(journal, "s", effects=[*DONE, effect()])
    await journal.close()


async def test_a_struck_journal_stays_down(tmp_path: Path) -> None:
    struck: list[str] = []
    for when, heads in (("before", 1), ("after", 1)):
        inner = await open_sqlite(tmp_path / f"{when}.db")
        journal = KillingStore(inner, at=2, when=when, how="fail", on_strike=struck.append)  # pyright: ignore
        made = ev.SessionCreated(at=1.0, agent="a", version="1", spec=msgspec.Raw(b"{}"))
        await journal.sessions.create(NewSession(id="s", agent="a", version="1"), [made])
        for order in (
            journal.inboxes.accept("s", MessageInput((Text("x"),))),
            journal.sessions.get("s"),
            journal.dispatch.beat(NodeCard(id="n"), ttl=1.0),
        ):
            with pytest.raises(Exception, match="struck"):
                await order
        assert len(await inner.inboxes.pending("s")) == (when == "after")
        assert len(await inner.logs.read("s")) == heads
        await journal.close()
    assert struck == ["before accept message", "after accept message"]


def test_the_witness_keeps_whole_lines(tmp_path: Path) -> None:
    witness = Witness(tmp_path / "effects")
    assert effects(tmp_path / "effects") == []
    for one in DONE:
        witness.record(one)
    assert effects(tmp_path / "effects") == DONE
