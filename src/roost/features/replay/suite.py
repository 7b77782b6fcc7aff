"""`replay.toml`: a list of replays, each with what must hold."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from roost.errors import Invalid
from roost.features.replay.api import Replayed
from roost.features.replay.expectations import Expect, Texts
from roost.features.replay.modes import Compare, Tools


class Given(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A replay in a file. log: a file of `roost export`; session: one of the store. prompt: a file. folder: the files
    with which live tools begin. Paths are relative to the file. The rest as `roost replay` has it."""

    log: str | None = None
    session: str | None = None
    name: str | None = None
    tools: Tools = "recorded"
    model: str | None = None
    agent: str | None = None
    prompt: str | None = None
    compare: Compare | None = None
    network: bool = False
    folder: str | None = None
    expect: Expect = Expect()


class _Suite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    replay: list[Given]


class Case(NamedTuple):
    """A replay to run. log, session: one of them is given. options: arguments of `ReplaysApi.run`. optional: a session
    with nothing to replay is skipped."""

    name: str
    log: Path | None
    session: str | None
    options: dict[str, Any]
    expect: Expect
    optional: bool = False


class Result(NamedTuple):
    """What became of a case. error: why it could not run. skipped: why there was nothing to run."""

    name: str
    found: Replayed | None = None
    failures: list[str] = []
    error: str = ""
    skipped: str = ""

    @property
    def verdict(self) -> str:
        if self.skipped:
            return "skipped"
        if self.error or self.found is None:
            return "error"
        if self.found.divergence is not None:
            return "diverged"
        return "failed" if self.failures else "passed"

    @property
    def good(self) -> bool:
        return self.verdict in ("passed", "skipped")


def read_suite(path: Path) -> list[Case]:
    """Read a file of replays. Raises `Invalid` that names the mistake."""
    try:
        with path.open("rb") as file:
            suite = msgspec.convert(tomllib.load(file), _Suite)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{path} is no TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise Invalid(f"{path}: {error}; `[[replay]]` begins each replay") from None
    return [_case(path, number, given) for number, given in enumerate(suite.replay, 1)]


def _case(path: Path, number: int, given: Given) -> Case:
    where, folder = f"{path}: replay {number}", path.parent
    if (given.log is None) == (given.session is None):
        raise Invalid(f"{where} names a log or a session, and not both")
    if given.expect.files and given.tools != "live":
        raise Invalid(f'{where} expects files, which only live tools change: add tools = "live"')
    for pattern in _patterns(given.expect.answer_matches):
        try:
            re.compile(pattern)
        except re.error as error:
            raise Invalid(f"{where}: answer_matches {pattern!r} is no regular expression: {error}") from None
    options: dict[str, Any] = {
        "tools": given.tools,
        "model": given.model,
        "agent": given.agent,
        "prompt": None if given.prompt is None else read_text(folder / given.prompt),
        "compare": given.compare,
        "network": given.network,
        "folder": None if given.folder is None else str((folder / given.folder).resolve()),
        "files": sorted(given.expect.files),
    }
    log = None if given.log is None else folder / given.log
    if log is not None and not log.is_file():
        raise Invalid(f"{where}: there is no file {log}")
    return Case(given.name or given.log or given.session or "", log, given.session, options, given.expect)


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot read {path}: {error}") from None


def _patterns(given: Texts) -> list[str]:
    return [given] if isinstance(given, str) else given
