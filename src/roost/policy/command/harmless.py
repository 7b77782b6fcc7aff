"""Whether a program, as it is called, is known to change nothing."""

from __future__ import annotations

import re

from roost.policy.command.found import Acts
from roost.policy.command.tables import (
    GIT_READERS,
    GIT_SHOWS,
    HARMLESS_TARGETS,
    LOADERS,
    NO_FILES,
    READERS,
    WRAPPERS,
)

_SED = re.compile(
    r"(?:s([/|,#@!%])(?:(?!\1)[^\\\n]|\\.)*\1(?:(?!\1)[^\\\n]|\\.)*\1[gIip0-9]*|[0-9$]*(?:,[0-9$]+)?[pdq=]|/[^/]*/(?:,/[^/]*/)?[pd])"
)
_AWK = re.compile(r"system|getline|\||print[^;}\n]*>|close|@|ENVIRON")
_QUIET = frozenset({"time", "command", "builtin", "nice", "timeout", "nohup", "stdbuf", "env", "xargs"})


def reads(act: Acts) -> bool:
    """Writing by redirection is not looked at here."""
    if set(act.simple.assigns) & LOADERS:
        return False
    if not act.words:
        return True
    name, word = act.name, act.words[0]
    if not word.known or word.veiled or "/" in word.text or name in act.functions:
        return False  # a path may be anybody's program
    if name in _QUIET:
        return len(act.words) > 1 and not any("=" in text for text in act.texts)
    if name == "git":
        return _git(act)
    if name in ("awk", "gawk", "mawk"):
        return not _changes(act, "awk") and bool(act.operands()) and not _AWK.search(act.operands()[0].text)
    if name == "sed":
        return _sed(act)
    if name == "tee":
        return all(word.text in HARMLESS_TARGETS for word in act.operands())
    if name not in READERS:
        return False
    if name in ("sort", "tree", "find", "date", "hostname", "yq", "base64", "xxd", "less", "fd", "rg"):
        return not _changes(act, name)
    if name == "uniq":
        return len(act.operands()) < 2
    return True


def names_files(act: Acts) -> bool:
    """Whether words of the program may be files that it reads, shows or changes."""
    if act.name == "git":
        return bool(GIT_SHOWS & {word.text for word in act.operands()[:2]})
    return act.name not in NO_FILES and act.name not in WRAPPERS and act.name not in act.functions


def _changes(act: Acts, name: str) -> bool:
    said = set(act.options())
    return bool(said & READERS.get(name, frozenset())) or any(not word.known for word in act.words[1:2])


def _sed(act: Acts) -> bool:
    if _changes(act, "sed") or any(option.startswith(("-i", "--in")) for option in act.options()):
        return False
    operands = act.operands()
    scripts = [operands[0].text] if operands and "-e" not in act.options() else []
    texts = act.texts
    scripts += [texts[at + 1] for at, text in enumerate(texts[:-1]) if text in ("-e", "--expression")]
    return bool(scripts) and all(_SED.fullmatch(part.strip()) for text in scripts for part in text.split(";") if part)


def _git(act: Acts) -> bool:
    operands = [word.text for word in act.operands()]
    before = act.texts[: act.texts.index(operands[0])] if operands else act.texts
    if any(text not in ("--no-pager", "-P", "--version") for text in before):
        return False  # -c may make any program run, -C and --git-dir may go elsewhere
    said = set(act.options())
    if not operands:
        return "--version" in said
    if said & {"--ext-diff", "--output", "--textconv", "--open-files-in-pager", "-O"}:
        return False
    if operands[0] in GIT_READERS:
        return True
    listing = {"branch": {"-a", "-r", "-v", "-vv", "--list", "--show-current", "--all"}, "tag": {"-l", "--list"}}
    if operands[0] in listing:
        return len(operands) == 1 and said <= listing[operands[0]]
    if operands[0] == "remote":
        return operands[1:] in ([], ["show"]) and said <= {"-v", "--verbose"}
    return operands[:2] == ["stash", "list"] or (operands[0] == "config" and bool(said & {"--get", "--list", "-l"}))
