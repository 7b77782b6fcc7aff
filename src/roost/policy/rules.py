"""Rules of people on tool calls, and whether a rule applies to a call."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import msgspec

from roost.errors import ConfigError
from roost.policy.command import Analysis, Category
from roost.policy.globs import could_match
from roost.validated import Validated
from roost.workspace.files import Held
from roost.workspace.pattern import BadPattern, matcher, plain_parts

Effect: TypeAlias = Literal["allow", "ask", "deny"]
Access: TypeAlias = Literal["any", "read", "write"]
Answer: TypeAlias = Literal["yes", "maybe", "no"]
_WILD = re.compile(r"[*?\[{]")
_LOOKED = 512
"""Most names in a folder, read as a whole, that are compared with a rule."""


class Touches(msgspec.Struct, frozen=True, kw_only=True):
    """Effects of a call, as far as its arguments tell. Paths are real: links resolved, no `..`.

    removes: the `writes` that disappear from their place, with their content. loses: existing files that are removed or
    overwritten. edits: files changed in place. links: the `writes` that only get another name. below: folders read with
    their whole content. picked: folders of which an unknown part is read. named: words that may be names of files that
    are read. read_patterns, write_patterns: absolute shell patterns, which may match more than exists now. unknown: it
    may touch more, known only when it runs. command: analysis of a shell command. hosts: machines that it contacts.
    outside: it has an effect beyond the workspace (a message, a request). agent: name of the agent that it calls.
    fault: why the tool could not tell its effects; the gate denies such a call.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    removes: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    picked: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    loses: tuple[str, ...] = ()
    edits: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    read_patterns: tuple[str, ...] = ()
    write_patterns: tuple[str, ...] = ()
    unknown: bool = False
    command: Analysis | None = None
    hosts: tuple[str, ...] = ()
    outside: bool = False
    agent: str | None = None
    fault: str | None = None

    def paths(self, access: Access) -> tuple[str, ...]:
        match access:
            case "read":
                return self.reads
            case "write":
                return self.writes
            case "any":
                return self.reads + self.writes

    def patterns(self, access: Access) -> tuple[str, ...]:
        match access:
            case "read":
                return self.read_patterns
            case "write":
                return self.write_patterns
            case "any":
                return self.read_patterns + self.write_patterns


class Rule(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """A rule. It applies to a call that matches all its fields. To allow, everything that the call touches must match;
    to ask or deny, one match is enough."""

    effect: Effect
    """What it decides."""
    tool: str = "*"
    """Glob of the tool's name."""
    path: str | None = None
    """Glob of real paths: `**` for any folders, relative ones start at the workspace, `~` is the user's home."""
    access: Access = "any"
    """The access to `path` that it is about."""
    command: str | None = None
    """Glob of a program's name, optionally with the words after it (`npm test`), or `category:` and a danger of
    `roost.policy.command`. To allow, a name without `/` is the program on the search path, never one in the
    workspace."""
    host: str | None = None
    """Glob of a host."""
    reason: str = ""
    """Why, for the model and for people."""

    def __post_init__(self) -> None:
        if self.path is not None:
            try:
                _test(self.path, "/")
            except BadPattern as error:
                raise ConfigError(f"the rule's path {self.path!r}: {error}") from error
        kind, _, category = (self.command or "").partition(":")
        if kind == "category" and category and not any(fnmatchcase(known, category) for known in get_args(Category)):
            raise ConfigError(f"there is no category {category!r}; there are {', '.join(get_args(Category))}")

    @property
    def of_any_call(self) -> bool:
        """Whether it may apply to a call of which only the tool is known."""
        return self.path is None and self.command is None and self.host is None

    @property
    def of_known_paths(self) -> bool:
        """Whether it only asks about or denies paths that do not depend on the workspace."""
        only = self.path is not None and self.command is None and self.host is None and self.effect != "allow"
        return only and self.path is not None and self.path[:1] in ("/", "~")

    @property
    def shown(self) -> str:
        named = {"tool": self.tool, "path": self.path, "command": self.command, "host": self.host}
        said = " ".join(f"{name}={value}" for name, value in named.items() if value not in (None, "*"))
        return f"{self.effect} {said}".strip()


@lru_cache(maxsize=1024)
def needles(pattern: str) -> tuple[str, ...]:
    """Return lower-case strings of an absolute path pattern; a path that contains none of them does not match. Raises
    `BadPattern`."""
    absolute = os.path.expanduser(pattern)
    ways = (way.casefold().strip("/") or "**" for way in (absolute, _resolved(absolute)))
    return tuple(dict.fromkeys(each for way in ways for each in plain_parts(way)))


@lru_cache(maxsize=1024)
def _test(pattern: str, root: str, *, strict: bool = False) -> Callable[[str], bool]:
    """Compile a pattern into a test for real paths. The part before the first wildcard may contain links. strict:
    ignore case, as some file systems do, so that no other spelling evades the rule. Raises `BadPattern`."""
    text = os.path.expanduser(pattern)
    absolute = text if text.startswith("/") else f"{root.rstrip('/')}/{text}"
    ways = (absolute, _resolved(absolute))
    tests = [_one(each) for each in dict.fromkeys(way.casefold() if strict else way for way in ways)]
    if strict:
        return lambda path: any(test(folded) for folded in (path.casefold(),) for test in tests)
    return tests[0] if len(tests) == 1 else lambda path: any(test(path) for test in tests)


def _one(pattern: str) -> Callable[[str], bool]:
    """Compile one pattern. Its literal prefix and suffix are compared first: most paths differ there."""
    fits = matcher(pattern.strip("/") or "**")
    begin = _WILD.split(pattern, maxsplit=1)[0]
    tail = pattern.rstrip("/").rpartition("/")[2]
    end = "" if _WILD.search(tail) or tail == "" else "/" + tail
    begin = begin.rstrip("/") if begin == pattern or pattern[len(begin) :].startswith("**") else begin
    return lambda path: path.startswith(begin) and path.endswith(end) and fits(path.strip("/"))


def _resolved(pattern: str) -> str:
    folder = _WILD.split(pattern, maxsplit=1)[0].rpartition("/")[0] if _WILD.search(pattern) else pattern
    return os.path.realpath(folder) + pattern[len(folder) :] if folder.strip("/") else pattern


def speaks(rule: Rule, tool: str, touches: Touches, root: Path) -> Answer:
    """Whether a rule applies to a call of `tool` in the workspace `root`. maybe: it depends on unknown facts."""
    if not fnmatchcase(tool, rule.tool):
        return "no"
    answers = [*_path(rule, touches, root), *_command(rule, touches.command, root), *_host(rule, touches)]
    return "no" if "no" in answers else "maybe" if "maybe" in answers else "yes"


def _path(rule: Rule, touches: Touches, root: Path) -> list[Answer]:
    if rule.path is None:
        return []
    # Use "/" where the root does not matter: the system's rules are then compiled once, not once per workspace.
    test = _test(rule.path, "/" if rule.path[:1] in ("/", "~") else str(root), strict=rule.effect != "allow")
    paths = touches.paths(rule.access)
    if rule.effect == "allow":
        sure = not touches.unknown and not touches.patterns(rule.access)
        return ["yes" if paths and sure and all(map(test, paths)) else "no"]
    if any(map(test, paths)) or (rule.access != "write" and any(map(test, touches.named))):
        return ["yes"]
    if any(_may_match(pattern, rule.path, str(root)) for pattern in touches.patterns(rule.access)):
        return ["yes"]
    place = "/" if rule.path[:1] in ("/", "~") else str(root)
    found: set[Answer] = set()
    if rule.access != "write" and (touches.below or touches.picked):
        found |= {_inside(rule.path, place, folder) for folder in touches.below}
        if "yes" not in found and "yes" in {_inside(rule.path, place, folder) for folder in touches.picked}:
            named = place == "/" and any(within(anchor(rule.path, "/"), folder) for folder in touches.picked)
            found.add("yes" if named else "maybe")
    return ["yes" if "yes" in found else "maybe" if touches.unknown or "maybe" in found else "no"]


def _may_match(pattern: str, path: str, root: str) -> bool:
    return any(could_match(pattern, way) for way in _ways("/" if path[:1] in ("/", "~") else root, path))


@lru_cache(maxsize=1024)
def _ways(root: str, path: str) -> tuple[str, ...]:
    absolute = os.path.join(root, os.path.expanduser(path))
    return tuple({absolute, _resolved(absolute)})


def anchor(pattern: str, root: str) -> str:
    """Return the real folder that contains all matches: the part before the first wildcard."""
    return _anchor(os.path.join(root, os.path.expanduser(pattern)))


@lru_cache(maxsize=1024)
def _anchor(absolute: str) -> str:
    plain = _WILD.split(absolute, maxsplit=1)[0]
    return os.path.realpath(plain if plain == absolute else plain.rpartition("/")[0] or "/")


def _inside(pattern: str, root: str, folder: str) -> Answer:
    """Whether a path in `folder` matches. maybe: there are too many to look at."""
    begin = anchor(pattern, root)
    if not within(begin, folder):
        begin = folder
        if not within(folder, anchor(pattern, root)):
            return "no"
    test = _test(pattern, root, strict=True)
    for looked, path in enumerate(_all_below(begin)):
        if test(path):
            return "yes"
        if looked == _LOOKED:
            return "maybe"
    return "no"


def _all_below(begin: str) -> Iterator[str]:
    """Yield `begin`, if it exists, and its content one by one: a folder may hold more than there is time for."""
    waiting = [begin] if os.path.lexists(begin) else []
    yield from waiting
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    yield entry.path
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue  # a file, or an unreadable folder


def within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _command(rule: Rule, command: Analysis | None, root: Path) -> list[Answer]:
    if rule.command is None:
        return []
    if command is None:
        return ["no"]
    kind, _, category = rule.command.partition(":")
    if kind == "category" and category:
        named = any(fnmatchcase(finding.category, category) for finding in command.findings)
        return ["yes" if named else "maybe" if command.unclear and rule.effect != "allow" else "no"]
    if rule.effect == "allow":
        return ["yes" if allowed_by((rule.command,), command, command.calls, root) else "no"]
    words = rule.command.split() or [rule.command]
    named = any(fnmatchcase(name, words[0]) for name in command.programs) and any(
        _has(words, call) for call in command.calls
    )
    return ["yes" if named else "maybe" if command.unclear else "no"]


def _has(words: Sequence[str], call: tuple[str, ...]) -> bool:
    """Whether the words of an asking or denying rule occur in a call in this order, with any words between."""
    if not fnmatchcase(call[0].rsplit("/", 1)[-1].removesuffix(".exe"), words[0]):
        return False
    rest = iter(call[1:])
    return all(any(fnmatchcase(word, wanted) for word in rest) for wanted in words[1:])


def allowed_by(prefixes: Sequence[str], command: Analysis, calls: Sequence[tuple[str, ...]], root: Path) -> bool:
    """Whether each of these calls starts with the words of a prefix. False if the command is not understood, has a
    known danger, or sets variables that may change what it does. A bare name is the program on the search path outside
    the workspace."""
    if not calls or command.unclear or command.findings or set(command.variables) - _SAYING:
        return False
    wanted = [prefix.split() for prefix in prefixes]
    return all(any(words and _begins(words, call, str(root)) for words in wanted) for call in calls)


def _begins(words: Sequence[str], call: tuple[str, ...], root: str) -> bool:
    if len(call) < len(words) or not all(map(fnmatchcase, call[1:], words[1:])):
        return False
    if "/" in words[0]:
        return fnmatchcase(call[0], words[0])
    folder, _, name = call[0].rpartition("/")
    if not fnmatchcase(name, words[0]):
        return False
    return _is_found(name, root) if not folder else folder in _PROGRAMS


_SAYING = frozenset("CI DEBUG NODE_ENV PYTHONUNBUFFERED RUST_BACKTRACE".split())
"""Variables that do not change what an allowed command does."""
_PROGRAMS = tuple(f"{place}/{kind}" for place in ("", "/usr", "/usr/local") for kind in ("bin", "sbin"))


def _is_found(name: str, root: str) -> bool:
    """Whether no search path entry finds the name in the workspace, where the agent may have put it."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if not folder.startswith("/"):
            return False
        if within(os.path.realpath(folder), root) and os.path.lexists(os.path.join(folder, name)):
            return False
    return True


def _host(rule: Rule, touches: Touches) -> list[Answer]:
    if rule.host is None:
        return []
    hosts = [host.lower() for host in touches.hosts]
    fits = [fnmatchcase(host, rule.host.lower()) for host in hosts]
    if rule.effect == "allow":
        return ["yes" if hosts and all(fits) else "no"]
    return ["yes" if any(fits) else "maybe" if touches.unknown else "no"]


def held_back(
    layers: Sequence[Sequence[Rule]], tool: str, root: Path, searched: str
) -> Callable[[str], Held | None] | None:
    """Return a test that tells a search which files to leave out, or None if no rule excludes any.

    For a search by `tool` below the real path `searched`, which is already allowed. The test returns the effect, ask or
    deny, of the first layer whose rules apply to a file. Rules that match `searched` itself have been answered
    already."""
    tests: list[list[tuple[Effect, Callable[[str], bool]]]] = []
    for rules in layers:
        known: list[tuple[Effect, Callable[[str], bool]]] = []
        for rule in rules:
            plain = rule.path is not None and rule.command is None and rule.host is None and rule.access != "write"
            if not plain or rule.path is None or not fnmatchcase(tool, rule.tool):
                continue
            place = "/" if rule.path[:1] in ("/", "~") else str(root)
            test = _test(rule.path, place, strict=rule.effect != "allow")
            if rule.effect == "allow" or not test(searched):
                known.append((rule.effect, test))
        tests.append(sorted(known, key=lambda one: ("deny", "ask", "allow").index(one[0])))
    if all(effect == "allow" for known in tests for effect, _ in known):
        return None

    def held(path: str) -> Held | None:
        for known in tests:
            for effect, test in known:
                if test(path):
                    return None if effect == "allow" else effect
        return None

    return held


def decide(
    rules: Sequence[Rule], tool: str, touches: Touches, root: Path, *, wary: bool = True
) -> tuple[Effect, Rule] | None:
    """Return the strictest applicable rule of one layer. wary: rules that only may apply count as well, at most as
    `ask`."""
    allowed: Rule | None = None
    asked: Rule | None = None
    for rule in rules:
        answer = speaks(rule, tool, touches, root)
        if answer == "no" or (answer == "maybe" and not wary):
            continue
        if rule.effect == "deny" and answer == "yes":
            return "deny", rule
        if rule.effect == "allow":
            allowed = allowed or rule
        else:
            asked = asked or rule
    return ("ask", asked) if asked else ("allow", allowed) if allowed else None
