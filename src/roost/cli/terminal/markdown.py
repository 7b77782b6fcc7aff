"""Render Markdown as it streams: what is finished is committed, and the open line is drawn as far as it is known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, Protocol

from roost.cli.terminal.highlight import Highlighter
from roost.cli.terminal.lines import (
    BOLD,
    CYAN,
    DIM,
    ITALIC,
    TAB,
    UNDERLINE,
    Line,
    Span,
    cut_rows,
    line_width,
    text_of,
    wrap,
)


class Block(Protocol):
    """Something that can be drawn at a width."""

    def rows(self, width: int) -> list[Line]: ...


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern when it is first needed: the prompt stands sooner."""
    return re.compile(text)


class Paragraph(NamedTuple):
    """A line of prose. `hang`: what its further rows begin with."""

    line: Line
    hang: Line = ()

    def rows(self, width: int) -> list[Line]:
        return wrap(self.line, width, hang=self.hang)


class Code(NamedTuple):
    """A line of code or output, whose spaces stay. `margin`: what each of its rows begins with."""

    line: Line
    margin: Line = ()

    def rows(self, width: int) -> list[Line]:
        room = max(8, width - line_width(self.margin))
        return [(*self.margin, *row) for row in cut_rows(self.line, room)]


class Table(NamedTuple):
    """A table: its cells by row, the first of them the head if `head`. `right`: columns whose cells stand at the
    right."""

    cells: tuple[tuple[Line, ...], ...]
    head: bool = True
    right: frozenset[int] = frozenset()

    def rows(self, width: int) -> list[Line]:
        count = max(len(row) for row in self.cells)
        wide = [max((line_width(row[at]) for row in self.cells if at < len(row)), default=0) for at in range(count)]
        room = max(count * 3, width - 2 * (count - 1))
        while sum(wide) > room:  # take from the widest column
            widest = max(range(count), key=wide.__getitem__)
            wide[widest] = max(1, wide[widest] - max(1, (sum(wide) - room) // 2))
        found: list[Line] = []
        for number, row in enumerate(self.cells):
            found += self._row(row, wide, bold=self.head and number == 0)
            if self.head and number == 0:
                found.append((Span("  ".join("─" * one for one in wide), DIM),))
        return found

    def _row(self, row: Sequence[Line], wide: Sequence[int], *, bold: bool) -> list[Line]:
        cells = [wrap(row[at] if at < len(row) else (), one) for at, one in enumerate(wide)]
        rows: list[Line] = []
        for number in range(max(map(len, cells))):
            spans: list[Span] = []
            for at, cell in enumerate(cells):
                part = cell[number] if number < len(cell) else ()
                pad = " " * max(0, wide[at] - line_width(part))
                if at in self.right:
                    spans.append(Span(pad))
                    pad = ""
                spans += [Span(span.text, _both(BOLD, span.style) if bold else span.style) for span in part]
                spans.append(Span(pad + ("  " if at < len(cells) - 1 else "")))
            rows.append(tuple(spans))
        return rows


_INLINE = (
    r"\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|(?P<ticks>`+)(?P<code>[^`](?:.*?[^`])?)(?P=ticks)(?!`)"
    r"|\*\*(?P<bold>(?=\S)[^*]+?(?:\*[^*]+\*[^*]*?)*(?<=\S))\*\*"
    r"|(?<!\w)__(?P<bold2>(?=\S)[^_]+?)(?<=\S)__(?!\w)"
    r"|(?<!\w)\*(?P<italic>(?=[^\s*])[^*]+?(?<=\S))\*(?!\w)"
    r"|(?<!\w)_(?P<italic2>(?=[^\s_])[^_]+?(?<=\S))_(?!\w)"
    r"|~~(?P<struck>(?=\S)[^~]+?)~~"
    r"|!?\[(?P<label>[^\[\]]*)\]\((?P<url>[^()\s]*(?:\([^()\s]*\)[^()\s]*)?)(?:\s+\"[^\"]*\")?\)"
)
_STRIKE = "9"
_NESTED = {"bold": BOLD, "bold2": BOLD, "italic": ITALIC, "italic2": ITALIC, "struck": _STRIKE}
_OPENS = frozenset("`*_[~\\")


def inline(text: str, style: str = "", *, deep: int = 0) -> Line:
    """Return text with its inline marks as styles. A mark that is not closed stays as it is."""
    spans: list[Span] = []
    at = 0
    for found in _pattern(_INLINE).finditer(text):
        if found.start() > at:
            spans.append(Span(text[at : found.start()], style))
        at = found.end()
        spans += _marked(found, style, deep)
    if at < len(text):
        spans.append(Span(text[at:], style))
    return tuple(spans)


def _marked(found: re.Match[str], style: str, deep: int) -> Line:
    kind = found.lastgroup or ""
    if kind == "escaped":
        return (Span(found["escaped"], style),)
    if found["code"] is not None:
        return (Span(found["code"], _both(style, CYAN)),)
    if found["url"] is not None:
        label, url = found["label"], found["url"]
        named = (Span(label, _both(style, UNDERLINE)),) if label else ()
        return named if label == url else (*named, Span(f" ({url})" if label else url, _both(style, DIM)))
    text = found[kind]
    return inline(text, _both(style, _NESTED[kind]), deep=deep + 1) if deep < 4 else (Span(text, style),)


def _both(first: str, second: str) -> str:
    return ";".join(part for part in (first, second) if part)


_FENCE = r"( *)(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$"
_HEADING = r" {0,3}(#{1,6})\s+(.*?)\s*#*\s*$"
_ITEM = r"(\s*)([-*+]|\d{1,9}[.)])\s+(\[[ xX]\]\s+)?"
_QUOTE = r" {0,3}((?:> ?)+)"
_RULE = r" {0,3}([-*_])(?:\s*\1){2,}\s*$"
_SEPARATOR = r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$"
_BEFORE_KIND = r"\s*(?:[-*+#>`~|]|\d{1,9}[.)]?)*\s*$"
_LONGEST = 3000
"""Characters of an open line after which its beginning is committed: a line without an end stays cheap to draw."""
_TABLE = 60
"""Rows of an open table after which it is committed so far."""


class MarkdownStream:
    """Feed it pieces of text; take what is finished, and draw what is open."""

    def __init__(self) -> None:
        self._line = ""
        self._code: tuple[str, Highlighter, int] | None = None
        self._table: list[str] = []
        self._repeats = False
        """A part of the open table is committed: its head stands at the beginning of the next part too."""
        self._blank = True
        """The last line was blank, or there is none."""
        self._continues: Line | None = None
        """The begin of an open line was committed: what its further rows begin with."""

    def feed(self, text: str) -> list[Block]:
        """Return the blocks that this piece finishes."""
        *lines, rest = (self._line + text.replace("\t", TAB)).split("\n")
        found: list[Block] = []
        for line in lines:
            found += self._finish(line)
        self._line = rest
        if len(rest) > _LONGEST and self._code is None:
            found += self._long()
        return found

    def close(self) -> list[Block]:
        """Return all that is open, as finished."""
        found = self._finish(self._line) if self._line else []
        found += self._end_table()
        self._line, self._code, self._blank, self._continues = "", None, True, None
        return found

    def open(self) -> list[Block]:
        """Return what is open, to be drawn in the live area."""
        table: list[Block] = [_table(self._table)] if len(self._table) > 1 else []
        if len(self._table) == 1:
            table = [Paragraph(inline(self._table[0]))]
        if not self._line or (self._table and self._line.lstrip().startswith("|")):
            return table
        if self._code is not None:
            indent, highlighter, _ = self._code
            if self._line.strip() and set(self._line.strip()) <= set("`~"):
                return table
            return [Code(highlighter.peek(self._line[len(indent) :] if indent else self._line), _MARGIN)]
        if _pattern(_BEFORE_KIND).match(self._line):  # not known yet what it will be
            return table
        return [*table, self._paragraph(self._line)]

    def settle(self, width: int, most: int) -> list[Line]:
        """Return rows of the open line to commit, when it takes more than `most`, and forget them. Only rows end so
        that no mark is open."""
        if self._code is not None or self._table or len(self._line) < width or _pattern(_BEFORE_KIND).match(self._line):
            return []
        block = self._paragraph(self._line)
        rows = block.rows(width)
        for count in range(len(rows) - 1, max(0, len(rows) - most - 1), -1):
            if len(rows) <= most:
                return []
            if (at := self._source_of(rows, count, block)) is not None:
                self._line, self._continues = self._line[at:], block.hang
                return rows[:count]
        return []

    def _source_of(self, rows: Sequence[Line], count: int, block: Paragraph) -> int | None:
        """Return the offset in the open line of row `count`; None where a mark may be open there, or the rest shows
        more than once."""
        word = text_of(rows[count])[len(text_of(block.hang)) :][:40]
        if not word or self._line.count(word) != 1:
            return None
        at = self._line.find(word)
        before = self._line[:at]
        whole = before.count("`") % 2 == 0 and before.count("**") % 2 == 0 and before.count("[") == before.count("]")
        single = before.replace("**", "")
        return at if whole and word[0] not in _OPENS and single.count("*") % 2 == 0 else None

    def _long(self) -> list[Block]:
        at = self._line.rfind(" ", 0, _LONGEST)
        at = at + 1 if at > _LONGEST // 2 else _LONGEST
        block = self._paragraph(self._line[:at].rstrip())
        self._line, self._continues = self._line[at:], block.hang
        return [block]

    def _finish(self, line: str) -> list[Block]:
        """Return the blocks that a whole line finishes."""
        if self._code is not None:
            return self._code_line(line)
        if self._continues is not None:
            block = self._paragraph(line)
            self._continues, self._blank = None, False
            return [block] if line.strip() else []
        if fence := _pattern(_FENCE).match(line):
            self._code = (fence[1], Highlighter(fence[3]), len(fence[2]))
            return self._end_table()
        if "|" in line and (self._table or line.lstrip().startswith("|") or line.count("|") > 1):
            self._table.append(line)
            return self._end_table(more=True) if len(self._table) > _TABLE else []
        ended = self._end_table()
        if not line.strip():
            if self._blank:
                return ended
            self._blank = True
            return [*ended, Paragraph(())]
        self._blank = False
        return [*ended, self._paragraph(line)]

    def _code_line(self, line: str) -> list[Block]:
        assert self._code is not None
        indent, highlighter, ticks = self._code
        bare = line.strip()
        if len(bare) >= ticks and bare and set(bare) in ({"`"}, {"~"}):
            self._code, self._blank = None, False
            return []
        text = line[len(indent) :] if line.startswith(indent) else line.lstrip(" ")
        self._blank = False
        return [Code(highlighter.line(text), _MARGIN)]

    def _end_table(self, *, more: bool = False) -> list[Block]:
        lines, self._table = self._table, []
        if not lines:
            return []
        self._blank = False
        if self._repeats and len(lines) == 2:  # the head of a table whose rows are all committed
            self._repeats = False
            return []
        self._repeats = more
        if len(lines) == 1 or not _pattern(_SEPARATOR).match(lines[1]):
            return [Paragraph(inline(line)) for line in lines]
        if more:
            self._table = lines[:2]
        return [_table(lines)]

    def _paragraph(self, line: str) -> Paragraph:
        if self._continues is not None:
            return Paragraph((*self._continues, *inline(line)), self._continues)
        if heading := _pattern(_HEADING).match(line):
            style = _both(BOLD, UNDERLINE) if len(heading[1]) == 1 else BOLD
            return Paragraph(inline(heading[2], style))
        if _pattern(_RULE).match(line):
            return Paragraph((Span("─" * 20, DIM),))
        if quote := _pattern(_QUOTE).match(line):
            margin = (Span("│ " * quote[1].count(">"), DIM),)
            return Paragraph((*margin, *inline(line[quote.end() :], ITALIC)), margin)
        if item := _pattern(_ITEM).match(line):
            mark = item[2] if item[2][0].isdigit() else "•"
            if item[3]:
                mark += " ☑" if item[3][1] in "xX" else " ☐"
            head = f"{item[1]}{mark} "
            return Paragraph((Span(head), *inline(line[item.end() :])), (Span(" " * len(head)),))
        indent = line[: len(line) - len(line.lstrip(" "))]
        rest = inline(line[len(indent) :])
        return Paragraph((Span(indent), *rest), (Span(indent),)) if indent else Paragraph(rest)


_MARGIN: Line = (Span("  "),)


def _table(lines: Sequence[str]) -> Block:
    """Return a table of its source lines; while the second is not known, the first as a line."""
    head = len(lines) > 1 and bool(_pattern(_SEPARATOR).match(lines[1]))
    rows = [lines[0], *lines[2 if head else 1 :]]
    marks = _cells(lines[1]) if head else []
    right = frozenset(at for at, mark in enumerate(marks) if mark.endswith(":") and not mark.startswith(":"))
    return Table(tuple(tuple(inline(cell) for cell in _cells(line)) for line in rows), head, right)


def _cells(line: str) -> list[str]:
    text = line.strip().removeprefix("|")
    if text.endswith("|") and not text.endswith("\\|"):
        text = text[:-1]
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", text)]


def rendered(text: str, width: int) -> list[Line]:
    """Return a whole text as rows."""
    stream = MarkdownStream()
    return [row for block in (*stream.feed(text), *stream.close()) for row in block.rows(width)]
