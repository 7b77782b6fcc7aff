"""What a command line would do: its programs, the dangers in it, the paths and hosts that it names."""

from __future__ import annotations

import posixpath
import re

from roost.policy.command import files, harmless, hidden, outputs, running, scripts
from roost.policy.command.answer import Analysis, Finding
from roost.policy.command.found import Acts, Found
from roost.policy.command.lines import Line, Simple, read
from roost.policy.command.tables import INSTALLERS, READERS, WRITERS
from roost.policy.command.unwrap import inner_of, name_of
from roost.policy.command.words import GAP, Word

_DEEPEST = 6
_URL = re.compile(r"(?:https?|ftps?|git|ssh|wss?)://(?:[^/@\s]*@)?([^/:\s\"'?#]+)", re.IGNORECASE)


def analyse(text: str) -> Analysis:
    """Looks at a line for a POSIX shell or bash; runs nothing and touches no file. Raises nothing."""
    found = Found()
    _look(text, found, 0)
    clear = not found.unclear and not found.findings
    return Analysis(
        programs=tuple(dict.fromkeys(found.programs)),
        findings=tuple(Finding(*each) for each in dict.fromkeys(found.findings)),  # pyright: ignore[reportArgumentType]
        paths=tuple(dict.fromkeys(found.paths)),
        writes=tuple(dict.fromkeys(found.writes)),
        removes=tuple(dict.fromkeys(found.removes)),
        below=tuple(dict.fromkeys(found.below)),
        picked=tuple(dict.fromkeys(found.picked)),
        hosts=tuple(dict.fromkeys(found.hosts)),
        installs=tuple(dict.fromkeys(found.installs)),
        unclear=tuple(dict.fromkeys(found.unclear)),
        read_only=clear and found.only_reads and not found.writes and not found.installs,
    )


def _look(text: str, found: Found, depth: int) -> None:
    if depth > _DEEPEST:
        found.unclear.append("commands within commands go too deep")
        return
    line = read(text)
    if (socket := running.SOCKET.search(text)) is not None:
        found.add("reverse_shell", "it opens a connection through the shell", socket[0])
    found.unclear += line.unclear
    if not line.commands and not line.unclear and text.strip():
        found.only_reads = found.only_reads and text.lstrip().startswith("#")
    for simple in line.commands:
        found.aside = ""
        for act in _acts(simple, line):
            _act(act, found, depth)
    paths, writes = len(found.paths), len(found.writes)
    for redirect in line.redirects:
        files.redirected(redirect, "a group of commands", found)
    found.also_there(found.paths, paths)
    found.also_there(found.writes, writes)
    running.across(line, found)


def _act(act: Acts, found: Found, depth: int) -> None:
    found.aside = posixpath.join(found.aside, *outputs.folders(act))
    paths, writes = len(found.paths), len(found.writes)
    removes, below, picked = len(found.removes), len(found.below), len(found.picked)
    _note(act, found)
    files.judge(act, found)
    outputs.judge(act, found)
    for redirect in scripts.judge(act, found):
        files.redirected(redirect, act, found)
    found.also_there(found.paths, paths)
    found.also_there(found.writes, writes)
    found.also_there(found.removes, removes)
    found.also_there(found.below, below)
    found.also_there(found.picked, picked)
    _inner(act, found, depth)
    found.moved(act)
    found.only_reads = found.only_reads and harmless.reads(act)


def _inner(act: Acts, found: Found, depth: int) -> None:
    folder, aside = found.folder, found.aside
    codes = running.judge(act, found)
    maybe = hidden.judge(act, found)
    if act.through is not None and " " in act.words[0].text.strip():
        codes = [*codes, " ".join(word.text for word in act.words).replace("{}", "'..'")]
    if not codes and not maybe:
        return
    there = found.folder = found.there
    for code in codes:
        _look(code, found, depth + 1)
    found.folder, found.aside = folder if found.folder == there else found.folder, aside
    for text in maybe:
        inside = Found()
        _look(text, inside, depth + 1)
        if inside.findings or hidden.RISKY & set(inside.programs):
            found.unclear.append(f"{act.name} may run what is among its words")


def _acts(simple: Simple, line: Line) -> list[Acts]:
    """The command and those that it runs through wrappers, each on its own, the outermost first."""
    known = frozenset(line.functions)
    acts = [Acts(simple, simple.words, known)]
    for act in acts:
        if len(acts) > 32:
            break
        acts += [Acts(simple, words, known, act) for words in inner_of(act.words)]
    return acts


def _note(act: Acts, found: Found) -> None:
    words = act.words
    if words:
        name = name_of(words[0])
        if GAP in name:
            found.unclear.append("which program runs is known only to the shell")
        elif name not in act.functions:
            found.programs.append(name)
        if name in INSTALLERS and (not INSTALLERS[name] or any(word.text in INSTALLERS[name] for word in words[1:])):
            found.installs.append(act.shown)
    for word in words[1:]:
        found.paths += _paths(name_of(words[0]), word)
        found.hosts += _URL.findall(word.text)
    for name, word in act.simple.assigns.items():
        found.hosts += _URL.findall(word.text)
        if name.isupper() and "/" in word.text:
            found.paths.append(word.text)


def _paths(program: str, word: Word) -> list[str]:
    text = word.text
    if text.startswith("-"):
        short = text[2:] if text[1:2] != "-" and "/" in text else ""  # -fPATH
        text = text.partition("=")[2] or short
    elif program == "dd":
        text = text.partition("=")[2] or text
    text = text.removeprefix("@")
    if "=" in text and "/" in text and not word.globs:  # name=PATH, name=@PATH
        return [text, text.partition("=")[2].removeprefix("@")]
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
