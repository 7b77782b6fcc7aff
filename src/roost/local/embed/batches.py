"""Cut texts to the model's window and group them into calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from roost.local.embed.wire import Limits
from roost.models.tokens import estimate_text

BLANK = "-"
"""Stands for a text without a word: providers refuse an empty one."""
_LONGEST_TOKEN = 16
"""Characters. Beyond so many for each token of the window a text is not even looked at."""


class Batch(msgspec.Struct, frozen=True):
    """`tokens` is an estimate."""

    texts: Sequence[str]
    tokens: int

    def halves(self) -> tuple[Batch, Batch]:
        middle = len(self.texts) // 2
        return batch_of(self.texts[:middle]), batch_of(self.texts[middle:])


def batch_of(texts: Sequence[str]) -> Batch:
    return Batch(texts, sum(map(estimate_text, texts)))


def batches(texts: Iterable[str], limits: Limits) -> list[Batch]:
    """Group the texts into calls, in order. A text that exceeds the window, by an estimate, is cut at its end. Slow for
    many texts: call it in a thread."""
    made: list[Batch] = []
    group: list[str] = []
    total = 0
    for text in texts:
        text, tokens = _cut(text, limits.window)
        if group and (len(group) == limits.texts or total + tokens > limits.tokens):
            made.append(Batch(group, total))
            group, total = [], 0
        group.append(text)
        total += tokens
    return [*made, Batch(group, total)] if group else made


def _cut(text: str, window: int) -> tuple[str, int]:
    text = text[: window * _LONGEST_TOKEN]
    if not text.strip():
        return BLANK, 1
    while (tokens := estimate_text(text)) > window:
        text = text[: min(len(text) - 1, len(text) * window // tokens)]
    return text, tokens
