"""Data that the judges of a command line share."""

from __future__ import annotations

import posixpath
import re

import msgspec

from roost.policy.command.scope import joined
from roost.policy.command.shell_words import Word
from roost.policy.command.simple_commands import Simple
from roost.policy.command.work import MOST_JUDGED, MOST_READ, Work
from roost.policy.command.wrappers import name_of

_STREAM = re.compile(r"/dev/(?:std(?:in|out|err)|fd/\d+)|/proc/(?:thread-)?self/fd/\d+")
_HERE = re.compile(r"/proc/(?:thread-)?self/(?:task/\d+/)?cwd(?=/|$)")


class Acts(msgspec.Struct):
    """A program that would run with these words. simple: the simple command that contains it. through: the wrapper that
    runs it. name, texts (the words after it): derived from `words`, which must not be changed."""

    simple: Simple
    words: tuple[Word, ...]
    functions: frozenset[str] = frozenset()
    through: Acts | None = None
    name: str = ""
    texts: list[str] = []
    _shown: str | None = None
    _options: list[str] | None = None
    _operands: list[Word] | None = None

    def __post_init__(self) -> None:
        if self.words:
            self.name = name_of(self.words[0])
            self.texts = [word.text for word in self.words[1:]]

    @property
    def shown(self) -> str:
        if self._shown is None:
            text = " ".join(word.text[:200] for word in self.words[:200]).replace("\ufffc", "…").replace("\ufffb", ".")
            self._shown = text if len(text) <= 200 else text[:199] + "…"
        return self._shown

    def options(self) -> list[str]:
        """Return short options one by one (`-rf`: `-r`, `-f`), long ones without their value; none after `--`."""
        if self._options is not None:
            return self._options
        self._options = said = list[str]()
        for text in self.texts:
            if text == "--":
                break
            if text.startswith("--"):
                said.append(text.partition("=")[0])
            elif text.startswith("-") and len(text) > 1:
                said += [text, *("-" + char for char in text[1:])]
        return said

    def operands(self) -> list[Word]:
        """Return the words that are no options."""
        if self._operands is not None:
            return self._operands
        self._operands = rest = list[Word]()
        plain = False
        for word in self.words[1:]:
            if word.text == "--" and not plain:
                plain = True
            elif plain or not word.text.startswith("-") or word.text == "-":
                rest.append(word)
        return rest


class Found:
    """Results collected while a line is analysed. findings: (category, why, command, start, end). reading, judging:
    budgets of steps."""

    def __init__(self, root: str = "", *, wary: bool = False) -> None:
        self.reading = Work(MOST_READ)
        self.judging = Work(MOST_JUDGED)
        self.root = root
        self.wary = wary
        self.named: list[str] = []
        self.calls: list[tuple[str, ...]] = []
        self.doing: list[tuple[str, ...]] = []
        self.programs: list[str] = []
        self.findings: list[tuple[str, str, str, int | None, int | None]] = []
        self.network: list[str] = []
        self.loses: list[str] = []
        self.edits: list[str] = []
        self.links: list[str] = []
        self.variables: list[str] = []
        self.redirected: list[str] = []
        self.depth = 0
        self.paths: list[str] = []
        self.writes: list[str] = []
        self.removes: list[str] = []
        self.hosts: list[str] = []
        self.installs: list[str] = []
        self.unclear: list[str] = []
        self.below: list[str] = []
        self.picked: list[str] = []
        self.only_reads = True
        self.elsewhere = False
        self.folders: tuple[str, ...] = ("",)
        """Folders in which the current command may run, relative to the start of the line."""

        self.aside: tuple[str, ...] = ()
        """Folders to which an option has led it and the commands that it runs, relative to `folders`."""

        self.reached: list[str] = []
        """Folders that a `cd` must have reached for the results to hold."""

    @property
    def there(self) -> tuple[str, ...]:
        return self.aside or self.folders

    def mark(self) -> tuple[int, ...]:
        return tuple(len(texts) for texts in self.paths_of_all())

    def settle(self, since: tuple[int, ...], bases: tuple[str, ...]) -> None:
        """Resolve paths noted since `mark` against `bases`."""
        for texts, begin in zip(self.paths_of_all(), since, strict=True):
            if len(texts) > begin:
                length = sum(map(len, texts[begin:])) + (len(texts) - begin) * max(map(len, bases), default=0)
                self.judging.spend(((len(texts) - begin) + length // 64) * len(bases) // 2)
                noted = [own for text in texts[begin:] if (own := _own(text)) is not None]
                texts[begin:] = [joined(base, text) for text in noted for base in bases]

    def paths_of_all(self) -> tuple[list[str], ...]:
        return (
            self.paths,
            self.writes,
            self.removes,
            self.below,
            self.picked,
            self.named,
            self.loses,
            self.edits,
            self.links,
        )

    def add(self, category: str, why: str, act: Acts | str) -> None:
        """Note a danger, and the position of its simple command in the line, in bytes; none if it is part of a word."""
        shown = act if isinstance(act, str) else act.shown
        if not isinstance(act, str) and self.depth == 0 and act.simple.end:
            self.findings.append((category, why, shown, act.simple.start, act.simple.end))
        else:
            self.findings.append((category, why, shown, None, None))


def _own(text: str) -> str | None:
    """Rewrite a path that depends on the reading process: the command's own current folder becomes relative, its own
    streams are no files (None)."""
    if not text.startswith(("/dev", "/proc", "//")):
        return text
    whole = "/" + posixpath.normpath(text).lstrip("/")
    return None if _STREAM.fullmatch(whole) else _HERE.sub(".", whole, count=1) if _HERE.match(whole) else text
