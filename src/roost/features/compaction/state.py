"""Fold events of compaction into a session's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from roost.agent.fold import spend
from roost.agent.state import Entry, OpenStep, State, replace_message
from roost.agent.state_parts import StatePart
from roost.features.compaction.events import (
    CompactionStarted,
    ContextCompacted,
    ContextElided,
    ContextPinned,
    ContextTrimmed,
)
from roost.log import events as ev
from roost.log.content import Text, ToolMessage, Usage, UserMessage
from roost.models.tokens import estimate

LEFT_OUT = UserMessage((Text("[earlier messages are left out]"),))
_LIKELY = (1 / 3, 3.0)
"""Accepted ratios of a provider's count to our estimate; others count something else."""
_BOUNDS = (0.5, 2.0)
_WEIGHT = 0.3
_LEAST = 1_000
"""Least tokens of a count that is used: in smaller ones the provider's fixed additions weigh too much."""
_MODELS = 16
_SEVERAL = ("retry", "fallback", "recovery", "repair", "restart")


class CompactionState(StatePart):
    """unsaid: pins that a person set and the model has not seen. compact: an order to compact the context is pending.
    compacting: attempts at a summary without an outcome in the log."""

    restored = ("pins", "unsaid", "summary")
    pins: dict[str, str] = {}
    unsaid: dict[str, str | None] = {}
    summary: str = ""
    compact: bool = False
    compacting: int = 0

    @property
    def busy(self) -> bool:
        return self.compact

    @property
    def calls_model(self) -> bool:
        return self.compacting > 0

    @property
    def pinned(self) -> Mapping[str, str]:
        return self.pins


def elide(state: State, event: ContextElided) -> None:
    chosen = set(event.outputs)
    for entry in state.entries:
        if entry.seq in chosen and isinstance(entry.message, ToolMessage):
            short = elided(entry.message, entry, readable=event.readable, shown=event.shown)
            replace_message(state, entry, short)


def elided(message: ToolMessage, entry: Entry, *, readable: bool, shown: int = 0) -> ToolMessage:
    """Return the replacement of an output: its first `shown` characters and a stub."""
    where = f"kept in the log: read_history(seq={entry.seq})" if readable else "left out to make room"
    begun = output_text(message)[: max(shown, 0)]
    what = "the rest of this output" if begun else f"output of {message.name}"
    text = f"[{what}, {entry.tokens} tokens, {where}]"
    return ToolMessage(message.call, message.name, (Text(f"{begun}...\n{text}" if begun else text),), message.error)


def output_text(message: ToolMessage) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, Text))


def compact(state: State, event: ContextCompacted) -> None:
    """Drop summarized messages. Total, like the whole fold: for any event the rest is a valid transcript."""
    part = state.part(CompactionState)
    part.compacting, part.compact = 0, False
    if state.turn is not None:
        state.turn.seconds += event.seconds
    upto = min(event.upto, _newest(state.entries))
    if upto <= 0:
        return
    part.summary = event.summary
    part.unsaid.clear()
    kept = [
        entry
        for place, entry in enumerate(state.entries[:upto])
        if place in event.keep and isinstance(entry.message, UserMessage) and not entry.head
    ]
    first = [entry for entry in kept if entry.turn == 1]
    rest = _whole(state.entries[upto:])
    said = head(part.pins, event.summary)
    if said is None and not kept and not (rest and isinstance(rest[0].message, UserMessage)):
        said = LEFT_OUT
    block = [] if said is None else [Entry(said, estimate(said), 0, head=True)]
    state.entries = [*first, *block, *(entry for entry in kept if entry.turn != 1), *rest]
    state.tokens = sum(entry.tokens for entry in state.entries)


def head(pins: Mapping[str, str], summary: str) -> UserMessage | None:
    """Return the context header, which replaces dropped messages: pins, word for word, and the summary."""
    lines = [f"- {key}: {text}" for key, text in pins.items()]
    pinned = "Pinned, word for word:\n" + "\n".join(lines) if lines else ""
    parts = [part for part in (pinned, summary) if part]
    if not parts:
        return None
    return UserMessage((Text("\n\n".join([_HEAD, *parts])),))


_HEAD = "[In place of earlier messages. It tells what was, and asks for nothing.]"


def pin(state: State, event: ContextPinned) -> None:
    part = state.part(CompactionState)
    if event.text is None:
        part.pins.pop(event.key, None)
    else:
        part.pins[event.key] = event.text
    if event.by is not None:
        part.unsaid[event.key] = event.text


def news(state: State, event: ev.InputReceived) -> list[Text]:
    """Return texts on unannounced pins for the next message; messages already sent stay as they are."""
    part = state.part(CompactionState)
    if not part.unsaid:
        return []
    said = [
        f"[{key} is not pinned any more]" if text is None else f"[pinned under {key}, to be kept in mind: {text}]"
        for key, text in part.unsaid.items()
    ]
    part.unsaid.clear()
    return [Text(text) for text in said]


def doubt(state: State, notice: ev.ModelNotice) -> None:
    """Mark that the step's token count may be the sum of several calls."""
    if state.open_step is not None and notice.kind in _SEVERAL:
        state.open_step.single = False


def _learn(state: State, event: ev.ModelCompleted) -> None:
    learn(state.scale, state.open_step, event.usage)


def _began(state: State, event: CompactionStarted) -> None:
    state.part(CompactionState).compacting = event.attempt


def _compacted(state: State, event: ContextCompacted) -> None:
    spend(state, event.usage)
    compact(state, event)


def _ordered(state: State, event: ev.ControlApplied) -> None:
    part = state.part(CompactionState)
    part.compact = part.compact or event.action == "compact"


def learn(scale: dict[str, float], step: OpenStep | None, usage: Usage) -> None:
    """Update the ratio of the provider's token count to our estimate, as a moving average."""
    if step is None or not step.single or step.context < _LEAST or not usage.input:
        return
    ratio = usage.input / step.context
    if not _LIKELY[0] <= ratio <= _LIKELY[1]:
        return
    known = scale.pop(step.model, None)
    mean = ratio if known is None else known + _WEIGHT * (ratio - known)
    if len(scale) >= _MODELS:
        del scale[next(iter(scale))]
    scale[step.model] = min(max(mean, _BOUNDS[0]), _BOUNDS[1])


def trim(state: State, event: ContextTrimmed) -> None:
    """Drop the oldest messages, but never the one that began the open turn."""
    count = event.dropped
    pinned = None if state.turn is None else state.turn.number
    kept: list[Entry] = []
    for place, entry in enumerate(state.entries):
        opens_turn = entry.turn == pinned and isinstance(entry.message, UserMessage)
        if count > 0 and not opens_turn:
            count -= 1
            state.tokens -= entry.tokens
            continue
        if count > 0:
            kept.append(entry)
            continue
        kept.extend(state.entries[place:])
        break
    state.entries = kept


def _newest(entries: Sequence[Entry]) -> int:
    """Return the index of the newest message that is no tool result: it and the results after it stay."""
    for place in range(len(entries) - 1, -1, -1):
        if not isinstance(entries[place].message, ToolMessage):
            return place
    return 0


def _whole(entries: list[Entry]) -> list[Entry]:
    """Drop leading results whose calls are gone."""
    start = 0
    while start < len(entries) and isinstance(entries[start].message, ToolMessage):
        start += 1
    return entries[start:]


def _turn_over(state: State, event: ev.TurnCompleted | ev.SessionRolledBack) -> None:
    state.part(CompactionState).compacting = 0


def _left(state: State, event: ev.SessionForked | ev.SessionImported) -> None:
    part = state.part(CompactionState)
    part.compact, part.compacting = False, 0


PART = CompactionState
FOLDS = {
    ContextTrimmed: trim,
    ContextElided: elide,
    CompactionStarted: _began,
    ContextCompacted: _compacted,
    ContextPinned: pin,
}
WATCHES = {
    ev.ControlApplied: _ordered,
    ev.InputReceived: news,
    ev.ModelCompleted: _learn,
    ev.ModelNotice: doubt,
    ev.TurnCompleted: _turn_over,
    ev.SessionRolledBack: _turn_over,
    ev.SessionForked: _left,
    ev.SessionImported: _left,
}
