"""The log of a replay: in memory, and compared with the record as it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from roost.agent.fold import apply
from roost.agent.log_buffer import LogBuffer
from roost.features.replay.differences import result_of
from roost.features.replay.playback import Playback
from roost.features.replay.record import Item, text_of
from roost.log import events as ev
from roost.log.facts import FactChange
from roost.log.protocols import Delivery


class PlayedLog(LogBuffer):
    """Fold events, and store nothing: no timer is set, no message delivered, no fact written.

    playback: set before the first event. workspace: the folder of the files, in the record and now: its name is no
    difference."""

    playback: Playback
    workspace: tuple[str, ...] = ()

    def copy(self, item: Item, event: ev.Event | None = None) -> None:
        """Take an event of the record, at its own position: others name positions. event: what replaces it."""
        self._state.seq = item.seq - 1
        apply(self._state, event or item.event)

    def note(
        self,
        event: ev.Event,
        *,
        consume: int | None = None,
        facts: Sequence[FactChange] = (),
        deliver: Sequence[Delivery] = (),
    ) -> None:
        """Apply an event of the loop, and compare it."""
        if self._vault is not None:
            text = ev.encode_event(event).decode()
            if (clean := self._vault.scrub(text)) is not text:
                event = ev.decode_event(clean.encode())
        apply(self._state, event)
        self._compare(event)

    def _compare(self, event: ev.Event) -> None:
        match event:
            case ev.ModelStarted():
                self._request(event)
            case ev.ModelCompleted():
                self._answered(event)
            case ev.ModelFailed() if self.playback.found is None:
                said = f"{event.error.code}: {event.error.message}"
                self.playback.differs("model", f"the model failed: {said}", now=said)
            case ev.ToolCompleted():
                self._result(event)
            case ev.TurnCompleted():
                self._ended(event)
            case _:
                pass

    def _request(self, event: ev.ModelStarted) -> None:
        playback = self.playback
        options, step = playback.options, playback.step
        if step is None or options.modelled or options.compare != "all":
            return
        if options.changed:
            before, _, now = options.changed.partition("\0")
            playback.differs("request", "the definition of the agent has changed", recorded=before, now=now)
        elif options.sized and step.seq > options.own and event.context != step.started.context:
            before, now = f"{step.started.context} tokens", f"{event.context} tokens"
            summary = f"the request has {now}, and had {before}: its tools or texts are others in this version of Roost"
            playback.differs("request", summary, recorded=before, now=now)

    def _answered(self, event: ev.ModelCompleted) -> None:
        playback = self.playback
        playback.usage += event.usage
        playback.answer = text_of(event)
        if (step := playback.step) is not None and step.answer is not None:
            playback.recorded += step.answer.usage

    def _result(self, event: ev.ToolCompleted) -> None:
        """Compare the outcome of a live call."""
        call = self.playback.running.pop(event.call, None)
        outcome = None if call is None else call.outcome
        if call is None or outcome is None:
            return
        before = self._plain(result_of(outcome.outcome, outcome.parts, outcome.code))
        now = self._plain(result_of(event.outcome, event.parts, event.code))
        at = None if call.completed is None else call.completed.seq
        if event.outcome != outcome.outcome or event.code != outcome.code:
            summary = f"{call.call.name} ends otherwise: {_first(now)}, and not {_first(before)}"
            self.playback.differs("result", summary, recorded=before, now=now, at=at)
        elif before != now and self.playback.options.compare == "all":
            self.playback.differs("result", f"{call.call.name} returns something else", recorded=before, now=now, at=at)

    def _plain(self, text: str) -> str:
        for folder in self.workspace:
            text = text.replace(folder, "WORKSPACE")
        return text

    def _ended(self, event: ev.TurnCompleted) -> None:
        playback = self.playback
        playback.outcome, turn = event.outcome, playback.turn
        if turn is None or playback.found is not None:
            return
        before, now = _end_text(turn.completed), _end_text(event)
        at, left = turn.end.seq, playback.left
        if before != now:
            playback.differs("end", f"the turn ends otherwise: {now}", recorded=before, now=now, at=at)
        elif left and event.outcome == "answered":
            names = ", ".join(call.call.name for call in left)
            made = f"{len(left)} recorded call{'s' if len(left) > 1 else ''}"
            place = left[0].items[0].seq if left[0].items else at
            playback.differs("missing", f"{made} not made: {names}", recorded=names, at=place)
        elif playback.options.compare == "all" and event.outcome == "answered" and turn.answer != playback.answer:
            summary = "the answer is another"
            playback.differs("answer", summary, recorded=turn.answer, now=playback.answer, at=at)

    async def emit(self, name: str, data: Any) -> None:
        """Drop an event of a tool."""

    async def flush(self, *, release: bool = False) -> None:
        """Store nothing."""
        self._kept = None

    async def flush_shielded(self) -> None:
        await self.flush()

    def flush_soon(self) -> None:
        """Store nothing, and not soon either."""


def _end_text(event: ev.TurnCompleted) -> str:
    return event.outcome if event.reason is None else f"{event.outcome}: {event.reason}"


def _first(text: str) -> str:
    return text.partition("\n")[0]
