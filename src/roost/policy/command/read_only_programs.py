"""Decide whether a program, as called, is known to change nothing."""

from __future__ import annotations

import re
from collections.abc import Collection

from roost.policy.command.findings import Acts
from roost.policy.command.shell_words import GAP, Word
from roost.policy.command.tables import (
    GIT_READERS,
    GIT_SHOWS,
    HARMLESS_TARGETS,
    LOADERS,
    NO_FILES,
    READERS,
    WRAPPERS,
)
from roost.policy.command.wrappers import assigned, inner_of, name_of

_SED = re.compile(
    r"(?:s([/|,#@!%])(?:(?!\1)[^\\\n]|\\.)*\1(?:(?!\1)[^\\\n]|\\.)*\1[gIip0-9]*|[0-9$]*(?:,[0-9$]+)?[pdq=]|/[^/]*/(?:,/[^/]*/)?[pd])"
)
_SED_SCRIPT = re.compile(r"-[nErszu]*e|--expression")
_SED_OPTION = re.compile(
    r"-[nErszu]+|--(?:quiet|silent|regexp-extended|separate|null-data|unbuffered|posix|sandbox|version|help)"
)
_AWK = re.compile(r"system|getline|\||print[^;}\n]*>|close|@|ENVIRON")
_QUIET = frozenset({"time", "command", "builtin", "nice", "timeout", "nohup", "stdbuf", "env", "xargs"})

_SHOWING = frozenset("LANG LANGUAGE TERM COLUMNS LINES NO_COLOR FORCE_COLOR CLICOLOR TZ".split())
"""Variables that only affect the display of output; LC_* too."""
_SETTING = frozenset("read let printf".split())
_FILTERS = frozenset("sort head tail uniq grep egrep fgrep".split())
_GIT_RUNS = frozenset("--ext-diff --output --textconv --open-files-in-pager -O".split())


def reads(act: Acts) -> bool:
    """Whether a call only reads. Redirections are not considered."""
    if deciding(act):
        return False
    if not act.words:
        return not set(act.simple.assigns) & LOADERS
    name, word = act.name, act.words[0]
    if not word.known or word.veiled or "/" in word.text or name in act.functions:
        return False  # a path may name any program
    return _program_reads(act)


def deciding(act: Acts) -> list[str]:
    """Return the variables that it sets for programs and that may decide what these run, load or write."""
    said = assigned(act.words)
    if act.name in _SETTING and any(text.startswith("HOME") for text in act.texts):
        said.append("HOME")
    if act.words:
        said += act.simple.assigns
    elif "HOME" in act.simple.assigns:
        said.append("HOME")  # HOME is exported already: programs see the new value
    return [name for name in said if name not in _SHOWING and not name.startswith("LC_")]


def _program_reads(act: Acts) -> bool:
    name = act.name
    if name == "xargs" and not _known_input(act):
        return False
    if name in _QUIET:
        return len(act.words) > 1 and not any("=" in text for text in act.texts)
    if name == "git":
        return _git(act)
    if name in ("awk", "gawk", "mawk"):
        return _awk(act)
    if name == "sed":
        return _sed(act)
    if name == "tee":
        return all(word.text in HARMLESS_TARGETS for word in act.operands())
    if name not in READERS:
        return False
    if READERS[name] and _changes(act, name):
        return False
    if name == "hostname":
        return not act.operands()
    if name == "uniq":
        return len(act.operands()) < 2
    return True


def names_files(act: Acts) -> bool:
    """Whether words of the program may be files that it reads, shows or changes."""
    if act.name == "git":
        return bool(GIT_SHOWS & {word.text for word in act.operands()[:2]})
    return act.name not in NO_FILES and act.name not in WRAPPERS and act.name not in act.functions


def _changes(act: Acts, name: str) -> bool:
    return _says(act, READERS.get(name, frozenset())) or any(not word.known for word in act.words[1:2])


def _says(act: Acts, options: Collection[str]) -> bool:
    """Whether it has one of these options; long ones may be abbreviated."""
    return any(
        said in options or (len(said) > 2 and any(option.startswith(said) for option in options))
        for said in act.options()
        if said.startswith("-")
    )


def _awk(act: Acts) -> bool:
    """Whether an awk call only reads: no options except separator and variables."""
    texts, at = act.texts, 0
    while at < len(texts) and texts[at].startswith("-") and texts[at] != "--":
        if texts[at][:2] not in ("-F", "-v"):
            return False
        at += 2 if texts[at] in ("-F", "-v") else 1
    at += texts[at : at + 1] == ["--"]
    return at < len(texts) and act.words[at + 1].known and not _AWK.search(texts[at])


def _sed(act: Acts) -> bool:
    scripts: list[Word] = []
    rest: list[Word] = []
    words = iter(act.words[1:])
    for word in words:
        if _SED_SCRIPT.fullmatch(word.text):
            scripts += [script for script in [next(words, None)] if script is not None]
        elif word.text == "--":
            rest += words
        elif not word.text.startswith("-") or word.text == "-":
            rest.append(word)
        elif not _SED_OPTION.fullmatch(word.text):
            return False
    scripts = scripts or rest[:1]
    parts = [part for script in scripts for part in script.text.split(";") if part]
    return (
        bool(scripts) and all(script.known for script in scripts) and all(_SED.fullmatch(one.strip()) for one in parts)
    )


def _known_input(act: Acts) -> bool:
    """Whether the input of `xargs` consists of found file names, or goes to a program without files."""
    inner = inner_of(act.words)
    if not inner or name_of(inner[0][0]) in NO_FILES:
        return True
    if any("{}" in word.text and word.text != "{}" for word in inner[0]) or any(
        text.startswith(("-I", "-i", "--rep")) and text not in ("-I", "-I{}", "-i") for text in act.texts
    ):
        return False
    if "-I" in act.texts and act.texts[act.texts.index("-I") + 1 :][:1] != ["{}"]:
        return False
    feeds = [Acts(feed, feed.words) for feed in act.simple.feeds]
    return bool(feeds) and all(
        _lists(feed) or (at > 0 and feed.name in _FILTERS and len(feed.operands()) <= 1)
        for at, feed in enumerate(feeds)
    )


def _lists(act: Acts) -> bool:
    """Whether it prints names of files that it finds, or known words."""
    if act.name == "git":
        return [word.text for word in act.operands()[:1]] == ["ls-files"]
    if act.name in ("grep", "egrep", "fgrep", "rg"):
        return bool({"-l", "--files", "--files-with-matches"} & set(act.options()))
    if act.name == "find":
        return not any(text.startswith("-printf") for text in act.texts)
    if act.name == "echo":
        return all(word.known and "\\" not in word.text for word in act.words)
    return act.name in ("fd", "fdfind", "ls")


def _git(act: Acts) -> bool:
    operands = [word.text for word in act.operands()]
    before = act.texts[: act.texts.index(operands[0])] if operands else act.texts
    if any(text not in ("--no-pager", "-P", "--version") for text in before):
        return False  # -c may run any program, -C and --git-dir may lead elsewhere
    said = set(act.options())
    if not operands:
        return "--version" in said
    if _says(act, _GIT_RUNS) or any(word.text.startswith(GAP) for word in act.words[1:]):
        return False
    if operands[0] in GIT_READERS:
        return True
    listing = {"branch": {"-a", "-r", "-v", "-vv", "--list", "--show-current", "--all"}, "tag": {"-l", "--list"}}
    if operands[0] in listing:
        return len(operands) == 1 and said <= listing[operands[0]]
    if operands[0] == "remote":
        return operands[1:] in ([], ["show"]) and said <= {"-v", "--verbose"}
    return operands[:2] == ["stash", "list"] or (operands[0] == "config" and bool(said & {"--get", "--list", "-l"}))
