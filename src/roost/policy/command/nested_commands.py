"""Find commands among the words of a program: an unknown program, or one that runs the commands it is given."""

from __future__ import annotations

import re
import shlex

from roost.policy.command.findings import Acts, Found
from roost.policy.command.shell_words import GAP
from roost.policy.command.tables import (
    DESTROYERS,
    FETCHERS,
    INSTALLERS,
    INTERPRETERS,
    LOADERS,
    READERS,
    SHELLS,
    WRAPPERS,
    WRITERS,
)
from roost.policy.command.wrappers import name_of

RISKY = (
    SHELLS
    | (DESTROYERS - frozenset("init halt parted".split()))
    | frozenset("rm rmdir unlink srm trash truncate dd mkfs.ext4 sudo doas su pkexec eval killall pkill".split())
)
"""Names that rarely occur by chance among a program's words; `_DATA` lists programs whose words may contain them."""
_DATA = (
    frozenset(READERS)
    | WRITERS
    | SHELLS
    | frozenset(INTERPRETERS)
    | frozenset(WRAPPERS)
    | frozenset(INSTALLERS)
    | (FETCHERS - frozenset("openssl links lynx".split()))
    | frozenset("rm awk gawk mawk nawk sed gh glab jj pytest py.test export unset declare man tldr info logger".split())
) - frozenset({"gdb", "emacs", "expect", ":"})
"""Programs whose words are data, or whose commands `code_execution` and `wrappers` find."""
_TOLD = frozenset("tmux screen sg watch parallel dtach abduco zellij byobu ansible expect entr pdsh clush".split())
_MOST = 8
_HINT = re.compile(
    r"(?:^|[^\w.-])(?:" + "|".join(map(re.escape, sorted(RISKY | frozenset(INTERPRETERS)))) + r")[\d.]*(?=\W|$)"
)
_SPOKEN_OF = frozenset("completion completions --shell -s shell-completion shellenv hook activate init".split())
"""Words before the name of a shell that is only mentioned."""
_ARITHMETIC = frozenset("[ test let read unset declare typeset local export readonly mapfile readarray getopts".split())
"""Bash builtins that evaluate the subscript of a name that they are given."""
_ASSIGNING = frozenset("read mapfile readarray getopts printf".split())


def judge(act: Acts, found: Found) -> list[str]:
    """Add the dangers of a call to `found`. Returns words that may be commands; dangers in them count as unclear."""
    if not act.words:
        return []
    name, texts = act.name, act.texts
    _builtins(act, found)
    _pagers_and_makers(act, found)
    if name in _TOLD and any(GAP in text for text in texts):
        found.unclear.append(f"what {name} would run is known only to the shell")
    if name == "git" or (name in _DATA and name not in _TOLD):
        return []
    maybe: list[str] = []
    for at, text in enumerate(texts):
        value = text.partition("=")[2] if "=" in text and " " not in text.partition("=")[0] else text
        program = _program(value)
        if program in SHELLS and at and texts[at - 1] in _SPOKEN_OF:
            continue
        if program in RISKY:
            found.unclear.append(f"{name} may run the {program} that is among its words")
        elif value == text and program.rstrip("0123456789.") in INTERPRETERS:
            maybe.append(shlex.join(texts[at:]).replace(GAP, "$x"))
        elif _HINT.search(value):
            maybe.append(value.lstrip("+!:@% -"))
        if len(maybe) > _MOST:
            found.unclear.append(f"{name} has more than {_MOST} words that may be commands")
            break
    return maybe[:_MOST]


def _program(text: str) -> str:
    return text.lstrip("+!:@").rsplit("/", 1)[-1].removesuffix(".exe")


def _builtins(act: Acts, found: Found) -> None:
    name, texts = act.name, act.texts
    if name in _ARITHMETIC or (name == "printf" and "-v" in act.options()):
        if any("$(" in text or "`" in text for text in texts):
            found.unclear.append(f"{name} may run what stands in its words")
        stdin = act.simple.stdin
        if name in _ASSIGNING and stdin is not None and ("$(" in stdin.text or "`" in stdin.text):
            found.unclear.append(f"{name} reads what may be run later")
    if name in _ASSIGNING and LOADERS & set(texts) and (name != "printf" or "-v" in texts):
        found.add("inline_exec", "it changes what other programs run or load", act)
    if (name == "hash" and "-p" in act.options()) or (name == "compgen" and {"-C", "-F"} & set(act.options())):
        found.add("inline_exec", f"{name} changes what later commands mean", act)
    if name == "fc" and "-l" not in act.options():
        found.add("inline_exec", "it runs earlier commands again", act)


def _pagers_and_makers(act: Acts, found: Found) -> None:
    name, texts = act.name, act.texts
    if name in ("less", "more", "most", "man") and any(re.match(r"\+.*[!|#]", text) for text in texts):
        found.add("inline_exec", f"{name} runs a command", act)
    if name == "dc" and any("!" in text for text in texts):
        found.add("inline_exec", "dc runs a command", act)
    if name in ("make", "gmake", "bmake", "ninja", "just"):
        if any(re.match(r"(?:SHELL|\.SHELLFLAGS|MAKEFLAGS|MAKE|MAKEFILES)\s*[:+?]*=", text) for text in texts):
            found.add("inline_exec", f"it says what {name} runs", act)
        joined = " ".join(texts)
        if re.search(r"(?:^|\s)(?:-f|--(?:make)?file|--justfile)[= ]?(?:-|/dev/\S*|/proc/\S*)(?:\s|$)", joined):
            found.add("inline_exec", f"code for {name} is read from elsewhere", act)
    if name == "git" and _git_runs(act):
        found.add("inline_exec", "git runs a program that it is told", act)


def _git_runs(act: Acts) -> bool:
    operands = [word.text for word in act.operands()]
    if "grep" in operands[:2] and any(re.match(r"-[a-zA-Z]*O|--open", text) for text in act.texts):
        return True
    if {"mergetool", "difftool", "help"} & set(operands[:1]) and any(
        text.startswith(("-x", "--extcmd", "--tool=", "-t")) for text in act.texts
    ):
        return True
    if operands[:1] in (["instaweb"], ["hook"], ["for-each-repo"], ["send-email"]):
        return True
    return any(name_of(word) in RISKY for word in act.operands()[1:]) and bool(
        {"bisect", "submodule", "filter-branch", "credential", "remote-ext"} & set(operands[:1])
    )
