"""A session's frames as a conversation: blocks of history to commit, and what is open now."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from roost.cli.event_lines import event_line
from roost.cli.model_notices import ending, notice_line
from roost.cli.session_words import own_parts, user_text
from roost.cli.spinner import told
from roost.cli.terminal.blocks import call_head, called, duration, note, output_of, said, text_line, title
from roost.cli.terminal.lines import CYAN, DIM, ITALIC, MAGENTA, RED, YELLOW, Line, Span
from roost.cli.terminal.markdown import Block, MarkdownStream, Paragraph
from roost.errors import UnknownEvent
from roost.log import events as ev
from roost.log.content import (
    AssistantMessage,
    Message,
    Text,
    Thinking,
    ToolMessage,
    ToolOutcome,
    Usage,
    UserMessage,
)
from roost.log.frames import Delta, Frame, Progress
from roost.terminal_text import clean, one_line, unfinished

Kind: TypeAlias = Literal["said", "prose", "tool", "note"]
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ORDERED = {"cancel", "cancelled", "pause", "paused", "stop", "steered", "deadline"}
"""Codes of model calls that were ended on purpose."""
_KEPT, _KEPT_SIZE = 100, 8_000_000
"""Outputs kept for the pager: how many, and characters of all of them."""
_piece = msgspec.json.Decoder(Delta | Progress)


class Running(NamedTuple):
    """A call that has begun. `since`: monotonic time."""

    name: str
    arguments: str
    since: float


class Conversation:
    """Feed it frames; `take` returns blocks to commit. `thinking`: show thoughts whole."""

    def __init__(self, *, after: int = 0, usage: Usage | None = None, working: bool = False) -> None:
        self.seq = after
        self.working = working
        self.model = ""
        self.context = 0
        self.usage = usage
        """Of the whole session; None before its first model call."""
        self.state = "running"
        self.thinking = False
        self.received: set[int] = set()
        self.outputs: deque[tuple[str, str]] = deque(maxlen=_KEPT)
        self.asked = False
        """A call may wait for a person: `False` again once the waiting calls were read."""
        self.resolved: list[ev.ApprovalResolved] = []
        self.describe: Callable[[ev.ApprovalResolved], tuple[str, str]] = lambda event: (event.decision, DIM)
        """Words and style for the answer to a call that waited."""
        self.answer = ""
        """The text of the last answer."""
        self._blocks: list[Block] = []
        self.added = 0
        """Blocks so far."""
        self._last: Kind | None = None
        self._stream = MarkdownStream()
        self._held = ""
        """A control sequence that may go on in the next piece."""
        self._step = self._done = self._seen = 0
        self._thoughts, self._thinking_since = "", 0.0
        self._calls: dict[str, tuple[str, str]] = {}
        self._running: dict[str, Running] = {}
        self._rejected: set[str] = set()
        """Calls that a person rejected: the answer stands in the history already."""
        self._since = time.monotonic()
        self._expected = False
        """A turn was asked for here that has not begun."""
        self._progress: Progress | None = None
        self._retry: tuple[str, float] | None = None
        self._asks_model = False
        self._trouble = ""

    def take(self) -> list[Block]:
        """Return the blocks that are to be committed now."""
        blocks, self._blocks = self._blocks, []
        return blocks

    def settle(self, width: int, most: int) -> list[Line]:
        """Return rows of a long open line that can be committed."""
        return self._stream.settle(width, most)

    def frame(self, frame: Frame) -> None:
        if frame.seq is None:
            piece = _piece.decode(frame.body)
            if isinstance(piece, Delta):
                self._delta(piece)
            elif piece.step > self._done:
                self._progress = piece
        elif frame.seq > self.seq:
            self.seq = frame.seq
            try:
                event = ev.decode_event(frame.body)
            except UnknownEvent:
                return
            self.event(event)

    def event(self, event: ev.Event) -> None:
        self._expected = False
        self._obey(event)
        if event.question is not None:
            self.asked = True

    def note(self, text: str, style: str = DIM) -> None:
        """Add a remark to the history."""
        self._end_prose()
        for line in text.split("\n"):
            self._add("note", note(line, style))

    def block(self, block: Block, kind: Kind = "note") -> None:
        self._end_prose()
        self._add(kind, block)

    def history(self, messages: list[Message]) -> None:
        """Add messages of before. Calls without a result yet are shown when they end."""
        calls: dict[str, tuple[str, str]] = {}
        for message in messages:
            match message:
                case UserMessage(parts=parts):
                    self._say(user_text(own_parts(parts)))
                case AssistantMessage():
                    self._prose(message.text)
                    self._end_prose()
                    calls |= {call.id: (call.name, call.arguments) for call in message.calls}
                case ToolMessage(call=call, parts=(Text(text="[no result yet]"),)) if call in calls:
                    self._calls[call] = calls[call]
                case ToolMessage(call=call, name=name, parts=parts, error=error):
                    arguments = calls.get(call, (name, "{}"))[1]
                    self._keep(name, arguments, output_of(parts))
                    for block in called(name, arguments, "error" if error else "ok", parts, 0.0, "Ctrl-O"):
                        self._add("tool", block)

    def open_blocks(self) -> list[Block]:
        """Return what is open: the line that is being written, and thoughts if they are shown."""
        if self._thoughts and self.thinking:
            return [Paragraph(text_line(self._thoughts[-2000:], _THOUGHT))]
        blocks = self._stream.open()
        gap: list[Block] = [Paragraph(())] if blocks and self._gap("prose") else []
        return gap + blocks

    def running_lines(self) -> list[Line]:
        """Return a line for each call that runs."""
        now = time.monotonic()
        return [
            call_head(one.name, one.arguments, mark=_spinner(now - one.since), style=CYAN, seconds=now - one.since)
            for one in self._running.values()
        ]

    def status(self, waits: int = 0) -> Line | None:
        """Return what the agent does now; None while it rests. `waits`: calls that wait for this person."""
        if self.state in ("paused", "stopped", "error"):
            return (Span(f"{self.state}; /resume continues", YELLOW),)
        if not self.working:
            return None
        passed = time.monotonic() - self._since
        if waits:
            calls = "a call waits" if waits == 1 else f"{waits} calls wait"
            return (Span(f"{calls} for your answer", YELLOW), Span(f"  {duration(passed)}", DIM))
        end = Span(f"  {duration(passed)}  Esc stops", DIM)
        return (Span(f"{_spinner(passed)} ", MAGENTA), *self._doing(), end)

    def began(self) -> None:
        """A message is on its way that begins a turn."""
        self.working, self._since, self._expected = True, time.monotonic(), True

    def not_begun(self) -> None:
        """The message could not be sent. A turn that has begun meanwhile goes on."""
        if self._expected:
            self.working = self._expected = False

    def gone(self) -> None:
        """Nothing more will come of this session."""
        self.working = False
        self._end_prose()
        self._running.clear()

    def ran(self, command: str, output: str, code: int | None) -> None:
        """Add the output of a command that the person ran."""
        outcome: ToolOutcome = "ok" if code == 0 else "error" if code is not None else "cancelled"
        arguments = msgspec.json.encode({"command": command}).decode()
        self._keep("!", arguments, clean(output))
        for block in called("!", arguments, outcome, (Text(output),), 0.0, "Ctrl-O"):
            self._add("tool", block)

    def interrupted(self) -> None:
        """Say in the status that the turn is being cancelled."""
        self._retry = ("cancelling", time.monotonic())

    def _doing(self) -> Line:
        if self._retry is not None:
            what, until = self._retry
            left = until - time.monotonic()
            return (Span(what if left <= 0 else f"{what}; again in {left:.0f} s", YELLOW),)
        if self._thoughts:
            last = self._thoughts.rstrip().replace("\n", ". ").rsplit(". ", 1)[-1]
            return text_line(one_line(last, 60) or "thinking", _THOUGHT)
        if self._progress is not None:
            return (Span(told(self._progress)),)
        if self._running:
            one = next(iter(self._running.values()))
            return text_line(f"{one.name} {one_line(title(one.name, one.arguments), 40)}")
        return (Span("writing" if self._seen and self._asks_model else "working"),)

    # Pieces of an answer

    def _delta(self, delta: Delta) -> None:
        if delta.step <= self._done:
            return
        self._progress = self._retry = None
        self._begin(delta.step)
        if delta.kind == "thinking":
            if delta.offset == 0 or not self._thoughts:
                self._thoughts, self._thinking_since = "", self._thinking_since or time.monotonic()
            self._thoughts += delta.text
        elif delta.kind == "text":
            self._end_thoughts()
            text = delta.text[max(0, self._seen - delta.offset) :]
            if delta.offset <= self._seen and text:
                self._seen = delta.offset + len(delta.text)
                self._prose(text)

    def _begin(self, step: int) -> None:
        if step != self._step:
            self._end_prose()
            self._step, self._seen = step, 0

    def _prose(self, text: str) -> None:
        text = self._held + text
        at = unfinished(text)
        text, self._held = clean(text[:at]), text[at:]
        for block in self._stream.feed(text):
            self._add("prose", block)

    def _end_prose(self) -> None:
        self._held = ""
        for block in self._stream.close():
            self._add("prose", block)

    def _end_thoughts(self) -> None:
        text, self._thoughts = self._thoughts, ""
        since, self._thinking_since = self._thinking_since, 0.0
        if not text.strip():
            return
        took = time.monotonic() - (since or self._since)
        self._keep("thoughts", "", clean(text))
        if self.thinking:
            for line in clean(text).strip().split("\n"):
                self._add("tool", Paragraph(text_line(line, _THOUGHT)))
        else:
            self._add("tool", note(f"✻ thought for {duration(took)}"))

    def _add(self, kind: Kind, block: Block) -> None:
        if self._gap(kind) and self._last is not None:
            self._blocks.append(Paragraph(()))
        self._last = kind
        self.added += 1
        self._blocks.append(block)

    def _gap(self, kind: Kind) -> bool:
        """True when a blank line stands between the last block and one of this kind."""
        return self._last is not None and kind != self._last and "note" not in (kind, self._last)

    def _say(self, text: str, *, source: str = "", steered: bool = False) -> None:
        self._end_prose()
        if self._last == "said":
            self._blocks.append(Paragraph(()))
        for block in said(text, source=source, steered=steered):
            self._add("said", block)

    def _keep(self, name: str, arguments: str, text: str) -> None:
        head = f"{name} {' '.join(title(name, arguments).split())}" if arguments else name
        self.outputs.append((clean(head), text))
        while len(self.outputs) > 1 and sum(len(one) for _, one in self.outputs) > _KEPT_SIZE:
            self.outputs.popleft()

    # Events

    def _obey(self, event: ev.Event) -> None:  # noqa: C901 - one arm for each kind, and no more
        match event:
            case ev.InputReceived():
                self._received(event)
            case ev.TurnStarted():
                self._turn_started()
            case ev.ModelStarted():
                self._model_started(event)
            case ev.ModelNotice():
                self._noticed(event)
            case ev.ModelCompleted():
                self._completed(event)
            case ev.ModelFailed():
                self._failed(event)
            case ev.ToolStarted():
                self._tool_started(event)
            case ev.ToolCompleted():
                self._outcome(event)
            case ev.ApprovalResolved():
                self._resolved(event)
            case ev.StateChanged():
                self._state_changed(event)
            case ev.TurnCompleted():
                self._ended(event)
            case ev.SessionRolledBack():
                self._rolled_back(event)
            case _:
                if (line := event_line(event)) is not None:
                    self.note(line)

    def _received(self, event: ev.InputReceived) -> None:
        self.received.add(event.input)
        text = user_text(event.parts)
        source = "" if event.source in (None, "cli") else event.source or ""
        who = " ".join(part for part in (event.account or "", source) if part)
        self._say(text, source=who, steered=event.mode == "steer")

    def _turn_started(self) -> None:
        self.working, self._since = True, time.monotonic()

    def _model_started(self, event: ev.ModelStarted) -> None:
        self.working, self._asks_model = True, True
        self.model, self.context = event.model, event.context
        self._progress = self._retry = None
        self._again(event.step)

    def _noticed(self, event: ev.ModelNotice) -> None:
        if event.kind == "restart":
            self._again(event.step)
        elif event.kind == "retry":
            seconds = event.data.get("seconds")
            wait = seconds if isinstance(seconds, int | float) else 0.0
            why = one_line(str(event.data.get("message", "")), 60)
            self._retry = (f"failed ({event.data.get('code')}): {why}", time.monotonic() + wait)
        elif line := notice_line(event):
            self.note(line)

    def _again(self, step: int) -> None:
        """Mark the shown text of the step as void."""
        if step == self._step and self._seen:
            self.note("(the answer was cut off and begins again)", YELLOW)
            self._seen = 0
        self._thoughts = ""

    def _completed(self, event: ev.ModelCompleted) -> None:
        self._begin(event.step)
        self._asks_model, self._progress, self._retry = False, None, None
        message = AssistantMessage(event.parts)
        if not self._thoughts and not self._seen:
            self._thoughts = "".join(part.text for part in event.parts if isinstance(part, Thinking))
            self._thinking_since = time.monotonic() - event.seconds
        self._end_thoughts()
        self._prose(message.text[self._seen :])
        self._end_prose()
        self._seen, self._done = 0, event.step
        self.answer = message.text or self.answer
        for shown in message.media:
            self.note(f"[{shown.media_type}]")
        if event.model and self.model.partition("/")[0] == "auto":
            self.model = f"{self.model.partition(' ')[0]} ({event.model})"
        self.usage = event.usage if self.usage is None else self.usage + event.usage
        self.context = event.usage.input + event.usage.output or self.context
        self._calls |= {call.id: (call.name, call.arguments) for call in message.calls}

    def _failed(self, event: ev.ModelFailed) -> None:
        self._asks_model, self._progress, self._retry = False, None, None
        self._end_prose()
        self._seen = 0
        if event.error.code not in _ORDERED:
            self._trouble = f"{event.error.code}: {event.error.message}"
            self.note(f"the model call failed ({event.error.code}): {one_line(event.error.message, 300)}", RED)

    def _tool_started(self, event: ev.ToolStarted) -> None:
        self.working = True
        arguments = self._calls.get(event.call, (event.name, "{}"))[1]
        self._running[event.call] = Running(event.name, arguments, time.monotonic())

    def _outcome(self, event: ev.ToolCompleted) -> None:
        self._end_prose()
        running = self._running.pop(event.call, None)
        name, arguments = self._calls.pop(event.call, (running.name if running else "call", "{}"))
        if event.outcome == "denied" and event.call in self._rejected:
            return
        self._keep(name, arguments, output_of(event.parts))
        for block in called(name, arguments, event.outcome, event.parts, event.seconds, "Ctrl-O"):
            self._add("tool", block)

    def _resolved(self, event: ev.ApprovalResolved) -> None:
        self.resolved.append(event)
        if event.decision == "reject":
            self._rejected.add(event.call)
        if event.arguments is not None and event.call in self._calls:  # what runs is what is shown
            self._calls[event.call] = (self._calls[event.call][0], event.arguments)
        self.note(*self.describe(event))

    def _state_changed(self, event: ev.StateChanged) -> None:
        self.state = event.state
        if (line := event_line(event)) is not None:
            self.note(line, YELLOW)

    def _ended(self, event: ev.TurnCompleted) -> None:
        self.working, self._progress, self._retry = False, None, None
        self._end_thoughts()
        self._end_prose()
        self._running.clear()
        if event.outcome != "answered":
            known = event.reason is not None and event.reason == self._trouble
            self.note(f"turn {event.outcome if known else ending(event.outcome, event.reason)}", YELLOW)

    def _rolled_back(self, event: ev.SessionRolledBack) -> None:
        self.working = False
        self._running.clear()
        if (line := event_line(event)) is not None:
            self.note(line.strip(), YELLOW)


_THOUGHT = f"{DIM};{ITALIC}"


def _spinner(passed: float) -> str:
    return _SPINNER[int(passed * 4) % len(_SPINNER)]
