"""One model call: intent, stream, outcome. Retries are left to the model (`roost.providers.model_stack`)."""

from __future__ import annotations

import time

from roost.agent import model_request
from roost.agent.feature import TurnEnd, asked
from roost.agent.interrupts import Interrupted
from roost.agent.outcomes import fail_step
from roost.agent.request_plan import fixed_tokens, model_of
from roost.agent.session import Session
from roost.agent.speculation import Speculation
from roost.log import events as ev
from roost.log.content import AssistantPart, ErrorData, ToolCall, Usage
from roost.models.request import (
    Bill,
    CallDelta,
    Completed,
    Failed,
    Model,
    Notice,
    Progress,
    Signed,
    TextDelta,
    ThinkingDelta,
)

CRASHES = 25
"""Daemon crashes during one call after which the turn fails: the call itself may cause them."""


_SILENT = Failed(ErrorData("malformed", "the model's stream ended without an outcome"))


async def run(session: Session) -> TurnEnd | None:
    """Call the model once. Returns None if the turn goes on, else how it ends. Raises `Interrupted` with the step
    closed in the log, except on shutdown, which leaves it open."""
    open_step = session.state.open_step
    if open_step is not None and open_step.attempt >= CRASHES:
        fail_step(session, "interrupted", "the daemon ended in the middle of this call too often")
        reason = f"interrupted: the daemon ended {open_step.attempt} times in the middle of this model call"
        return TurnEnd("failed", reason)
    for feature in asked(session, "before_model"):
        end = await feature.before_model(session)
        if end == "again":
            return None
        if end is not None:
            fail_step(session, end.code, end.reason)
            return end
    model = model_of(session)
    step = _announce(session, model)
    await session.log.flush()
    call = _Call(session, step, model)
    began = time.monotonic()
    try:
        outcome = await session.interrupts.interruptible(call.answer, steer=True)
        for feature in asked(session, "after_model"):
            outcome = await feature.after_model(session, outcome)
    except Interrupted as interrupted:
        call.cut(interrupted, time.monotonic() - began)
        if interrupted.cause == "steer":
            return None
        raise
    finally:
        session.means.deltas.clear(session.id)
    return call.end(outcome, time.monotonic() - began)


def _announce(session: Session, model: Model) -> int:
    """Note the intent of a model call. A step that a crash cut off keeps its number and counts one more attempt."""
    open_step = session.state.open_step
    step = open_step.step if open_step else session.state.steps + 1
    attempt = open_step.attempt + 1 if open_step else 1
    sent = session.state.tokens + fixed_tokens(session)
    session.log.note(ev.ModelStarted(at=time.time(), step=step, model=model.name, attempt=attempt, context=sent))
    return step


class _Call:
    """A model call whose intent is committed. `_after`: position of the event after which the answer, or its restart,
    began."""

    def __init__(self, session: Session, step: int, model: Model) -> None:
        self._session, self._step, self._model = session, step, model
        self._after = session.log.head
        self._bill = Bill()
        self._refused = ""
        self._heard = False
        self._early = session.own(Speculation)

    async def answer(self) -> Completed | Failed:
        """Stream the answer and return its outcome. If the provider rejects the context as too long, shorten it and ask
        once more."""
        session, step = self._session, self._step
        once, withheld = True, any(feature.withholds(session) for feature in asked(session, "withholds"))
        push = _unheard if withheld else session.means.deltas.push
        while True:
            stream = self._model.stream(model_request.build(session, self._bill))
            outcome: Completed | Failed = _SILENT
            try:
                async for event in stream:
                    match event:
                        case Completed() | Failed():
                            outcome = event
                            break
                        case TextDelta():
                            self._heard = True
                            push(session.id, step, self._after, "text", event.text)
                        case ThinkingDelta():
                            self._heard = True
                            push(session.id, step, self._after, "thinking", event.text)
                        case CallDelta():
                            self._heard = True
                            push(session.id, step, self._after, "call", event.arguments)
                            self._early.hear(event.index, event.name, event.arguments)
                        case Progress():
                            session.means.deltas.progress(session.id, step, self._after, event)
                        case Notice():
                            await self._tell(event)
                        case Signed():
                            pass  # the finished answer has it
            finally:
                await stream.aclose()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
            if not (once and isinstance(outcome, Failed) and await self._shortened(outcome)):
                return outcome
            once = False

    def end(self, outcome: Completed | Failed, seconds: float) -> TurnEnd | None:
        """Note the outcome. Returns how the turn ends, or None if it goes on."""
        session, now = self._session, time.time()
        if isinstance(outcome, Completed) and outcome.parts:
            parts = _unique(session, self._step, outcome.parts)
            self._settle(parts)
            session.log.note(
                ev.ModelCompleted(
                    at=now,
                    step=self._step,
                    parts=parts,
                    stop=outcome.stop,
                    usage=self._spent(outcome.usage) or Usage(),
                    seconds=seconds,
                    model=self._answered(),
                )
            )
            return None
        self._settle(())
        error = outcome.error if isinstance(outcome, Failed) else ErrorData("empty", "the model answered nothing")
        usage = self._spent(outcome.usage)
        session.log.note(ev.ModelFailed(at=now, step=self._step, error=error, seconds=seconds, usage=usage))
        for feature in asked(session, "failed"):
            if (end := feature.failed(session, error, self._refused)) is not None:
                return end
        return TurnEnd("failed", f"{error.code}: {error.message}")

    def cut(self, by: Interrupted, seconds: float) -> None:
        """Note the cost of a call that was interrupted. On shutdown the step stays open."""
        session, usage = self._session, self._spent(None)
        if by.cause != "shutdown":
            self._settle(())
            code = "steered" if by.cause == "steer" else by.cause
            fail_step(session, code, f"cut off: {by.cause}", seconds=seconds, usage=usage)
        elif usage is not None and (step := session.state.open_step) is not None:
            session.log.note(ev.ModelLost(at=time.time(), step=step.step, attempt=step.attempt, usage=usage))

    async def _shortened(self, failed: Failed) -> bool:
        """Shorten the context if that was the failure. Returns whether to ask again."""
        if failed.error.code != "context_overflow":
            return False
        if not any(feature.overflowed(self._session) for feature in asked(self._session, "overflowed")):
            return False
        await self._tell(Notice("recovery", {"type": "CONTEXT_OVERFLOW", "message": failed.error.message}))
        if self._heard:
            await self._tell(Notice("restart"))
        return True

    async def _tell(self, notice: Notice) -> None:
        session = self._session
        self._refused = notice.data.get("refused", self._refused)
        session.log.note(ev.ModelNotice(at=time.time(), step=self._step, kind=notice.kind, data=notice.data))
        if notice.kind == "restart":
            # Commit the notice before new deltas: its position separates them from the discarded ones.
            session.means.deltas.clear(session.id)
            self._early.restart()
            self._heard = False
            await session.log.flush_shielded()
            self._after = session.log.head
        else:
            session.log.flush_soon()

    def _settle(self, parts: tuple[AssistantPart, ...]) -> None:
        dropped = self._early.settle(part for part in parts if isinstance(part, ToolCall))
        if dropped:
            data = {"dropped": dropped}
            self._session.log.note(ev.ModelNotice(at=time.time(), step=self._step, kind="early", data=data))

    def _spent(self, told: Usage | None) -> Usage | None:
        """Return the usage by the bill, which records every call made, or `told` if the model keeps no bill."""
        if not self._bill.calls:
            return told
        if self._bill.usage.cost != 0:
            for feature in asked(self._session, "spent"):
                feature.spent(self._session)
        return self._bill.usage

    def _answered(self) -> str | None:
        by = self._bill.model
        return by if by and by != self._model.name else None


def _unheard(*_: object) -> None:
    """Discard deltas: this answer must be judged as a whole before anyone sees it."""


def _unique(session: Session, step: int, parts: tuple[AssistantPart, ...]) -> tuple[AssistantPart, ...]:
    """Make call ids unique in the session. Some providers restart their ids in every answer; strict ones reject an id
    that occurred before."""
    known, calls = session.call_ids, [part.id for part in parts if isinstance(part, ToolCall)]
    if known.isdisjoint(calls):
        known.update(calls)
        return parts
    unique = tuple(
        ToolCall(f"{part.id}-{step}", part.name, part.arguments)
        if isinstance(part, ToolCall) and part.id in known
        else part
        for part in parts
    )
    known.update(part.id for part in unique if isinstance(part, ToolCall))
    return unique
