"""What the judges of a command line put together."""

from __future__ import annotations

import posixpath
import re

import msgspec

from roost.policy.command.lines import Simple
from roost.policy.command.unwrap import name_of
from roost.policy.command.words import Word

_STREAM = re.compile(r"/dev/(?:std(?:in|out|err)|fd/\d+)|/proc/(?:thread-)?self/fd/\d+")
_HERE = re.compile(r"/proc/(?:thread-)?self/(?:task/\d+/)?cwd(?=/|$)")


class Acts(msgspec.Struct):
    """A program that would run with these words, within the simple command that says so; `through` is the wrapper that
    runs it. `name` and `texts`, the words behind it, follow from `words`; nobody changes what is in them."""

    simple: Simple
    words: tuple[Word, ...]
    functions: frozenset[str] = frozenset()
    through: Acts | None = None
    name: str = ""
    texts: list[str] = []
    _options: list[str] | None = None
    _operands: list[Word] | None = None

    def __post_init__(self) -> None:
        if self.words:
            self.name = name_of(self.words[0])
            self.texts = [word.text for word in self.words[1:]]

    @property
    def shown(self) -> str:
        text = " ".join(word.text for word in self.words).replace("\ufffc", "…")
        return text if len(text) <= 200 else text[:199] + "…"

    def options(self) -> list[str]:
        """Short options one by one (`-rf`: `-r`, `-f`), long ones without their value; none behind `--`."""
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
        """The words that are no options."""
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
    """Filled in while a line is looked at. `findings` are (category, why, command)."""

    def __init__(self) -> None:
        self.programs: list[str] = []
        self.findings: list[tuple[str, str, str]] = []
        self.paths: list[str] = []
        self.writes: list[str] = []
        self.removes: list[str] = []
        self.hosts: list[str] = []
        self.installs: list[str] = []
        self.unclear: list[str] = []
        self.below: list[str] = []
        self.picked: list[str] = []
        self.only_reads = True
        self.folder = ""
        """Where `cd` has led, from where the line begins."""

        self.aside = ""
        """Where an option has led the command that is looked at, and those that it runs, from `folder`."""

    @property
    def there(self) -> str:
        return posixpath.join(self.folder, self.aside) if self.aside else self.folder

    def add(self, category: str, why: str, act: Acts | str) -> None:
        self.findings.append((category, why, act if isinstance(act, str) else act.shown))

    def moved(self, act: Acts) -> None:
        """A `cd` counts for all that follows, whether the shell comes back from it or not."""
        if act.name in ("cd", "pushd") and act.operands():
            self.folder = posixpath.join(self.folder, _own(act.operands()[0].text) or ".")

    def also_there(self, texts: list[str], since: int) -> None:
        """Paths that were noted after the first `since` may count from the folder that `cd` has led to."""
        if len(texts) == since:
            return
        texts[since:] = [own for text in texts[since:] if (own := _own(text)) is not None]
        if bases := {self.folder, self.there} - {""}:
            bare = [text for text in texts[since:] if not text.startswith(("/", "~"))]
            texts += [posixpath.join(base, text) for base in bases for text in bare]


def _own(text: str) -> str | None:
    """What names the folder that the command itself is in counts from there, its own streams are no file: to another
    process that looks at these paths they lead elsewhere."""
    if not text.startswith(("/dev", "/proc", "//")):
        return text
    whole = "/" + posixpath.normpath(text).lstrip("/")
    return None if _STREAM.fullmatch(whole) else _HERE.sub(".", whole, count=1) if _HERE.match(whole) else text
