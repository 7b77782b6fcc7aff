"""Look at the files of a package for what a person should know before they accept it.

A finding is a warning and no proof: what is not found here is not safe because of that. What a package may do is
decided by the gate and the sandbox."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from roost.features.packages.archive import Files
from roost.workspace.safe_paths import is_binary

Severity: TypeAlias = Literal["high", "low"]
MOST = 100
"""Most findings that are told."""
_EACH = 3
"""Most findings of one kind in one file."""
_READ = 512 * 1024
_ALL = 2 * 1024 * 1024
_PIECE, _OVERLAP = 1_000, 400
"""Characters of a line that are looked at at once: what a pattern costs grows with the square."""


class Finding(NamedTuple):
    """line: from 1; 0 for the file as a whole."""

    severity: Severity
    path: str
    line: int
    what: str


def _rule(severity: Severity, what: str, pattern: str) -> tuple[Severity, str, re.Pattern[str]]:
    return severity, what, re.compile(pattern, re.IGNORECASE)


_RULES = (
    _rule(
        "high",
        "has what looks like a secret",
        r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{40,}|sk-(?:ant-|proj-)?[A-Za-z0-9_-]{24,}"
        r"|xox[abpr]-[A-Za-z0-9-]{10,}|AIza[0-9A-Za-z_-]{35})|-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----",
    ),
    _rule(
        "high",
        "runs what it downloads",
        r"\b(?:curl|wget|iwr|invoke-webrequest)\b[^\n|;]{0,300}\|\s*(?:sudo\s+)?(?:env\s+)?(?:ba|z|da|k)?sh\b"
        r"|\b(?:curl|wget)\b[^\n|;]{0,300}\|\s*(?:sudo\s+)?(?:python\d?|node|perl|ruby)\b"
        r"|\b(?:ba|z)?sh\b\s+(?:-c\s+)?[\"']?(?:<\(|\$\(|`)\s*(?:curl|wget)\b|\biex\b.{0,40}\b(?:iwr|downloadstring)\b"
        r"|base64\s+(?:-d|--decode|-D)[^\n|]{0,100}\|\s*(?:ba|z)?sh\b|exec\(\s*(?:requests|urllib)\b",
    ),
    _rule(
        "high",
        "speaks to the model as an attacker would",
        r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:previous|prior|above|earlier|all|system|your)\b.{0,30}"
        r"\b(?:instructions?|prompts?|rules|guidelines|messages)\b"
        r"|\bdo not (?:tell|inform|mention|reveal|show)\b.{0,40}\b(?:the )?(?:user|human|person|owner)\b"
        r"|\bwithout (?:telling|asking|informing|notifying)\b.{0,20}\b(?:the )?(?:user|human|person)\b"
        r"|\byou are now\b.{0,40}\b(?:unrestricted|jailbroken|developer mode|dan)\b"
        r"|<\s*/?\s*(?:system|assistant)\s*>|\[/?INST\]|<\|im_(?:start|end)\|>",
    ),
    _rule(
        "high",
        "touches keys or settings of the user",
        r"(?:~|\$HOME|\$\{HOME\}|/root|/home/[\w.-]+)/\.(?:ssh|aws|gnupg|kube|docker|netrc|config/gcloud|claude|roost)\b"
        r"|\bid_(?:rsa|ed25519)\b|/etc/(?:passwd|shadow|sudoers)\b",
    ),
    _rule(
        "high",
        "writes outside the workspace",
        r"(?:>>?|\b(?:tee|cp|mv|install)\b[^\n]{0,120}?)\s?"
        r"(?:~/|\$HOME/|\$\{HOME\}/|/etc/|/usr/|/var/|/root/|/home/|/Library/)"
        r"|\brm\s+-[a-z]*r[a-z]*f?\s+(?:--no-preserve-root\s+)?(?:/|~|\$HOME)(?:\s|$|/)"
        r"|\bcrontab\b\s+-|\.(?:bashrc|zshrc|profile|bash_profile)\b|authorized_keys\b",
    ),
    _rule(
        "low",
        "may send data away",
        r"\b(?:webhook\.site|requestbin|ngrok\.io|pastebin\.com|transfer\.sh|pipedream\.net)\b",
    ),
    _rule(
        "low", "asks for administrator rights", r"^\s*(?:[$#>]\s*)?sudo\s+\S|--privileged\b|\bchmod\s+(?:-R\s+)?0?777\b"
    ),
    _rule(
        "low",
        "evaluates text as code",
        r"\beval\s*\(|\bexec\s*\(\s*(?:base64|bytes|compile|codecs)|__import__\(\s*[\"']os",
    ),
)
_PROGRAMS = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"\xca\xfe\xba\xbe")


def scan(files: Files) -> tuple[Finding, ...]:
    """Return the findings, those of high severity first. Blocks."""
    found: list[Finding] = []
    left = _ALL
    for path in sorted(files):
        left -= min(len(files[path].data), _READ)
        if left < 0:
            found.append(Finding("low", path, 0, f"and later files are not looked at: more than {_ALL >> 20} MiB"))
            break
        found += _findings(path, files[path].data)
    return tuple(sorted(found, key=lambda one: one.severity != "high")[:MOST])


def _findings(path: str, data: bytes) -> Iterator[Finding]:
    if data.startswith(_PROGRAMS):
        yield Finding("high", path, 0, "is a compiled program")
        return
    if is_binary(data) and not path.endswith("SKILL.md"):
        yield Finding("low", path, 0, "is not looked at: it is binary")
        return
    if len(data) > _READ:
        yield Finding("low", path, 0, "is too large to be looked at as a whole")
    counts: dict[str, int] = {}
    for number, line in enumerate(data[:_READ].decode("utf-8-sig", "replace").splitlines(), 1):
        pieces = (line[at : at + _PIECE] for at in range(0, max(1, len(line)), _PIECE - _OVERLAP))
        for severity, what in dict.fromkeys(found for piece in pieces for found in _of_line(piece)):
            counts[what] = counts.get(what, 0) + 1
            if counts[what] <= _EACH:
                yield Finding(severity, path, number, what)


def _of_line(line: str) -> Iterator[tuple[Severity, str]]:
    if not line.isascii():
        if any(_hides(char) for char in line):
            yield "high", "has characters that nobody sees"
        line = unicodedata.normalize("NFKC", "".join(char for char in line if not _hides(char)))
    for severity, what, pattern in _RULES:
        if pattern.search(line):
            yield severity, what


def _hides(char: str) -> bool:
    """Whether a character changes what a reader sees and has no shape: direction marks, zero width, tags."""
    code = ord(char)
    return (
        0x200B <= code <= 0x200F
        or 0x202A <= code <= 0x202E
        or 0x2060 <= code <= 0x206F
        or 0xE0000 <= code <= 0xE0FFF
        or code in (0x00AD, 0x180E, 0x3164, 0xFEFF, 0x115F, 0x1160)
    ) and code not in (0x200C, 0x200D)
