"""Ask a person something below the history: whether a call may run, or which of several things."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from roost.cli.approval_text import call_lines
from roost.cli.output import Style
from roost.cli.terminal.blocks import text_line
from roost.cli.terminal.editor import Editor
from roost.cli.terminal.keys import Event, Key, Paste
from roost.cli.terminal.lines import BOLD, CYAN, DIM, GREEN, RED, REVERSED, YELLOW, Line, Span, cut, line_width, wrap
from roost.cli.terminal.markdown import Block, Code, Paragraph
from roost.log.events import RuleOffer
from roost.log.session_info import Decision, GrantScope
from roost.log.session_views import FileDiff, WaitingCall
from roost.terminal_text import visible

QUIET = 0.4
"""Seconds without a key before a question takes one: what is typed as it appears is no answer."""
_SHOWN = 300
"""Rows of a call, of `_COLUMNS` each, that are put into the history; the pager has the rest."""
_COLUMNS = 80
_DANGERS = 3
"""Most dangers that stand beside the choices."""
_REASON = 4
"""Most rows of a reason that is typed: its end."""
_STYLES: dict[Style | None, str] = {"red": RED, "green": GREEN, "yellow": YELLOW, "dim": DIM, "cyan": CYAN, None: ""}
_DANGER = f"{BOLD};{REVERSED};{RED}"
_DANGER_MARK = Span("! ", RED)
T = TypeVar("T")


class Answer(NamedTuple):
    """What a person decided. `arguments`: the call's, changed. `always`: the rules that count from now on, within
    `scope`."""

    decision: Decision
    note: str | None = None
    arguments: dict[str, Any] | None = None
    always: tuple[str, ...] = ()
    scope: GrantScope | None = None


class ApprovalDialog:
    """A call that waits. The call stands in the history (`blocks`); the choices in the live area (`rows`).

    Keys are an answer only when none came for `QUIET` seconds since the question is shown. `stage`: `choose`,
    `reason` while the reason of a refusal is typed, `always` while a rule is chosen.
    """

    def __init__(self, waiting: WaitingCall, *, elsewhere: str = "") -> None:
        self.waiting = waiting
        self.elsewhere = elsewhere
        """The descendant that the call is in, if it is not the session itself."""
        self.stage = "choose"
        self.reason = Editor()
        self._since = self._typed = time.monotonic()
        self.chosen = -1
        self._offered: list[tuple[RuleOffer, GrantScope]] = [
            (offer, scope) for offer in waiting.offers for scope in offer.scopes
        ]
        self._rule = 0
        self._lines = list(_body(waiting))
        self._begin = list(_beginning(self._lines))
        self.read = self._begin == self._lines
        """The person has seen all of the call."""

    @property
    def armed(self) -> bool:
        return self.arms_in() <= 0

    def arms_in(self) -> float:
        """Return the seconds until a key can be an answer."""
        return QUIET - (time.monotonic() - max(self._since, self._typed))

    def typing(self) -> None:
        """A key came that is meant for the draft."""
        self._typed = time.monotonic()

    def shown(self) -> None:
        """The question is shown from now on."""
        self._since = time.monotonic()

    def blocks(self) -> Iterator[Block]:
        """Yield what stands in the history: the question, and the call as far as it is shown."""
        where = f"  in {self.elsewhere}" if self.elsewhere else ""
        yield Paragraph((*self._head(), Span(where, DIM)), (Span("  "),))
        for line in self._begin:
            if line[:1] == (_DANGER_MARK,):
                yield Paragraph((Span("  "), *line), (Span("    "),))
            else:
                yield Code(line, (Span("  "),))
        if self._begin != self._lines:
            more = len(self._lines) - len(self._begin)
            rest = f"{more} more lines: d shows all of them" if more else "d shows the rest of this line"
            yield Paragraph((Span(f"  … {rest}", YELLOW),))

    def whole(self) -> str:
        """Return all of the call, for the pager."""
        self.read = True
        return "\n".join("".join(span.text for span in line) for line in (self._head(), *self._lines))

    def _head(self) -> Line:
        return (Span("? ", YELLOW), *_safe(self.waiting.tool, BOLD), Span("  "), *_safe(self.waiting.reason, YELLOW))

    def again(self) -> list[Line]:
        """Return the question in short, for the place beside the choices when it stands there no more."""
        dangers = [line for line in self._lines if line and line[0] == _DANGER_MARK]
        return [self._head(), *self._lines[:1], *dangers[:_DANGERS]]

    def rows(self, width: int, height: int, *, place: str = "", draft: bool = False, again: bool = False) -> list[Line]:
        """Return the choices in at most `height` rows. `place`: as in `1 of 3`. `draft`: there is a draft, so that a
        letter is no answer before Tab. `again`: with the question in short, as far as there is room."""
        match self.stage:
            case "reason":
                text = (Span("  why not? ", YELLOW), *text_line(self.reason.text or " "))
                rows = wrap(text, width, hang=(Span("    "),))[-max(1, min(_REASON, height - 1)) :]
                return [*rows, (Span("  Enter rejects, Esc goes back", DIM),)]
            case "always":
                return self._rules(width, height)
            case _:
                choices = self._choices(width, height, place, draft)
                short = self.again()[: max(0, height - len(choices))] if again else []
                return [*(cut((Span(" "), *line), width) for line in short), *choices]

    def _choices(self, width: int, height: int, place: str, draft: bool) -> list[Line]:
        offered = self._offers()
        if height >= len(offered) + 1:
            rows: list[Line] = []
            for number, (key, words) in enumerate(offered):
                mark = "›" if number == self.chosen else " "
                style = BOLD if number == self.chosen else ""
                rows.append((Span(f" {mark} ", CYAN), Span(key, CYAN), Span("  "), *_safe(words, style)))
        else:
            short = "  ".join(f"{key} {words.split(',')[0].split(' ')[0]}" for key, words in offered)
            short = short if len(short) < width else " ".join(key for key, _ in offered)
            rows = [cut((Span("  "), *_safe(short)), width)]
        rows.append((Span(f"   {self._hint(draft)}{'  ' if place else ''}{place}", DIM),))
        return rows

    def _rules(self, width: int, height: int) -> list[Line]:
        """Return the rules that an answer may make, around the chosen one."""
        hang = (Span("      "),)
        offer, scope = self._offered[self._rule]
        # A rule is never confirmed by its beginning: of the chosen one all is shown.
        whole = wrap((*hang, *_safe(f"{SCOPES[scope]}: {offer.says}", BOLD)), width, hang=hang)[1:]
        whole = whole[: max(0, height - 3)]
        room = max(1, height - 2 - len(whole))
        first = max(0, min(self._rule - room // 2, len(self._offered) - room))
        rows: list[Line] = [(Span("  allow from now on", YELLOW),)] if height > 2 else []
        for number, (offer, scope) in enumerate(self._offered[first : first + room], first):
            mark, style = ("›", BOLD) if number == self._rule else (" ", "")
            text = f"{SCOPES[scope]}: {offer.says}"
            row = (Span(f" {mark} ", CYAN), Span(f"{number + 1}  ", CYAN), *_safe(text, style))
            rows += [wrap(row, width, hang=hang)[0], *whole] if whole and number == self._rule else [cut(row, width)]
        rows.append((Span("  Enter confirms, Esc goes back; `roost policy list` shows rules", DIM),))
        return rows

    def _hint(self, draft: bool) -> str:
        if draft:
            return "you are typing: Tab goes to the choices"
        if not self.read:
            return "d shows the rest; read it before you allow it"
        return "Esc stops the turn" if self.armed else "waits until you stop typing"

    def _offers(self) -> list[tuple[str, str]]:
        offered = [("y", "yes, this once")]
        if self._offered:
            offered.append(("a", "always: choose what, and where"))
        return [*offered, ("e", "edit, then run it"), ("n", "no, and say why"), ("d", "details, in the pager")]

    def key(self, event: Event) -> Answer | str | None:
        """Handle a key. Returns an answer, or what the terminal has to do (`edit`, `details`, `cancel`), or None."""
        if isinstance(event, Paste):
            if self.stage == "reason":
                self.reason.paste(event.text.replace("\n", " "))
            return None
        if not isinstance(event, Key):
            return None
        if self.stage == "reason":
            return self._reason_key(event)
        if self.stage == "always":
            return self._always_key(event)
        if event.name in ("up", "down"):
            count = len(self._offers())
            step = 1 if event.name == "down" else -1
            self.chosen = (self.chosen + step) % count if self.chosen >= 0 else (0 if step > 0 else count - 1)
            return None
        if event.name == "escape":
            return "cancel"
        if event.name == "enter":
            return self._choose(self._offers()[self.chosen][0]) if self.chosen >= 0 else None
        return self._choose(event.text.lower()) if event.name == "text" and len(event.text) == 1 else None

    def _choose(self, letter: str) -> Answer | str | None:
        if letter in ("y", "a") and not self.read:
            return "details"
        match letter:
            case "y":
                return Answer("approve")
            case "a" if self._offered:
                self.stage = "always"
            case "n":
                self.stage = "reason"
            case "e":
                return "edit"
            case "d" | "?":
                return "details"
            case _:
                pass
        return None

    def _reason_key(self, event: Key) -> Answer | None:
        if event.name == "enter":
            return Answer("reject", self.reason.whole.strip() or None)
        if event.name == "escape":
            self.stage = "choose"
        elif event.name == "text":
            self.reason.insert(event.text)
        else:
            self.reason.do(event.name)
        return None

    def _always_key(self, event: Key) -> Answer | None:
        steps = {"up": -1, "down": 1}
        if event.name == "escape":
            self.stage = "choose"
        elif event.name in steps:
            self._rule = (self._rule + steps[event.name]) % len(self._offered)
        elif event.name == "text" and event.text.isdecimal() and 0 < int(event.text) <= len(self._offered):
            self._rule = int(event.text) - 1
        elif event.name == "enter":
            offer, scope = self._offered[self._rule]
            return Answer("approve", always=(offer.rule,), scope=scope)
        return None


SCOPES: dict[GrantScope, str] = {
    "session": "in this session",
    "agent": "in all sessions with this agent",
    "user": "in all sessions of this user",
}
"""Where a standing rule counts."""


def arguments_of(waiting: WaitingCall) -> dict[str, Any]:
    try:
        return msgspec.json.decode(waiting.arguments, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def _body(waiting: WaitingCall) -> Iterator[Line]:
    """Yield all lines of a call: a command with its dangerous parts marked, a file with its diff, else arguments."""
    arguments = arguments_of(waiting)
    command = arguments.get("command")
    if isinstance(command, str):  # also the shells of coding agents
        yield from _marked(command, waiting)
        for danger in waiting.dangers:
            if waiting.reason == f"{danger.why}: {danger.text}":  # the head says it, and the command is marked
                continue
            yield (_DANGER_MARK, *_safe(danger.text.replace("\n", " ⏎ "), BOLD), Span(": "), *_safe(danger.why, RED))
        for name, value in arguments.items():
            if name != "command":
                yield (*_safe(f"{name}: ", DIM), *_safe(str(value)))
        return
    for file in waiting.files:
        yield from _diff(file)
    for style, text in call_lines(waiting, diffs=not waiting.files):
        yield _safe(text, _STYLES.get(style, ""))


def _beginning(lines: Sequence[Line]) -> Iterator[Line]:
    """Yield the lines that the history gets; of the last one perhaps a part."""
    left = _SHOWN
    for line in lines:
        if left <= 0:
            return
        yield cut(line, left * _COLUMNS)
        left -= max(1, -(-line_width(line) // _COLUMNS))


def _marked(command: str, waiting: WaitingCall) -> Iterator[Line]:
    """Yield the lines of a command, the dangerous parts in a colour of their own."""
    dangerous = [False] * len(command)
    for danger in waiting.dangers:
        if danger.start is not None and danger.end is not None:
            parts = [(danger.start, danger.end)]
        else:  # the analyser took it apart; it may stand there all the same
            parts = _places(command, danger.text)
        for begin, end in parts:
            for at in range(begin, min(end, len(command))):
                dangerous[at] = True
    at = 0
    for number, text in enumerate(command.split("\n")):
        spans = [Span("$ " if number == 0 else "  ", DIM)]
        begin = 0
        for end in range(1, len(text) + 1):
            if end == len(text) or dangerous[at + end] != dangerous[at + begin]:
                spans += _safe(text[begin:end], _DANGER if dangerous[at + begin] else "")
                begin = end
        yield tuple(spans)
        at += len(text) + 1


def _places(command: str, text: str) -> list[tuple[int, int]]:
    """Return where a dangerous part stands in a command. The analyser names files from the workspace on: `rm old` after
    `cd build` loses `build/old`."""
    if len(text) > 2 and (at := command.find(text)) >= 0:
        return [(at, at + len(text))]
    tail = text
    while tail:
        word = re.compile(rf"(?<![^\s'\"=;&|()]){re.escape(tail)}(?![^\s'\";&|()])")
        if found := [match.span() for match in word.finditer(command)]:
            return found
        tail = tail.partition("/")[2]
    return []


def _diff(file: FileDiff) -> Iterator[Line]:
    """Yield a unified diff with the numbers of lines."""
    lines = file.diff.split("\n")
    added = sum(line.startswith("+") for line in lines[2:])
    removed = sum(line.startswith("-") for line in lines[2:])
    new = "  a new file" if lines and "/dev/null" in lines[0] else ""
    yield (*_safe(file.path, BOLD), Span(f"  +{added} −{removed}{new}", DIM))
    if lines == [""]:
        yield (Span("the file already has this content", DIM),)
        return
    old_at = new_at = 0
    for line in lines[2:-1]:
        if line.startswith("@@"):
            old_at, new_at = _hunk(line)
            continue
        mark, text = line[:1], line[1:]
        number = old_at if mark == "-" else new_at
        style = {"+": GREEN, "-": RED}.get(mark, "")
        yield (Span(f"{number:>5} ", DIM), Span(f"{mark or ' '} ", style), *_safe(text, style))
        old_at += mark != "+"
        new_at += mark != "-"


def _hunk(line: str) -> tuple[int, int]:
    """Return the first line numbers of `@@ -1,2 +3,4 @@`."""
    try:
        _, old, new, *_ = line.split(" ")
        return int(old[1:].split(",")[0]), int(new[1:].split(",")[0])
    except ValueError:
        return 1, 1


def _safe(text: str, style: str = "") -> Line:
    """Return text whose hidden and reordering characters are shown as numbers."""
    return (Span(visible(text).replace("\n", " ⏎ "), style),)


class Choice(NamedTuple, Generic[T]):
    """A row of a picker. `help`: dim text behind it."""

    text: str
    help: str
    value: T


class Picker(Generic[T]):
    """A list to choose from. Typed text filters it."""

    def __init__(self, title: str, choices: Sequence[Choice[T]], *, hint: str = "Enter chooses, Esc leaves") -> None:
        self._title, self._hint = title, hint
        self._choices = list(choices)
        self._filter = Editor()
        self._at = 0
        self.done = False
        self.value: T | None = None

    @property
    def found(self) -> list[Choice[T]]:
        words = self._filter.text.lower().split()
        return [one for one in self._choices if all(word in f"{one.text} {one.help}".lower() for word in words)]

    def rows(self, width: int, height: int) -> list[Line]:
        found = self.found
        self._at = max(0, min(self._at, len(found) - 1))
        room = max(1, height - 2)
        first = max(0, min(self._at - room // 2, len(found) - room))
        rows: list[Line] = [(Span(f"  {self._title}", BOLD), Span(f"  {self._filter.text}", CYAN))]
        for number, one in enumerate(found[first : first + room], first):
            mark = "›" if number == self._at else " "
            style = BOLD if number == self._at else ""
            rows.append((Span(f"{mark} ", CYAN), *text_line(one.text, style), Span("  "), *text_line(one.help, DIM)))
        if not found:
            rows.append((Span("  nothing fits", DIM),))
        rows.append((Span(f"  {self._hint}; type to filter  {self._at + 1 if found else 0}/{len(found)}", DIM),))
        return [cut(row, width) for row in rows][-height:]

    def key(self, event: Event) -> None:
        """Handle a key; `done` once it is decided, with `value` None for no choice."""
        if isinstance(event, Paste):
            self._filter.paste(event.text.replace("\n", " "))
        elif isinstance(event, Key):
            self._key(event)

    def _key(self, event: Key) -> None:
        found = self.found
        steps = {"up": -1, "down": 1, "ctrl-p": -1, "ctrl-n": 1, "pageup": -10, "pagedown": 10}
        if event.name in steps:
            self._at = max(0, min(self._at + steps[event.name], len(found) - 1))
        elif event.name == "enter":
            self.done, self.value = True, found[self._at].value if found else None
        elif event.name in ("escape", "ctrl-c", "ctrl-d"):
            self.done = True
        elif event.name == "text":
            self._filter.insert(event.text)
            self._at = 0
        else:
            self._filter.do(event.name)
