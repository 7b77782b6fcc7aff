"""A conversation as text for people, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from roost.agent.state import result_text
from roost.features.compaction.events import ContextCompacted
from roost.features.exchange.conversation_items import Report
from roost.features.exchange.json_lines import stamp
from roost.log import events as ev
from roost.log.content import AssistantPart, Text, Thinking, ToolCall
from roost.log.session_info import SessionInfo

_LONG = 20_000
"""Most characters shown of a tool's output."""


class Transcript:
    """Write a conversation as Markdown, from the events that count, fed in order."""

    def __init__(self, info: SessionInfo, report: Report) -> None:
        self._info = info
        self._report = report
        self._begun = False

    def feed(self, event: ev.Event) -> Iterable[bytes]:
        if not self._begun:
            self._begun = True
            yield f"# {self._info.title or self._info.id}\n\nAgent {self._info.agent}, {stamp(event.at)}\n".encode()
        for text in self._told(event):
            yield f"\n{text}\n".encode("utf-8", "replace")

    def end(self, at: float) -> Iterable[bytes]:
        return ()

    def _told(self, event: ev.Event) -> Iterator[str]:
        match event:
            case ev.InputReceived():
                self._report.messages += 1
                yield f"## {event.source or 'user'}, {stamp(event.at)}\n\n{result_text(event.parts)}"
            case ev.ModelCompleted():
                self._report.messages += 1
                for part in event.parts:
                    yield from self._said(part)
            case ev.ToolCompleted():
                text = result_text(event.parts)
                if len(text) > _LONG:
                    self._report.leave_out("characters of long outputs", len(text) - _LONG)
                    text = text[:_LONG] + "…"
                yield f"Result ({event.outcome}):\n\n{_fenced(text)}"
            case ContextCompacted() if event.upto:
                yield f"---\n\nEarlier messages left the model's context. In their place:\n\n{event.summary}"
            case ev.TurnCompleted() if event.outcome != "answered":
                yield f"*The turn ended: {event.outcome}{f', {event.reason}' if event.reason else ''}.*"
            case _:
                pass

    def _said(self, part: AssistantPart) -> Iterator[str]:
        match part:
            case Text():
                yield f"## {self._info.agent}\n\n{part.text}"
            case Thinking():
                self._report.leave_out("reasoning")
            case ToolCall():
                yield f"Calls `{part.name}`:\n\n{_fenced(part.arguments)}"
            case _:
                self._report.leave_out(f"media {part.media_type}")


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"
