"""Translate Markdown into plain text with styled spans, and split it.

A platform that takes spans beside the text (Telegram's entities) needs no escaping, so no text of a model can break out
of its place. A platform with a markup of its own writes it from the spans, and escapes the plain text between them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import unquote

import msgspec

SpanKind: TypeAlias = Literal["bold", "italic", "strike", "code", "pre", "link", "quote"]
_INLINE = re.compile(
    r"(?P<escape>\\[\\`*_{}\[\]()#+\-.!~>|])"
    r"|(?<!`)(?P<tick>`{1,3})(?!`)(?P<code>[^\n`]{1,400}(?:`{1,2}[^\n`]{1,400}){0,4}?)(?P=tick)(?!`)"
    r"|!?\[(?P<label>[^\[\]\n]{1,300})\]\((?P<url>https?://[^\s()]{1,2000})(?: +\"[^\"\n]{0,200}\")?\)"
    r"|(?<![\w\])])!?\[(?P<named>[^\[\]\n]{1,300})\]\((?P<path>[\w./%+-]{1,300})\)"
    r"|\*\*(?=\S)(?P<bold>[^\n]{1,400}?)(?<=\S)\*\*"
    r"|(?<!\w)__(?=\S)(?P<bold2>[^\n]{1,400}?)(?<=\S)__(?!\w)"
    r"|~~(?=\S)(?P<strike>[^\n]{1,400}?)(?<=\S)~~"
    r"|(?<!\d)\*(?=[^\s*])(?P<italic>[^*\n]{1,400}?)(?<=[^\s*])\*(?!\d)"
    r"|(?<!\w)_(?=[^\s_])(?P<italic2>[^_\n]{1,400}?)(?<=[^\s_])_(?!\w)"
)
"""All repetitions are bounded, so that no text of a model costs quadratic time."""
_ADDRESS = re.compile(r"(?:https?://)?(?:[^\s/@]*@)?(?P<host>[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,24})(?![\w.-])[^\s]*")
_CODE = re.compile(r"(?ms)^ {0,3}(`{3,}|~{3,})[^\n]*\n.*?(?:^ {0,3}\1[`~]*\s*$|\Z)")
_LONGEST = 20_000
"""Characters of a line, beyond which it stays plain."""
# Those below are for whole lines of any length: each gives nothing back that it has taken, so they cost linear time.
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}+|~{3,}+) *+(?P<language>[\w+#.-]{0,40}+)[^`\n]*+")
_HEADING = re.compile(r" {0,3}#{1,6} ++(?P<text>.+?)(?:(?<! ) ++#++)?")
_RULE = re.compile(r" {0,3}(?:(?:- *){3,}|(?:\* *){3,}|(?:_ *){3,})")
_BULLET = re.compile(r"(?P<indent> *)[-*+] +(?P<text>.+)")
_DEPTH = 3
_KINDS: dict[str, SpanKind] = {
    "bold": "bold",
    "bold2": "bold",
    "strike": "strike",
    "italic": "italic",
    "italic2": "italic",
}


class Span(msgspec.Struct, frozen=True):
    """A style from character `start` to before `end`. more: the address of a link, the language of a `pre`."""

    kind: SpanKind
    start: int
    end: int
    more: str = ""


class Rich(msgspec.Struct, frozen=True):
    """A text with its styles, outer ones first."""

    text: str
    spans: tuple[Span, ...] = ()

    def cut(self, start: int, end: int) -> Rich:
        """Return a part of it, without blanks at its ends."""
        part = self.text[start:end]
        start += len(part) - len(part.lstrip("\n"))
        end = start + len(part.strip("\n").rstrip())
        spans = [
            Span(one.kind, max(one.start, start) - start, min(one.end, end) - start, one.more)
            for one in self.spans
            if one.start < end and one.end > start
        ]
        return Rich(self.text[start:end], tuple(spans))


def plain(text: str) -> Rich:
    return Rich(text)


def utf16(text: str) -> int:
    """Return the length as most platforms count it."""
    return len(text) + sum(one > "\uffff" for one in text)


class _Block(NamedTuple):
    """A fenced block that is open. fence: what closes it."""

    fence: str
    language: str
    start: int


class _Writer:
    def __init__(self) -> None:
        self.text: list[str] = []
        self.size = 0
        self.spans: list[Span] = []

    def add(self, text: str) -> None:
        self.text.append(text)
        self.size += len(text)

    def styled(self, kind: SpanKind, text: str, more: str = "", depth: int = 0) -> None:
        at = len(self.spans)
        start = self.size
        if kind in ("code", "pre") or depth >= _DEPTH:
            self.add(text)
        else:
            self.inline(text, depth + 1)
        if self.size > start:
            self.spans.insert(at, Span(kind, start, self.size, more))

    def inline(self, text: str, depth: int = 0) -> None:
        at = 0
        if len(text) > _LONGEST:
            self.add(text)
            return
        for found in _INLINE.finditer(text):
            self.add(text[at : found.start()])
            at = found.end()
            kind = found.lastgroup or ""
            if found["escape"]:
                self.add(found["escape"][1])
            elif found["code"]:
                code = found["code"]
                self.styled("code", code.strip() or code)
            elif found["url"]:
                self.styled("link", _labelled(found["label"], found["url"]), found["url"], depth)
            elif found["path"]:
                self.styled("italic", found["named"], depth=depth)
            else:
                self.styled(_KINDS[kind], found[kind], depth=depth)
        self.add(text[at:])


def _labelled(label: str, url: str) -> str:
    """Return the label of a link. One that looks like another address gets the real one beside it."""
    shown, real = _ADDRESS.search(label), _ADDRESS.match(url)
    if shown is None or (real is not None and _host(shown) == _host(real)):
        return label
    return f"{label} ({url})"


def _host(found: re.Match[str]) -> str:
    return found["host"].lower().removeprefix("www.")


def named_files(markdown: str) -> tuple[str, ...]:
    """Return the paths of the files that a text links to, each once, in order: those without a scheme, outside of
    code."""
    text = _CODE.sub("", markdown)
    paths = (unquote(found["path"]) for found in _INLINE.finditer(text) if found["path"])
    return tuple(dict.fromkeys(path for path in paths if re.search(r"[^./]", path)))


def rich_of(markdown: str) -> Rich:
    """Translate Markdown. What is no Markdown that is known stays as it is. Any text gives a valid result."""
    out, block = _Writer(), None
    lines = markdown.replace("\r\n", "\n").replace("\0", "").strip("\n").split("\n")
    for number, line in enumerate(lines):
        fence = _FENCE.fullmatch(line)
        if block is None and fence is not None:
            block = _Block(fence["fence"], fence["language"], out.size)
            continue
        if block is not None and line.strip().startswith(block.fence) and not line.strip().strip(block.fence[0]):
            block = _close(out, block)
            continue
        if block is not None:
            out.add(line + "\n")
            continue
        _line(out, line)
        if number < len(lines) - 1:
            out.add("\n")
    if block is not None:
        _close(out, block)
    return Rich("".join(out.text), tuple(out.spans)).cut(0, out.size)


def _close(out: _Writer, block: _Block) -> None:
    if out.size > block.start:
        out.spans.append(Span("pre", block.start, out.size - 1, block.language))


def _line(out: _Writer, line: str) -> None:
    if heading := _HEADING.fullmatch(line):
        out.styled("bold", heading["text"])
    elif _RULE.fullmatch(line):
        out.add("———")
    elif line.startswith(">"):
        out.styled("quote", line.lstrip("> "))
    elif bullet := _BULLET.fullmatch(line):
        out.add(f"{bullet['indent']}• ")
        out.inline(bullet["text"])
    else:
        out.inline(line)


def split(rich: Rich, most: int, size: Callable[[str], int] = utf16) -> list[Rich]:
    """Cut a text into pieces of at most `most`, as `size` counts: between paragraphs if that is near enough, else
    between lines, sentences, words, and last between characters. No empty pieces."""
    return [piece for start, end in _cuts(rich.text, most, size) if (piece := rich.cut(start, end)).text]


def _cuts(text: str, most: int, size: Callable[[str], int]) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        end = start + _fitting(text[start : start + most], most, size)
        if end < len(text):
            end = _place(text, start, end)
        yield start, end
        start = end


def _fitting(text: str, most: int, size: Callable[[str], int]) -> int:
    """Return the length of the longest beginning that fits; at least one character."""
    low, high = 1, max(1, len(text))
    while low < high:
        middle = (low + high + 1) // 2
        if size(text[:middle]) <= most:
            low = middle
        else:
            high = middle - 1
    return low


def _place(text: str, start: int, end: int) -> int:
    """Return where to cut, in the second half of what fits."""
    least = start + (end - start) // 2
    for mark in ("\n\n", "\n", ". ", " "):
        at = text.rfind(mark, least, end)
        if at >= 0:
            return at + len(mark)
    return end
