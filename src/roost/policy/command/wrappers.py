"""Programs that run other programs: find the inner command."""

from __future__ import annotations

import re

from roost.policy.command.shell_words import Word
from roost.policy.command.tables import RUN_IN, WRAPPERS

_SIZED = {"timeout": 1, "taskset": 1, "chrt": 1, "chroot": 1, "flock": 1, "setarch": 1, "perf": 1, "faketime": 1}
"""Number of operands before the inner command."""
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*")
_BEFORE_COMMAND = frozenset({"-exec", "-execdir", "-ok", "-okdir"})


def name_of(word: Word) -> str:
    """Return the program's name without its folder; it may contain a `GAP`."""
    return word.text.rsplit("/", 1)[-1].removesuffix(".exe")


def inner_of(words: tuple[Word, ...]) -> list[tuple[Word, ...]]:
    """Return the commands that these words run through a wrapper (`sudo -u x rm y`: `rm y`), one level deep."""
    if not words:
        return []
    name = name_of(words[0])
    if name == "find":
        return _of_find(words)
    if name in ("fd", "fdfind"):
        return _after(words, frozenset({"-x", "-X", "--exec", "--exec-batch"}))
    if name == "gdb":
        return _after(words, frozenset({"--args"}))
    if name in RUN_IN and len(words) > 2 and words[1].text in ("run", "exec"):
        rest = _skip(words[2:], RUN_IN[name], assigns=False)
        return [rest] if rest else []
    if name not in WRAPPERS:
        return []
    if name in ("su", "runuser", "script"):
        return []  # they take a text for a shell
    rest = _skip(words[1:], WRAPPERS[name], assigns=name in ("env", "sudo", "doas"))
    rest = rest[_SIZED.get(name, 0) :]
    return [rest] if rest else []


def _skip(words: tuple[Word, ...], takes: frozenset[str], *, assigns: bool) -> tuple[Word, ...]:
    place = 0
    while place < len(words):
        text = words[place].text
        if text == "--":
            return words[place + 1 :]
        if text.startswith("-") and len(text) > 1:
            place += 2 if text in takes else 1
        elif assigns and "=" in text.lstrip("=") and text.split("=", 1)[0].isidentifier():
            place += 1
        else:
            break
    return words[place:]


def _of_find(words: tuple[Word, ...]) -> list[tuple[Word, ...]]:
    found: list[tuple[Word, ...]] = []
    place = 0
    while place < len(words):
        if words[place].text in _BEFORE_COMMAND:
            end = next((at for at in range(place + 1, len(words)) if words[at].text in (";", "+")), len(words))
            found.append(words[place + 1 : end])
            place = end
        place += 1
    return [command for command in found if command]


def _after(words: tuple[Word, ...], options: frozenset[str]) -> list[tuple[Word, ...]]:
    place = next((at for at, word in enumerate(words) if word.text in options), None)
    return [] if place is None or place + 1 >= len(words) else [words[place + 1 :]]


def assigned(words: tuple[Word, ...]) -> list[str]:
    """Return the variables that `env`, `sudo` or `export` set."""
    if not words or name_of(words[0]) not in ("env", "sudo", "doas", "export", "declare", "typeset", "readonly"):
        return []
    return [word.text.split("=", 1)[0] for word in words[1:] if "=" in word.text.lstrip("=")]


def module_of(words: tuple[Word, ...]) -> tuple[Word, ...]:
    """Return the words `pip install x` of `python -m pip install x`; other words unchanged."""
    if not words or not _PYTHON.fullmatch(name_of(words[0])):
        return words
    for at, word in enumerate(words[1:], 1):
        if word.text == "-m" and at + 1 < len(words):
            return words[at + 1 :]
        if not word.text.startswith("-"):
            break
    return words
