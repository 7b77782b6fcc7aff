"""Load `policy.toml`: the home's may hold every section, a project's only rules that ask or deny."""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias, cast

import msgspec
from msgspec import Meta

from roost.errors import ConfigError
from roost.policy.guardrails import Guard, LengthGuard, PatternGuard, Side
from roost.policy.hooks import MOMENTS, Hook, ShellHook, When
from roost.policy.rules import Rule
from roost.policy.system_rules import PROJECT_FILE
from roost.policy.vault import SecretSource
from roost.providers.toml_file import parsed
from roost.sandbox.choose import BACKENDS, Settings

FILE = "policy.toml"
_MAX_BYTES = 256 * 1024
_Moment: TypeAlias = Annotated[float, Meta(gt=0, le=3600)]
_Wait: TypeAlias = Annotated[float, Meta(gt=0, le=10 * 366 * 86400)]
_Word: TypeAlias = Annotated[str, Meta(min_length=1)]


class Approvals(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """seconds: time after which an unanswered approval counts as rejected; None = never."""

    seconds: _Wait | None = None


class Classifier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that judges calls which the gate allows, except read-only ones and those that a person's rule allows.
    Without an answer within `seconds`, a person is asked."""

    model: str
    seconds: _Moment = 15.0
    advice: str = ""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions of the person who runs Roost, beside the agents' definitions."""

    rules: tuple[Rule, ...] = ()
    hooks: tuple[Hook, ...] = ()
    guardrails: tuple[Guard, ...] = ()
    approvals: Approvals = Approvals()
    classifier: Classifier | None = None
    secrets: Mapping[str, SecretSource] = {}
    sandbox: Settings = Settings()


class _HookEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    on: Annotated[tuple[When, ...], Meta(min_length=1)]
    command: Annotated[tuple[_Word, ...], Meta(min_length=1)]
    name: _Word | None = None
    tool: _Word = "*"
    seconds: _Moment = 10.0


class _GuardEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    on: Annotated[tuple[Side, ...], Meta(min_length=1)]
    name: _Word | None = None
    pattern: _Word | None = None
    max_length: Annotated[int, Meta(ge=1)] | None = None
    reason: str = ""


_Kind: TypeAlias = type[msgspec.Struct]
_LISTS: dict[str, _Kind] = {"rules": Rule, "hooks": _HookEntry, "guardrails": _GuardEntry}
_TABLES: dict[str, _Kind] = {"approvals": Approvals, "classifier": Classifier, "sandbox": Settings}


def load_policy(path: Path) -> Policy:
    """Load the home's policy; empty if the file does not exist. Raises `ConfigError`, which names the file, the line
    and the fix. Blocks for a moment."""
    found = _File.read(path)
    if found is None:
        return Policy()
    found.known((), found.data, (*_LISTS, *_TABLES, "secrets"))
    lists = {name: found.list(name, kind) for name, kind in _LISTS.items()}
    tables = {name: found.table(name, kind) for name, kind in _TABLES.items() if name in found.data}
    return Policy(
        rules=tuple(cast("list[Rule]", lists["rules"])),
        hooks=tuple(_hooks(found, cast("list[_HookEntry]", lists["hooks"]))),
        guardrails=tuple(_guards(found, cast("list[_GuardEntry]", lists["guardrails"]))),
        approvals=cast("Approvals", tables.get("approvals", Approvals())),
        classifier=cast("Classifier | None", tables.get("classifier")),
        secrets=_secrets(found),
        sandbox=_sandbox(found, cast("Settings", tables.get("sandbox", Settings()))),
    )


def load_project(folder: Path, home: Path) -> tuple[Rule, ...]:
    """Load the rules of a project's folder; none if it contains Roost's home, whose rules are the user's. An unusable
    file becomes a rule that asks about every call, with the error as reason, because it may be meant to forbid. Blocks
    for a moment."""
    path = folder / PROJECT_FILE
    if os.path.realpath(path.parent) == os.path.realpath(home):
        return ()
    try:
        found = _File.read(path)
        if found is None:
            return ()
        found.known((), found.data, ("rules",))
        rules = cast("list[Rule]", found.list("rules", Rule))
        for place, rule in enumerate(rules):
            if rule.effect == "allow":
                raise found.wrong(("rules", place, "effect"), "a project's policy may only ask or deny")
    except ConfigError as error:
        return (Rule(effect="ask", reason=f"the project's policy cannot be used: {error.message}"),)
    return tuple(rules)


def _hooks(found: _File, entries: Sequence[_HookEntry]) -> list[Hook]:
    """Make the hooks, each with a unique name."""
    hooks: list[Hook] = []
    taken = {entry.name for entry in entries if entry.name is not None}
    if len(taken) < sum(entry.name is not None for entry in entries):
        raise found.wrong(("hooks",), "two have the same name; give each its own")
    for place, entry in enumerate(entries):
        hook = ShellHook(
            entry.command,
            on=entry.on,
            folder=found.path.parent,
            tool=entry.tool,
            seconds=entry.seconds,
            name=entry.name,
        )
        if entry.name is None and hook.name in taken:
            hook.name = f"{hook.name} ({place + 1})"
        taken.add(hook.name)
        hooks.append(hook)
    return hooks


def _sandbox(found: _File, settings: Settings) -> Settings:
    for name in settings.backends or ():
        if name not in BACKENDS:
            known = ", ".join(BACKENDS)
            raise found.wrong(("sandbox", "backends"), f"there is no backend {name!r}; there are {known}")
    return settings


def _guards(found: _File, entries: Sequence[_GuardEntry]) -> list[Guard]:
    guards: list[Guard] = []
    for place, entry in enumerate(entries):
        if (entry.pattern is None) == (entry.max_length is None):
            raise found.wrong(("guardrails", place), "give either a pattern or a max_length")
        name = entry.name or f"guardrail {place + 1}"
        if entry.max_length is not None:
            guards.append(LengthGuard(entry.max_length, on=entry.on, name=name, reason=entry.reason))
            continue
        try:
            guards.append(PatternGuard(entry.pattern or "", on=entry.on, name=name, reason=entry.reason))
        except re.error as error:
            raise found.wrong(("guardrails", place, "pattern"), f"not a regular expression: {error}") from error
    return guards


def _secrets(found: _File) -> dict[str, SecretSource]:
    given: object = found.data.get("secrets", {})
    if not isinstance(given, dict):
        raise found.wrong(("secrets",), "must be tables, as in [secrets.GITHUB]")
    sources: dict[str, SecretSource] = {}
    for name, entry in cast("dict[str, Any]", given).items():
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", name):
            raise found.wrong(("secrets", name), "a secret's name has letters, digits and ._- (at most 128)")
        sources[name] = cast("SecretSource", found.convert(("secrets", name), entry, SecretSource))
    return sources


def _opened(path: str, flags: int) -> int:
    """Open a regular file without blocking; anything else cannot hold a policy."""
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ConfigError(f"{path} is not a file")
    return handle


class _File(msgspec.Struct, frozen=True):
    path: Path
    text: str
    data: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> _File | None:
        try:
            with open(path, "rb", opener=_opened) as file:
                raw = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            if path.is_symlink():
                raise ConfigError(f"{path} is a link that leads nowhere") from None
            return None
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from error
        return cls(*parsed(path, raw, _MAX_BYTES))

    def list(self, name: str, kind: _Kind) -> list[msgspec.Struct]:
        given: object = self.data.get(name, [])
        if not isinstance(given, list):
            raise self.wrong((name,), f"must be a list of tables, as in [[{name}]]")
        return [self.convert((name, place), entry, kind) for place, entry in enumerate(cast("list[Any]", given))]

    def table(self, name: str, kind: _Kind) -> msgspec.Struct:
        return self.convert((name,), self.data[name], kind)

    def convert(self, place: Sequence[str | int], given: object, kind: _Kind) -> msgspec.Struct:
        if not isinstance(given, dict):
            raise self.wrong(place, "must be a table")
        fields = cast("dict[str, Any]", given)
        self.known(place, fields, tuple(field.encode_name for field in msgspec.structs.fields(kind)))
        try:
            return msgspec.convert(fields, kind)
        except msgspec.ValidationError as error:
            what, _, where = str(error).partition(" - at `$")
            field = re.match(r"\.(\w+)", where)
            more = (
                f". The moments are {', '.join(MOMENTS)}" if kind is _HookEntry and field and field[1] == "on" else ""
            )
            what = what[:1].lower() + what[1:].replace("`", "") + more
            raise self.wrong((*place, *([field[1]] if field else [])), what) from error
        except ConfigError as error:
            raise self.wrong(place, error.message) from error

    def known(self, place: Sequence[str | int], given: Mapping[str, Any], known: Sequence[str]) -> None:
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"; did you mean {near[0]!r}?" if near else "."
                raise self.wrong((*place, name), f"unknown field{hint} The known ones are {', '.join(known)}")

    def wrong(self, place: Sequence[str | int], what: str) -> ConfigError:
        line = self._line(place)
        shown = ".".join(str(part + 1) if isinstance(part, int) else part for part in place)
        return ConfigError(f"{self.path}{f':{line}' if line else ''}: {shown}: {what}")

    def _line(self, place: Sequence[str | int]) -> int | None:
        """Return the line of the deepest part of a place that is found; a number is an index into the tables of that
        name."""
        at, line, name = 0, None, ""
        for part in place:
            if isinstance(part, int):
                heads = list(re.finditer(rf"(?m)^[ \t]*\[\[[ \t]*{re.escape(name)}[ \t]*\]\]", self.text))
                found = heads[part] if part < len(heads) else None
            else:
                name = part
                word = rf"[\"']?{re.escape(part)}[\"']?"
                pattern = rf"(?m)^[ \t]*\[+[^\]\n]*?(?<![\w-]){word}[ \t]*[\].]|(?<![\w-]){word}[ \t]*[=.]"
                found = re.compile(pattern).search(self.text, at)
            if found is not None:
                at = found.end() if isinstance(part, int) else found.start()
                line = self.text.count("\n", 0, found.end()) + 1
        return line
