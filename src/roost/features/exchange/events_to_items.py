"""Convert a session's events to items that a foreign log can express."""

from __future__ import annotations

from collections.abc import Iterator

from roost.features.compaction.events import ContextCompacted
from roost.features.exchange.conversation_items import Answer, Foreign, Item, Line, Report, Result, Said, Shortened
from roost.features.exchange.items_to_events import META
from roost.features.exchange.json_lines import mapping
from roost.features.hooks.events import PolicyDecided
from roost.log import events as ev
from roost.log.content import Text, ToolCall

MISSING = "[no result]"
_SILENT = (
    ev.SessionCreated,
    ev.SessionImported,
    ev.ModelStarted,
    ev.TurnStarted,
    ev.TurnCompleted,
    ev.ToolStarted,
)
"""Events without an item of their own: they frame the items."""


class Decomposer:
    """Convert the events that count, fed in order. `account`: the first part of a model's name."""

    def __init__(self, format: Foreign, report: Report) -> None:
        self._format: Foreign = format
        self._report = report
        self._open: dict[str, ToolCall] = {}
        self._said: list[Said] = []
        self._model = ""

    def feed(self, event: ev.Event) -> Iterator[Item]:
        match event:
            case ev.InputReceived():
                meta = (event.source or "").endswith(f":{META}")
                self._said.append(Said(at=event.at, parts=event.parts, meta=meta))
            case PolicyDecided() if event.decision == "deny" and event.on in ("input", "turn_start"):
                withheld = (Text(f"[withheld: {event.reason}]"),)
                self._said = [Said(at=said.at, parts=withheld) for said in self._said]
                self._report.leave_out("what the policy withheld from the model")
            case ev.ModelStarted():
                self._model = event.model
            case ev.ModelCompleted():
                yield from self._settle(event.at)
                yield from self._answer(event)
            case ev.ToolCompleted():
                if self._open.pop(event.call, None) is not None:
                    yield Result(at=event.at, call=event.call, parts=event.parts, error=event.outcome != "ok")
            case ContextCompacted() if event.upto > 0:
                yield from self._settle(event.at)
                yield Shortened(at=event.at, summary=event.summary, before=event.before, after=event.after)
            case ev.Emitted() if (line := self._own(event)) is not None:
                if not self._open:
                    yield from self._settle(event.at)
                yield line
            case ev.TurnCompleted():
                yield from self._settle(event.at)
            case _ if isinstance(event, _SILENT):
                pass
            case _:
                self._report.leave_out(ev.event_type(event))

    def end(self, at: float) -> Iterator[Item]:
        yield from self._settle(at)

    def _answer(self, event: ev.ModelCompleted) -> Iterator[Item]:
        if not event.parts:
            self._report.leave_out("answers without content")
            return
        self._open = {part.id: part for part in event.parts if isinstance(part, ToolCall)}
        model = (event.model or self._model).partition("/")
        self._report.messages += 1
        yield Answer(
            at=event.at, parts=event.parts, model=model[2] or model[0], stop=event.stop, usage=event.usage
        )  # fmt: skip

    def _settle(self, at: float) -> Iterator[Item]:
        """End the open calls, then yield the messages that waited for their results."""
        for call in self._open:
            yield Result(at=at, call=call, parts=(Text(MISSING),), error=True, missing=True)
        self._open = {}
        for said in self._said:
            self._report.messages += 1
            yield said
        self._said = []

    def _own(self, event: ev.Emitted) -> Line | None:
        data = mapping(event.data) if event.name == f"{self._format}.line" else {}
        return Line(at=event.at, format=self._format, data=data) if data else None
