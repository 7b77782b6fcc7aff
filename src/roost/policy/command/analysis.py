"""Analyse a command line: its programs, their dangers, the paths and hosts that it names."""

from __future__ import annotations

import itertools
import posixpath
import re
from functools import lru_cache

from roost.policy.command import (
    code_execution,
    effects,
    file_effects,
    nested_commands,
    output_options,
    read_only_programs,
    scripts,
)
from roost.policy.command.findings import Acts, Found
from roost.policy.command.read_only_programs import names_files
from roost.policy.command.scope import from_start
from roost.policy.command.shell_words import GAP, Word
from roost.policy.command.simple_commands import Line, Simple, read
from roost.policy.command.tables import GLOBBING, HARMLESS_TARGETS, INSTALLERS, READERS, SCRIPTED, WRITERS
from roost.policy.command.verdict import Analysis, Finding
from roost.policy.command.work import TOO_MUCH, TooMuch
from roost.policy.command.wrappers import inner_of, module_of, name_of

_DEEPEST = 6
MOST_SAID = 12
"""Words of each call that are kept, for rules that name a prefix."""
_PARTS = re.compile(r"[=@,]")
_TAKES_NEXT = re.compile(r"-[A-Za-z]*[oOCGgUuptsqk]|--[a-z-]+|[A-Za-z]*[oOkUptq]")
_BLANK = re.compile(r"\s")
_URL = re.compile(r"(?:https?|ftps?|git|ssh|wss?)://(?:[^/@\s]*@)?([^/:\s\"'?#]+)", re.IGNORECASE)


def analyse(text: str, root: str = "", *, wary: bool = False) -> Analysis:
    """Analyse a line; contract of `roost.policy.command.analyse`."""
    found = Found(root, wary=wary)
    try:
        _look(text, found, 0)
    except TooMuch:
        found.unclear.append(TOO_MUCH)
    for texts in (*found.paths_of_all(), found.reached):
        texts[:] = [from_start(path) for path in texts]
    clear = not found.unclear and not found.findings
    return Analysis(
        programs=tuple(dict.fromkeys(found.programs)),
        findings=_findings(text, found),
        network=tuple(dict.fromkeys(found.network)),
        loses=tuple(dict.fromkeys(found.loses)),
        edits=tuple(dict.fromkeys(found.edits)),
        links=tuple(dict.fromkeys(found.links)),
        paths=tuple(dict.fromkeys(found.paths)),
        writes=tuple(dict.fromkeys(found.writes)),
        removes=tuple(dict.fromkeys(found.removes)),
        below=tuple(dict.fromkeys(found.below)),
        picked=tuple(dict.fromkeys(found.picked)),
        hosts=tuple(dict.fromkeys(found.hosts)),
        installs=tuple(dict.fromkeys(found.installs)),
        unclear=tuple(dict.fromkeys(found.unclear)),
        named=tuple(dict.fromkeys(found.named)),
        calls=tuple(dict.fromkeys(found.calls)),
        doing=tuple(dict.fromkeys(found.doing)),
        reached=tuple(dict.fromkeys(found.reached)),
        variables=tuple(dict.fromkeys(found.variables)),
        redirected=tuple(dict.fromkeys(found.redirected)),
        elsewhere=found.elsewhere,
        read_only=clear and found.only_reads and not found.writes and not found.installs,
    )


def _findings(text: str, found: Found) -> tuple[Finding, ...]:
    """Return the findings with positions in characters: the syntax tree counts bytes."""
    source = text.encode(errors="replace")

    @lru_cache(maxsize=64)
    def place(at: int | None) -> int | None:
        return None if at is None else len(source[:at].decode(errors="replace"))

    each = dict.fromkeys(found.findings)
    return tuple(Finding(kind, why, shown, place(start), place(end)) for kind, why, shown, start, end in each)  # pyright: ignore[reportArgumentType]


def _look(text: str, found: Found, depth: int, folders: tuple[str, ...] = ("",)) -> None:
    if depth > _DEEPEST:
        found.unclear.append("commands within commands go too deep")
        return
    found.depth = depth
    if depth:
        found.judging.spend(1 + len(text) // 32)  # cost of the parser
    line = read(text, folders, root=found.root, wary=found.wary, work=found.reading)
    if (socket := code_execution.SOCKET.search(text)) is not None:
        found.add("reverse_shell", "it opens a connection through the shell", socket[0])
    found.unclear += line.unclear
    found.only_reads = found.only_reads and not line.evaluates
    found.reached += line.reached
    if not line.commands and not line.unclear and text.strip():
        found.only_reads = found.only_reads and text.lstrip().startswith("#")
    for simple in line.commands:
        found.folders, found.aside = simple.folders, ()
        since = found.mark()
        for redirect in simple.redirects:
            found.judging.spend()
            file_effects.redirected(redirect, Acts(simple, simple.words).shown or "a group of commands", found)
            effects.redirected(redirect, found)
            if redirect.writes and redirect.target.text not in HARMLESS_TARGETS:
                found.redirected.append(redirect.target.text)
        found.settle(since, simple.folders)
        for act in _acts(simple, line):
            _act(act, found, depth)
    code_execution.across(line, found)


def _act(act: Acts, found: Found, depth: int) -> None:
    found.judging.spend(3 + len(act.words) + sum(len(feed.words) // 4 for feed in act.simple.feeds))
    led = output_options.folders(act)
    if led:
        found.aside = tuple(posixpath.join(base, *led) for base in found.there)
    since = found.mark()
    _note(act, found)
    _patterns(act, found)
    file_effects.judge(act, found)
    output_options.judge(act, found)
    effects.judge(act, found)
    for redirect in scripts.judge(act, found):
        effects.redirected(redirect, found)
        file_effects.redirected(redirect, act, found)
    whole = not led or act.name in output_options.GOES_THERE
    found.settle(since, found.there if whole else tuple(dict.fromkeys((*found.folders, *found.there))))
    _inner(act, found, depth)
    reads = read_only_programs.reads(act)
    found.only_reads = found.only_reads and reads
    if act.words and not reads and act.name not in act.functions:
        found.doing.append(_said(act.words))
        found.elsewhere = found.elsewhere or found.there != ("",)


def _inner(act: Acts, found: Found, depth: int) -> None:
    codes = code_execution.judge(act, found)
    maybe = nested_commands.judge(act, found)
    if act.through is not None and " " in act.words[0].text.strip():
        codes = [*codes, " ".join(word.text for word in act.words).replace("{}", "'..'")]
    if not codes and not maybe:
        return
    folders, aside, there = found.folders, found.aside, found.there
    for code in codes:
        _look(code, found, depth + 1, there)
    found.depth = depth
    found.folders, found.aside = folders, aside
    for text in maybe:
        inside = Found(found.root)
        inside.reading, inside.judging = found.reading, found.judging
        _look(text, inside, depth + 1, there)
        if inside.findings or nested_commands.RISKY & set(inside.programs):
            found.unclear.append(f"{act.name} may run what is among its words")


def _acts(simple: Simple, line: Line) -> list[Acts]:
    """Return the command and those that it runs through wrappers, outermost first."""
    known = frozenset(line.functions)
    acts = [Acts(simple, simple.words, known)]
    for act in acts:
        if len(acts) > 32:
            break
        acts += [Acts(simple, words, known, act) for words in inner_of(act.words)]
    return acts


def _patterns(act: Acts, found: Found) -> None:
    if "GLOBIGNORE" in act.simple.assigns or (act.name == "shopt" and GLOBBING & set(act.texts)):
        found.unclear.append("it changes what patterns match")


def _note(act: Acts, found: Found) -> None:
    words = act.words
    for name, word in act.simple.assigns.items():
        found.hosts += _URL.findall(word.text)
        if name.isupper() and "/" in word.text:
            found.paths.append(word.text)
    found.variables += read_only_programs.deciding(act)
    if not words:
        return
    name = act.name
    if GAP in name or (words[0].globs and name not in ("[", "[[")):
        found.unclear.append("which program runs is known only to the shell")
    elif name not in act.functions:
        found.programs.append(name)
        found.calls.append(_said(words))
    meant = module_of(words)
    orders = INSTALLERS.get(name_of(meant[0]))
    if orders is not None and (not orders or any(word.text in orders for word in meant[1:])):
        found.installs.append(act.shown)
    if name == "git" and any(not word.known for word in act.operands()[:1]):
        found.unclear.append("what git is told to do is known only to the shell")
    if name == "ps" and _shows_environment(act.texts):
        found.paths.append("/proc/1/environ")
    for word in words[1:]:
        found.paths += _paths(name, word)
        found.hosts += _URL.findall(word.text)
    if names_files(act):
        _named(act, found)


def _shows_environment(texts: list[str]) -> bool:
    """Whether options of `ps` show environments: the letter `e` without a dash, `-E`, or the column `environ`."""
    given = ["", *texts]
    return any(
        "environ" in text
        or re.fullmatch(r"-[A-Za-z]*E[A-Za-z]*", text) is not None
        or (re.fullmatch(r"[A-Za-z]*e[A-Za-z]*", text) is not None and not _TAKES_NEXT.fullmatch(before))
        for before, text in itertools.pairwise(given)
    )


def _said(words: tuple[Word, ...]) -> tuple[str, ...]:
    return tuple(from_start(word.text) for word in words[:MOST_SAID])


def _named(act: Acts, found: Found) -> None:
    """Collect words that may be files, though their form does not show it."""
    script = act.operands()[:1] if act.name in SCRIPTED else []
    for word in act.words[1:]:
        if word.stream or any(word is one for one in script):
            continue
        if not word.known:
            found.unclear.append(f"what {act.name} is given is known only to the shell")
            continue
        parts = [word.text, *(_PARTS.split(word.text)[1:])]
        if act.name == "git" and ":" in word.text:
            parts.append(word.text.rpartition(":")[2])
        found.named += [part for part in parts if part and len(part) < 256 and not _BLANK.search(part)]


def _paths(program: str, word: Word) -> list[str]:
    text = word.text
    if text.startswith("-"):
        glued = text[1:2] != "-" and ("/" in text or text[2:3] in (".", "~", "@"))
        short = text[2:] if glued else ""  # -fPATH
        text = text.partition("=")[2] or short
    elif program == "dd":
        text = text.partition("=")[2] or text
    text = text.removeprefix("@")
    value = text.partition("=")[2]
    if value and not word.globs and ("/" in text or value.startswith((".", "~", "@", "<"))):  # name=PATH, name=@PATH
        return [text, value.lstrip("@<")]
    if "://" in text:
        text = text[7:] if text.lower().startswith("file://") else ""
    if not text:
        return []
    if word.globs:
        return [re.split(r"[*?\[{]", text)[0].rpartition("/")[0] or ".", text + GAP]
    named = program in READERS or program in WRITERS or program == "dd"
    if named or "/" in text or text.startswith((".", "~")) or GAP in text:
        return [text]
    return []
