"""The messages that a person has sent from a terminal, kept for the next one."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

_MOST, _LONGEST = 1000, 20_000
"""Messages that are kept, and characters of one."""


class PromptHistory:
    """`path`: one JSON string a line, readable by its owner alone. Several terminals may add to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._texts: list[str] | None = None
        self._at: int | None = None
        self._draft = ""

    @property
    def texts(self) -> list[str]:
        """The messages, the oldest first."""
        if self._texts is None:
            self._texts = _read(self._path)
        return self._texts

    @property
    def browsing(self) -> bool:
        """True while a message of before is shown in the place of the draft."""
        return self._at is not None

    def add(self, text: str) -> None:
        """Keep a message. A home that cannot be written keeps none."""
        self._at = None
        if not text.strip() or len(text) > _LONGEST or (self.texts and self.texts[-1] == text):
            return
        self.texts.append(text)
        with contextlib.suppress(OSError):
            if len(self.texts) > 2 * _MOST:
                self._trim()
                return
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(target, "a", encoding="utf-8") as file:
                file.write(json.dumps(text) + "\n")

    def earlier(self, draft: str) -> str | None:
        """Return the message before the one that is shown; None at the oldest."""
        at = len(self.texts) if self._at is None else self._at
        if self._at is None:
            self._draft = draft
        if at == 0:
            return None
        self._at = at - 1
        return self.texts[self._at]

    def later(self) -> str | None:
        """Return the message after the one that is shown, at last the draft; None while the draft is shown."""
        if self._at is None:
            return None
        self._at += 1
        if self._at < len(self.texts):
            return self.texts[self._at]
        self._at = None
        return self._draft

    def leave(self) -> None:
        """The shown message is a draft from now on."""
        self._at = None

    def search(self, words: str, before: int | None = None) -> tuple[int, str] | None:
        """Return the newest message, older than number `before`, that contains `words`, and its number."""
        end = len(self.texts) if before is None else before
        wanted = words.lower()
        for at in range(end - 1, -1, -1):
            if wanted in self.texts[at].lower():
                return at, self.texts[at]
        return None

    def _trim(self) -> None:
        from roost.cli.atomic_file import write_whole

        others = _read(self._path)  # with what other terminals have added
        self._texts = [*others, self.texts[-1]][-_MOST:] if others else self.texts[-_MOST:]
        data = "".join(json.dumps(text) + "\n" for text in self.texts).encode()
        write_whole(self._path, lambda file: file.write(data))


def _read(path: Path) -> list[str]:
    found: list[str] = []
    with contextlib.suppress(OSError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[-2 * _MOST :]:
            with contextlib.suppress(ValueError):
                text = json.loads(line)
                if isinstance(text, str):
                    found.append(text)
    return found
