"""Validate titles and labels: one line that is visible on any terminal and in any address."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING

from roost.errors import Invalid

if TYPE_CHECKING:
    from roost.policy.vault import Vault

TITLE = 1024
"""Most characters of a title."""
_LABELS, _KEY, _VALUE = 64, 64, 256
"""Most labels of a session, and most characters of a label's key and of its value."""
ONE_LINE = "in one line of UTF-8 that can be seen: no control characters"
"""Ends the message of an error about a name."""
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp", "Zs"))
"""Unicode's categories of invisible characters."""
_UNFIT = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line ends, direction marks, and surrogates, which UTF-8 does not have."""


def masked_names(
    vault: Vault, title: str | None, labels: Mapping[str, str] | None
) -> tuple[str | None, dict[str, str]]:
    """Mask the vault's values in a title and labels. Raises `Invalid` (`bad_title`, `bad_label`)."""
    title = None if title is None else vault.scrub(title)
    clean = {vault.scrub(key): vault.scrub(value) for key, value in (labels or {}).items()}
    check_title(title)
    check_labels(clean)
    return title, clean


def check_title(title: str | None) -> None:
    """Check a title. Raises `Invalid` (`bad_title`)."""
    if title and not is_one_line(title, TITLE):
        raise Invalid(f"a title has at most {TITLE} characters, {ONE_LINE}", code="bad_title")


def check_labels(labels: Mapping[str, str]) -> None:
    """Check a session's labels. Raises `Invalid` (`bad_label`)."""
    if len(labels) > _LABELS:
        raise Invalid(f"a session has at most {_LABELS} labels, not {len(labels)}", code="bad_label")
    for key, value in labels.items():
        if not 1 <= len(key) <= _KEY or ":" in key or _UNFIT.search(key):
            raise Invalid(
                f"{key[:_KEY]!r} cannot be a label: its key has 1 to {_KEY} characters, no colon, {ONE_LINE}",
                code="bad_label",
            )
        if len(value) > _VALUE or _UNFIT.search(value):
            raise Invalid(
                f"the label {key!r} cannot have this value: it has at most {_VALUE} characters, {ONE_LINE}",
                code="bad_label",
            )


def is_one_line(text: str, most: int) -> bool:
    """Whether a text has at most `most` characters, all in one line, and some that can be seen."""
    seen = any(unicodedata.category(character) not in _UNSEEN for character in text)
    return seen and len(text) <= most and _UNFIT.search(text) is None


def fold(title: str) -> str:
    """Make a valid title of a text that its author cannot correct, as of a file or a model."""
    return " ".join(_UNFIT.sub(" ", title).split())[:TITLE]
