"""Colour code a line at a time: keywords, strings, comments, numbers, by tables for families of languages."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from roost.cli.terminal.lines import CYAN, DIM, GREEN, MAGENTA, RED, Line, Span

_C = (
    "abstract as async await auto bool boolean break case catch char class const continue default defer delete do"
    " double else enum export extends extern false final finally float fn for from func function go goto if impl"
    " implements import in instanceof int interface let long loop match mod module move mut namespace new nil null"
    " nullptr of package private protected pub public range ref return self short sizeof static string struct"
    " super switch template this throw throws trait true try type typedef typeof undefined union unsafe unsigned"
    " use using var void volatile where while yield"
)
_PYTHON = (
    "and as assert async await break case class continue def del elif else except False finally for from global if"
    " import in is lambda match None nonlocal not or pass raise return self True try type while with yield"
)
_SHELL = "case do done elif else esac exit export fi for function if in local return set source then until while"
_SQL = (
    "add all alter and as asc begin between by case commit create delete desc distinct drop else end exists from group"
    " having if in index inner insert into is join key left like limit not null on or order outer primary references"
    " returning rollback select set table then union unique update values view when where with"
)
_RUBY = (
    "alias and begin break case class def defined do else elsif end ensure false for if in module next nil not or redo"
    " rescue retry return self super then true undef unless until when while yield local function repeat"
)
_DATA = "true false null yes no on off"
_STRING = r"\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?"
_NUMBER = r"\b(?:0[xXbBoO][0-9a-fA-F_]+|\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)\b"


class _Family(NamedTuple):
    """How the languages of one family are coloured. `blocks`: beginning, end and style of what spans lines."""

    words: str
    comment: str
    string: str = _STRING
    blocks: tuple[tuple[str, str, str], ...] = ()
    any_case: bool = False


_SLASHES = _Family(_C, r"//.*", _STRING + r"|`(?:[^`\\]|\\.)*`?", (("/*", "*/", DIM),))
_FAMILIES = {
    "python": _Family(
        _PYTHON, r"#.*", rf"[rbfuRBFU]{{0,2}}(?:{_STRING})", (('"""', '"""', GREEN), ("'''", "'''", GREEN))
    ),
    "shell": _Family(_SHELL, r"(?:(?<=\s)|^)#.*"),
    "sql": _Family(_SQL, r"--.*", _STRING, (("/*", "*/", DIM),), True),
    "ruby": _Family(_RUBY, r"#.*|--.*"),
    "data": _Family(_DATA, r"(?:(?<=\s)|^)#.*|(?:^|(?<=\s))//.*"),
    "markup": _Family("", r"<!--.*?(?:-->|$)", rf"</?[A-Za-z][\w:-]*|/?>|{_STRING}"),
    "c": _SLASHES,
}  # fmt: skip
_NAMES = {
    **dict.fromkeys(("python", "py", "python3", "pyi"), "python"),
    **dict.fromkeys(("sh", "bash", "zsh", "shell", "console", "fish", "dockerfile", "make", "makefile"), "shell"),
    **dict.fromkeys(("sql", "sqlite", "postgresql", "mysql"), "sql"),
    **dict.fromkeys(("ruby", "rb", "lua", "elixir", "ex"), "ruby"),
    **dict.fromkeys(("json", "jsonc", "yaml", "yml", "toml", "ini", "conf", "cfg", "env"), "data"),
    **dict.fromkeys(("html", "xml", "svg", "vue"), "markup"),
    **dict.fromkeys(
        (
            "c", "h", "cpp", "c++", "cc", "hpp", "java", "js", "javascript", "jsx", "ts", "typescript", "tsx", "go",
            "rust", "rs", "swift", "kotlin", "kt", "scala", "cs", "csharp", "php", "dart", "css", "scss", "proto",
        ),
        "c",
    ),
}  # fmt: skip
_LONGEST = 1000
"""Characters of a line that is still coloured."""


@lru_cache(16)
def _pattern(family: str) -> re.Pattern[str]:
    one = _FAMILIES[family]
    words = rf"\b(?:{'|'.join(one.words.split())})\b" if one.words else r"(?!)"
    opens = "|".join(re.escape(begin) for begin, _, _ in one.blocks) or r"(?!)"
    text = rf"(?P<block>{opens})|(?P<comment>{one.comment})|(?P<string>{one.string})"
    return re.compile(rf"{text}|(?P<word>{words})|(?P<number>{_NUMBER})", re.IGNORECASE if one.any_case else re.NOFLAG)


_STYLES = {"comment": DIM, "string": GREEN, "word": MAGENTA, "number": CYAN}


class Highlighter:
    """Colours the lines of one block of code, in their order. An unknown language stays as it is."""

    def __init__(self, language: str) -> None:
        name = language.lower()
        self._diff = name in ("diff", "patch")
        self._family = _NAMES.get(name)
        self._until: tuple[str, str] | None = None
        """The end and the style of a string or comment that spans lines."""

    def line(self, text: str) -> Line:
        if self._diff:
            return (Span(text, diff_style(text)),)
        if self._family is None or len(text) > _LONGEST:
            return (Span(text),)
        spans: list[Span] = []
        at = 0
        if self._until is not None:
            at = self._close(text, 0, spans)
        pattern = _pattern(self._family)
        while at < len(text):
            found = pattern.search(text, at)
            if found is None or found.end() == found.start():
                spans.append(Span(text[at:]))
                break
            if found.start() > at:
                spans.append(Span(text[at : found.start()]))
            kind = found.lastgroup or ""
            if kind == "block":
                blocks = _FAMILIES[self._family].blocks
                self._until = next((end, style) for begin, end, style in blocks if begin == found[0])
                spans.append(Span(found[0], self._until[1]))
                at = self._close(text, found.end(), spans)
            else:
                spans.append(Span(found[0], _STYLES[kind]))
                at = found.end()
        return tuple(spans)

    def peek(self, text: str) -> Line:
        """Colour a line that has not ended; the next one is not affected."""
        before = self._until
        line = self.line(text)
        self._until = before
        return line

    def _close(self, text: str, at: int, spans: list[Span]) -> int:
        """Colour up to the end of what spans lines. Returns the offset after it."""
        assert self._until is not None
        end, style = self._until
        found = text.find(end, at)
        stop = len(text) if found < 0 else found + len(end)
        spans.append(Span(text[at:stop], style))
        if found >= 0:
            self._until = None
        return stop


def diff_style(line: str) -> str:
    """Return the style of a line of a unified diff."""
    if line.startswith(("+++", "---", "diff ", "index ")):
        return DIM
    return {"+": GREEN, "-": RED, "@": CYAN}.get(line[:1], "")
