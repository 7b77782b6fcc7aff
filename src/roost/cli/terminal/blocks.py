"""Blocks of history: messages, notes, tool calls with their folded results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from roost.cli.renderer import arguments_line
from roost.cli.terminal.highlight import diff_style
from roost.cli.terminal.lines import BOLD, CYAN, DIM, GREEN, RED, TAB, YELLOW, Line, Span, cut
from roost.cli.terminal.markdown import Block, Code, Paragraph
from roost.log.content import ResultPart, Text, ToolOutcome
from roost.terminal_text import clean

_FOLD, _LAST = 6, 4
"""Lines of a result that are shown whole, and the last ones that are shown of a longer one."""
_SAID, _EDITED = 24, 16
"""Lines of a message, and of an edit, that are shown."""
_MARGIN: Line = (Span("  "),)


class Cut(NamedTuple):
    """One row; what does not fit is cut off."""

    line: Line

    def rows(self, width: int) -> list[Line]:
        return [cut(self.line, width)]


def text_line(text: str, style: str = "") -> Line:
    """Return one line of text from outside, cleaned."""
    return (Span(clean(text).replace("\t", TAB).replace("\n", " "), style),)


def note(text: str, style: str = DIM) -> Block:
    """A remark of this program, in one or several lines."""
    return Paragraph(text_line(text, style), _MARGIN if text.startswith("  ") else ())


def said(text: str, *, source: str = "", steered: bool = False) -> Iterator[Block]:
    """A message to the agent. `source`: who or what sent it, if not this terminal."""
    lines = clean(text).replace("\t", TAB).split("\n")
    for number, line in enumerate(lines[:_SAID]):
        head = Span("> " if number == 0 else "  ", CYAN)
        spans = [head, Span(line, BOLD)]
        if number == 0 and steered:
            spans.append(Span("  (while it works)", DIM))
        if number == 0 and source:
            spans.append(Span(f"  [{clean(source)}]", DIM))
        yield Paragraph(tuple(spans), (Span("  "),))
    if len(lines) > _SAID:
        yield note(f"  … {len(lines) - _SAID} more lines")


def title(name: str, arguments: str) -> str:
    """Return a call in one line, as a person would say it."""
    try:
        data = msgspec.json.decode(arguments, type=dict[str, Any])
    except msgspec.MsgspecError:
        return arguments
    if isinstance(data.get("command"), str):
        return str(data["command"])
    path, pattern = data.get("path"), data.get("pattern")
    if isinstance(pattern, str):
        return f"{pattern} in {path}" if isinstance(path, str) and path != "." else pattern
    return path if isinstance(path, str) else arguments_line(arguments)


def call_head(name: str, arguments: str, *, mark: str = "●", style: str = GREEN, seconds: float | None = None) -> Line:
    """Return the line that names a call."""
    what = " ⏎ ".join(title(name, arguments).strip().splitlines())
    spans = [Span(f"{mark} ", style), *text_line(name, CYAN), Span(" "), *text_line(what)]
    if seconds is not None and seconds >= 0.1:
        spans.append(Span(f"  {duration(seconds)}", DIM))
    return tuple(spans)


def called(
    name: str, arguments: str, outcome: ToolOutcome, parts: tuple[ResultPart, ...], seconds: float, key: str
) -> Iterator[Block]:
    """A call and its result. `key`: the key that shows the whole of it."""
    good = outcome == "ok"
    mark, style = ("●", GREEN) if good else ("✗", YELLOW if outcome == "cancelled" else RED)
    yield Cut(call_head(name, arguments, mark=mark, style=style, seconds=seconds))
    edited = list(_edit(name, arguments)) if good else []
    if edited:
        yield from edited[:_EDITED]
        if len(edited) > _EDITED:
            yield note(f"  … {len(edited) - _EDITED} more lines, {key} shows them")
        return
    lines = output_of(parts).splitlines()
    shown = lines if len(lines) <= _FOLD else lines[-_LAST:]
    if len(lines) > len(shown):
        yield note(f"  … {len(lines) - len(shown)} lines, {key} shows them")
    for line in shown:
        yield Cut((*_MARGIN, *text_line(line, DIM if good else "")))


def output_of(parts: tuple[ResultPart, ...]) -> str:
    """Return the text of a result, cleaned."""
    texts = [part.text if isinstance(part, Text) else f"[{part.media_type}]" for part in parts]
    return clean("\n".join(texts)).rstrip()


def _edit(name: str, arguments: str) -> Iterator[Block]:
    """Yield the lines that an edit removed and added, without those at both ends that it left as they were."""
    if name not in ("edit_file", "write_file"):
        return
    try:
        data = msgspec.json.decode(arguments, type=dict[str, Any])
    except msgspec.MsgspecError:
        return
    old, new = (_lines_of(data.get(field)) for field in ("old", "content" if name == "write_file" else "new"))
    first = _alike(old, new)
    last = _alike(old[first:][::-1], new[first:][::-1])
    for lines, mark, style in ((old, "-", RED), (new, "+", GREEN)):
        for line in lines[first : len(lines) - last]:
            yield Code(text_line(f"{mark} {line}", style), _MARGIN)


def _alike(one: list[str], other: list[str]) -> int:
    """Return with how many equal lines both begin."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _lines_of(text: object) -> list[str]:
    return clean(text).split("\n") if isinstance(text, str) and text else []


def diff_blocks(diff: str) -> Iterator[Block]:
    """A unified diff, coloured."""
    for line in clean(diff).splitlines():
        yield Code(text_line(line, diff_style(line)))


def duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min {seconds % 60:.0f} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def count(tokens: int) -> str:
    """Return a number of tokens in short: `850`, `16k`, `1.2M`."""
    if tokens < 1000:
        return str(tokens)
    if tokens < 1_000_000:
        return f"{tokens / 1000:.1f}k" if tokens < 10_000 else f"{tokens / 1000:.0f}k"
    return f"{tokens / 1e6:.1f}M"
