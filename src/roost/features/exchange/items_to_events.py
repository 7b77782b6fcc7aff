"""Convert items of a foreign log to events of a session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from roost.agent.outcomes import UNKNOWN_EFFECT
from roost.features.compaction.events import ContextCompacted
from roost.features.exchange.conversation_items import Answer, Foreign, Item, Line, Report, Result, Said, Shortened
from roost.features.exchange.json_lines import mapping
from roost.log import events as ev
from roost.log.content import AssistantPart, Text, ToolCall

BEGINNING = "[the beginning of this conversation is not in the file]"
META = "meta"
"""Source of messages from the program around the model."""
_ACCOUNTS = {"claude-code": "anthropic", "codex": "openai"}


class Composer:
    """Convert items, fed in order, to events, except a session's first and last. A message during running calls comes
    after their results, as a model gets it. Ids of calls are made unique, since providers require that."""

    def __init__(self, format: Foreign, report: Report) -> None:
        self._format = format
        self._report = report
        self._open: dict[str, ToolCall] = {}
        """Calls without a result, by their id in the log."""
        self._ids: set[str] = set()
        self._waiting: list[Said] = []
        self._inputs = self._turn = self._step = self._entries = 0
        self._in_turn = self._answered = False

    def feed(self, item: Item) -> Iterator[ev.Event]:
        match item:
            case Said():
                self._waiting.append(item)
                if not self._open:
                    yield from self._speak()
            case Answer():
                yield from self._answer(item)
            case Result():
                yield from self._result(item)
            case Shortened():
                yield from self._shorten(item)
            case Line():
                self._report.keep(kind_of(item))
                yield ev.Emitted(at=item.at, name=f"{item.format}.line", data=item.data)
            case _:
                assert_never(item)

    def end(self, at: float) -> Iterator[ev.Event]:
        """Close the open calls and the open turn, as after a crash."""
        yield from self._give_up(at)
        if self._answered:
            yield from self._end_turn(at)

    def _speak(self) -> Iterator[ev.Event]:
        waiting, self._waiting = self._waiting, []
        for said in waiting:
            if self._answered:
                yield from self._end_turn(said.at)
            self._inputs += 1
            self._entries += 1
            self._report.messages += 1
            yield ev.InputReceived(
                at=said.at,
                input=self._inputs,
                parts=said.parts or (Text("(empty)"),),
                mode="steer" if self._in_turn else "follow_up",
                source=f"{self._format}:{META}" if said.meta else self._format,
            )
            if not self._in_turn:
                self._turn += 1
                self._in_turn = True
                yield ev.TurnStarted(at=said.at, turn=self._turn, input=self._inputs)

    def _answer(self, item: Answer) -> Iterator[ev.Event]:
        yield from self._give_up(item.at)
        if not self._entries:
            self._report.leave_out("an answer to nothing: a stand-in for the beginning was put in")
            self._waiting = [Said(at=item.at, parts=(Text(BEGINNING),), meta=True)]
            yield from self._speak()
        self._step += 1
        parts = tuple(self._named(part) for part in item.parts)
        model = f"{_ACCOUNTS[self._format]}/{item.model or 'unknown'}"
        yield ev.ModelStarted(at=item.at, step=self._step, model=model)
        yield ev.ModelCompleted(at=item.at, step=self._step, parts=parts, stop=item.stop, usage=item.usage)
        self._entries += 1
        self._report.messages += 1
        self._answered = not self._open

    def _named(self, part: AssistantPart) -> AssistantPart:
        if not isinstance(part, ToolCall):
            return part
        id, number = part.id, 1
        while not id or id in self._ids:
            number += 1
            id = f"{part.id or 'call'}-{number}"
        if id != part.id:
            self._report.leave_out("ids of calls that were used before: they got others")
        self._ids.add(id)
        self._open[part.id] = call = ToolCall(id, part.name, part.arguments)
        return call

    def _result(self, item: Result) -> Iterator[ev.Event]:
        call = self._open.pop(item.call, None)
        if call is None:
            self._report.leave_out("results of no call, or of one that has a result")
            return
        self._entries += 1
        yield ev.ToolStarted(at=item.at, call=call.id, name=call.name, replay="never", key=call.id)
        outcome = "error" if item.error else "ok"
        yield ev.ToolCompleted(at=item.at, call=call.id, outcome=outcome, parts=item.parts)
        if not self._open:
            yield from self._speak()

    def _shorten(self, item: Shortened) -> Iterator[ev.Event]:
        yield from self._give_up(item.at)
        if not self._entries:
            self._waiting = [Said(at=item.at, parts=(Text(item.summary),), meta=True)]
            yield from self._speak()
            return
        yield ContextCompacted(
            at=item.at,
            before=item.before,
            after=item.after,
            upto=self._entries,
            dropped=self._entries,
            summary=item.summary,
            by="model",
        )

    def _give_up(self, at: float) -> Iterator[ev.Event]:
        for call in self._open.values():
            self._entries += 1
            yield ev.ToolCompleted(at=at, call=call.id, outcome="interrupted", parts=(Text(UNKNOWN_EFFECT),))
        self._open.clear()
        yield from self._speak()

    def _end_turn(self, at: float) -> Iterator[ev.Event]:
        self._in_turn = self._answered = False
        yield ev.TurnCompleted(at=at, turn=self._turn, outcome="answered")


def kind_of(line: Line) -> str:
    """Name a kept line's kind for the report."""
    data = line.data
    kind = str(data.get("type") or data.get("note") or "line")
    more = mapping(data.get("payload")).get("type") or data.get("subtype")
    if data.get("isSidechain") is True:
        kind = f"sidechain {kind}"
    return f"{kind}/{more}" if isinstance(more, str) else kind
