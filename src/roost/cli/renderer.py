"""Render a session's frames as text for people."""

from __future__ import annotations

import sys

import msgspec

from roost.cli.event_lines import event_line
from roost.cli.model_notices import ending, notice_line
from roost.cli.output import note, styled
from roost.cli.spinner import Working
from roost.log import events as ev
from roost.log.content import AssistantMessage, ResultPart, Text, ToolOutcome, Usage
from roost.log.frames import Delta, Progress
from roost.terminal_text import clean, one_line, unfinished

_WIDTH, _LONG = 100, 40
_RESULT_LINES = 4
_ORDERED = {"cancel", "cancelled", "pause", "paused", "stop", "steered", "deadline"}
"""Codes of model calls that were ended on purpose."""
_MARKS: dict[ToolOutcome, str] = {"error": "✗ ", "cancelled": "✗ ", "interrupted": "✗ "}


class Renderer:
    """Prints the model's text to standard output, the rest to standard error. `quiet`: only the text. `silent`:
    nothing. `inputs`: also the messages to the agent. `spin`: show on a terminal that the agent works."""

    def __init__(
        self,
        *,
        quiet: bool = False,
        silent: bool = False,
        inputs: bool = False,
        spin: bool = False,
    ) -> None:
        self._quiet = quiet or silent
        self._silent = silent
        self._inputs = inputs
        self._spin = spin and sys.stderr.isatty() and not self._quiet
        self._working = Working()
        self._shown = 0
        self._step: int = 0
        self._seen: int = 0
        self._done = 0
        self._held: str = ""
        self._column = 0
        self._calls: dict[str, tuple[str, str]] = {}
        self._asked = self._routed = ""
        self._trouble = ""

    def progress(self, progress: Progress) -> None:
        """Record the progress of the step; `tick` shows it."""
        if progress.step > self._done:
            self._working.at(progress)
            self.tick()

    def delta(self, delta: Delta) -> None:
        """Print the new part of the text; a reader that starts over gets it from offset 0 again."""
        if delta.step <= self._done:
            return
        self._working.at(None)
        if delta.kind != "text":
            return
        self._begin(delta.step)
        text = delta.text[max(0, self._seen - delta.offset) :]
        if delta.offset <= self._seen and text:
            self._seen = delta.offset + len(delta.text)
            self._text(text)

    def event(self, event: ev.Event) -> None:
        match event:
            case ev.ModelStarted():
                self._started(event)
            case ev.ModelCompleted():
                self._complete(event)
            case ev.ModelFailed():
                self._failed(event)
            case ev.ModelNotice():
                self._noticed(event)
            case ev.ToolStarted():
                self._working.begin()
            case ev.ToolCompleted():
                self._outcome(event)
            case ev.InputReceived():
                self._said(event)
            case ev.TurnCompleted():
                self._end(event)
            case ev.ApprovalResolved():
                self._resolved(event)
            case _:
                if (line := event_line(event)) is not None:
                    self.note(line)

    def note(self, text: str) -> None:
        if not self._quiet:
            self.fresh_line()
            note(clean(text))

    def fresh_line(self) -> None:
        """End a line that text left open, and remove the spinner."""
        self._wipe()
        self._held = ""
        if self._column:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._column = 0

    def tick(self) -> None:
        """Update the progress. Called a few times a second when nothing happens."""
        if self._column or self._quiet:
            return
        if not self._spin:
            if line := self._working.line():
                self.note(line)
        elif line := self._working.spinner():
            sys.stderr.write(styled(f"\r{line}", "dim", to=sys.stderr) + "\x1b[K")
            sys.stderr.flush()
            self._shown = 1

    def _wipe(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = 0

    def _begin(self, step: int) -> None:
        if step != self._step:
            self.fresh_line()
            self._step, self._seen = step, 0

    def _text(self, text: str) -> None:
        text = self._held + text
        cut = unfinished(text)
        text, self._held = clean(text[:cut]), text[cut:]
        if self._silent or not text:
            return
        self._wipe()
        sys.stdout.write(text)
        sys.stdout.flush()
        self._column = 0 if text.endswith("\n") else 1

    def _started(self, event: ev.ModelStarted) -> None:
        self._asked = event.model
        self._working.begin()
        self._again(event.step)

    def _noticed(self, event: ev.ModelNotice) -> None:
        if event.kind == "restart":
            self._again(event.step)
        elif line := notice_line(event):
            self.note(line)

    def _again(self, step: int) -> None:
        """Mark the shown text of the step as void."""
        if step == self._step and self._seen:
            self.note("(the answer was cut off and begins again)")
            self._seen = 0

    def _tell_routed(self, event: ev.ModelCompleted) -> None:
        """Name the model that answered for a router; again only when another one does."""
        if event.model and self._asked.partition("/")[0] == "auto" and event.model != self._routed:
            self._routed = event.model
            self.note(f"({self._asked}: {event.model} answered)")

    def _complete(self, event: ev.ModelCompleted) -> None:
        self._begin(event.step)
        self._working.end()
        message = AssistantMessage(event.parts)
        self._text(message.text[self._seen :])
        self._seen, self._done = len(message.text), event.step
        self.fresh_line()
        for shown in message.media:
            self.note(f"[{shown.media_type}]")
        self._tell_routed(event)
        for call in message.calls:
            name = one_line(call.name, _WIDTH)
            self._calls[call.id] = (name, call.arguments)
            if not self._quiet:
                name = styled(name, "cyan", to=sys.stderr)
                note(f"● {name} {one_line(arguments_line(call.arguments), _WIDTH)}", None)

    def _failed(self, event: ev.ModelFailed) -> None:
        self._working.end()
        if event.error.code not in _ORDERED:
            self._trouble = f"{event.error.code}: {event.error.message}"
            self.note(f"the model call failed ({event.error.code}): {one_line(event.error.message, 300)}")

    def _outcome(self, event: ev.ToolCompleted) -> None:
        self._working.end()
        if not self._quiet and event.outcome != "denied":
            self.fresh_line()
            name = f"{self._calls[event.call][0]}: " if len(self._calls) > 1 and event.call in self._calls else ""
            note(result_lines(event.parts, prefix=_MARKS.get(event.outcome, "") + name))
        self._calls.pop(event.call, None)

    def _said(self, event: ev.InputReceived) -> None:
        if self._inputs and not self._quiet:
            self.fresh_line()
            text = "".join(part.text for part in event.parts if isinstance(part, Text))
            source = f" [{event.source}]" if event.source and event.source.startswith(("timer:", "schedule:")) else ""
            note(f"> {clean(text)}{source}", "bold")

    def _resolved(self, event: ev.ApprovalResolved) -> None:
        word = {"approve": "approved", "reject": "rejected", "modify": "approved, changed"}[event.decision]
        source = f" from {event.source}" if event.source not in (None, "cli") else ""
        self.note(f"  {word}{source}" + (f": {event.note}" if event.note else ""))

    def _end(self, event: ev.TurnCompleted) -> None:
        self._working.end()
        self.fresh_line()
        if event.outcome != "answered":
            known = event.reason is not None and event.reason == self._trouble
            self.note(f"turn {event.outcome if known else ending(event.outcome, event.reason)}")


def arguments_line(arguments: str) -> str:
    """A call's arguments in short: the value alone where there is one, the command without its description, the path
    alone beside long texts, else `name=value`."""
    try:
        data = msgspec.json.decode(arguments, type=dict[str, object])
    except msgspec.MsgspecError:
        return arguments
    if len(data) == 1:
        return _value(next(iter(data.values())))
    if isinstance(command := data.get("command"), str) and "description" in data:  # as coding agents call
        return command
    path, texts = data.get("path"), [one for one in data.values() if isinstance(one, str)]
    if isinstance(path, str) and any(len(one) > _LONG or "\n" in one for one in texts):
        return path
    return ", ".join(f"{name}={_value(value)}" for name, value in data.items())


def _value(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def result_lines(parts: tuple[ResultPart, ...], *, prefix: str = "") -> str:
    text = "\n".join(part.text if isinstance(part, Text) else f"[{part.media_type}]" for part in parts)
    lines = clean(text).rstrip().splitlines() or ["(nothing)"]
    shown = [one_line(line, _WIDTH) if len(line) > _WIDTH else line for line in lines[:_RESULT_LINES]]
    more = len(lines) - len(shown)
    shown[0] = prefix + shown[0]
    return "\n".join("  " + line for line in shown + ([f"… {more} more lines"] if more else []))


def usage_line(usage: Usage) -> str:
    cost = "" if not usage.cost else f", ${usage.cost / 1e9:.4f}"
    return f"{usage.input:,} tokens in, {usage.output:,} out{cost}"
