"""Stop words for servers that do not apply them: some protocols have none (OpenAI's Responses), some servers accept and
ignore them (MiniMax), some accept only a few (Gemini)."""

from __future__ import annotations

from collections.abc import Sequence


class StopWords:
    """Passes text before the first of `words`, and holds back a possible start of one. The rest of the answer is still
    read and paid for, because only its end reports the token counts. over: a stop word occurred. word: which one."""

    __slots__ = ("_held", "_words", "over", "word")

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(word for word in words if word.strip())
        self._held = ""
        self.over = False
        self.word: str | None = None

    def take(self, piece: str) -> str:
        if self.over or not self._words:
            return "" if self.over else piece
        text = self._held + piece
        places = [(at, word) for word in self._words if (at := text.find(word)) >= 0]
        if places:
            first, self.word = min(places)
            self.over, self._held = True, ""
            return text[:first]
        keep = max(_overlap(text, word) for word in self._words)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """Return the text that was held back and is no stop word after all."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, word: str) -> int:
    """Return how many characters at the end of `text` are a prefix of `word`."""
    return next((size for size in range(min(len(word) - 1, len(text)), 0, -1) if text.endswith(word[:size])), 0)
