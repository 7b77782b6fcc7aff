"""Find secrets in files where they do not belong. The report never contains one."""

from __future__ import annotations

import math
import os
import re
import stat
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from roost.providers.secret_refs import is_reference

_MAX_BYTES = 2 * 1024 * 1024
_MOST_FILES = 2000
# Prefixes as documented by the issuers, who chose them so that leaked keys can be found.
_KNOWN: tuple[tuple[str, str], ...] = (
    ("Anthropic key", r"sk-ant-[A-Za-z0-9_-]{20,}"),
    ("OpenRouter key", r"sk-or-[A-Za-z0-9_-]{20,}"),
    ("Stripe key", r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    ("OpenAI key or one like it", r"sk-[A-Za-z0-9_-]{20,}"),
    ("Google key", r"AIza[0-9A-Za-z_-]{35}"),
    ("GitHub token", r"(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})"),
    ("GitLab token", r"glpat-[A-Za-z0-9_-]{18,}"),
    ("Slack token", r"xox[abeoprs]-[A-Za-z0-9-]{10,}"),
    ("AWS key id", r"A(?:KIA|SIA)[0-9A-Z]{16}"),
    ("Hugging Face token", r"hf_[A-Za-z0-9]{30,}"),
    ("Groq key", r"gsk_[A-Za-z0-9]{30,}"),
    ("xAI key", r"xai-[A-Za-z0-9]{40,}"),
    ("Replicate token", r"r8_[A-Za-z0-9]{30,}"),
    ("npm token", r"npm_[A-Za-z0-9]{30,}"),
    ("PyPI token", r"pypi-AgE[A-Za-z0-9_-]{30,}"),
    ("SendGrid key", r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    ("JSON web token", r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    ("private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    ("password in a URL", r"[a-z][a-z0-9+.-]{1,20}://[^\s/:@'\"]{1,100}:[^\s/@'\"${}<>]{3,200}@"),
)
_PATTERN = re.compile("|".join(f"(?<![A-Za-z0-9])(?P<k{n}>{pattern})" for n, (_, pattern) in enumerate(_KNOWN)))
_ASSIGNED = re.compile(r"""(?i)(?<![a-z0-9_.-])([a-z0-9_.-]{3,100}+)["']?[ \t]*+[:=][ \t]*+["']?([^\s"'#,;]{16,512})""")
_NAMES = re.compile(r"(?i)key|token|secret|passwo?r?d|credential")
_PLACEHOLDER = re.compile(r"(?i)x{4,}|\.\.\.|your|example|changeme|placeholder|dummy|^[$<{%]|secret:")
_BITS = 3.3
"""Minimal entropy per character, in bits, of a random key of 16 characters or more; words and paths have less."""


class Leak(msgspec.Struct, frozen=True, kw_only=True):
    """A secret found in a file. shown: its first characters and its length. fix: how to repair it."""

    path: str
    line: int
    kind: str
    shown: str
    fix: str


def audit(home: Path, folders: Sequence[Path]) -> list[Leak]:
    """Search Roost's home and the folders that agents work in: configuration, agents, environment files and dotfiles.
    At most 2,000 files, and the first 2 MB of each. An environment file may hold keys if no other user can read it and
    git does not track it. Blocks for a moment; unreadable files are skipped."""
    found: list[Leak] = []
    for path in _files(home, folders):
        found += _environment(path) if _is_environment(path) else _leaks(path)
    return found


def _files(home: Path, folders: Sequence[Path]) -> Iterator[Path]:
    places = [*_plain(home, ("*.toml", "*.env", ".env*", "*.json", "*.md")), *_plain(home / "agents", ("*",))]
    for folder in folders:
        places += _plain(folder, (".*", "*.toml", "*.env", "*.y*ml", "*.json", "*.ini", "*.cfg"))
        for inner in (".roost", ".roost/agents", "agents", ".github/workflows", ".vscode", ".config", ".claude"):
            places += _plain(folder / inner, ("*",))
    unique = {os.path.realpath(path): path for path in reversed(places)}
    yield from list(reversed(unique.values()))[:_MOST_FILES]


def _plain(folder: Path, globs: Iterable[str]) -> list[Path]:
    try:
        return sorted({path for glob in globs for path in folder.glob(glob) if path.is_file()})
    except OSError:
        return []


def _is_environment(path: Path) -> bool:
    return path.name == ".env" or path.suffix == ".env" or path.name.startswith(".env.")


def _leaks(path: Path) -> list[Leak]:
    found: list[Leak] = []
    for number, line in enumerate(_lines(path), 1):
        if (leak := _in_line(line)) is not None:
            kind, value = leak
            fix = "make a new key, and write env:NAME, keyring:SERVICE/NAME or file:PATH here"
            found.append(Leak(path=str(path), line=number, kind=kind, shown=_masked(value), fix=fix))
    return found


def _environment(path: Path) -> list[Leak]:
    leaks = _leaks(path)
    if not leaks:
        return []
    if os.name == "posix" and _mode(path) & (stat.S_IRWXG | stat.S_IRWXO):
        return [msgspec.structs.replace(leak, fix=f"others can read this file: chmod 600 {path}") for leak in leaks]
    if _kept_by_git(path):
        fix = f"git keeps this file: git rm --cached {path.name}, ignore it, and make a new key"
        return [msgspec.structs.replace(leak, fix=fix) for leak in leaks]
    return []


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
    except OSError:
        return []
    return [] if b"\0" in data[:4096] else data.decode("utf-8", "replace").splitlines()


def _in_line(line: str) -> tuple[str, str] | None:
    line = line[: 64 * 1024]
    for found in _PATTERN.finditer(line):
        place = int((found.lastgroup or "k0")[1:])
        if not _PLACEHOLDER.search(found[0]):
            return _KNOWN[place][0], found[0]
    for found in _ASSIGNED.finditer(line):
        value = found[2]
        if _NAMES.search(found[1]) and not is_reference(value) and not _PLACEHOLDER.search(value) and _random(value):
            return f"value of {found[1]}", value
    return None


def _random(value: str) -> bool:
    if not re.search(r"\d", value) or not re.search(r"[A-Za-z]", value) or "/" in value[:2] or "(" in value:
        return False
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts) >= _BITS


def _masked(value: str) -> str:
    if "://" in value:
        return f"{value.partition('://')[0]}://… ({len(value)} characters)"
    return f"{value[:4]}… ({len(value)} characters)"


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _kept_by_git(path: Path) -> bool:
    try:
        done = subprocess.run(
            ["git", "-C", str(path.parent), "ls-files", "--error-unmatch", "--", path.name],
            capture_output=True,
            timeout=10,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
