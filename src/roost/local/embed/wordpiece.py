"""The tokenizer of BERT's uncased models: words without case and accents, cut into the longest known pieces.

The algorithm is the one of the reference implementation (google-research/bert, `tokenization.py`). A marker such as
`[SEP]` inside a text is plain text here, so that no text can end itself early.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path

VOCABULARY = Path(__file__).parent.parent / "data" / "bert-uncased.txt"
"""30,522 pieces, one a line; the number of the line is the id. As published with all-MiniLM-L6-v2 (Apache-2.0),
SHA-256 07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3."""

_START, _END, _UNKNOWN = "[CLS]", "[SEP]", "[UNK]"
_LONGEST = 100
"""Characters of a word; a longer one is unknown."""
_PER_TOKEN = 64
"""Characters of a text that are looked at for each token that is wanted. No real text has fewer tokens than that."""

# Where a word ends by itself: CJK ideographs, as the reference lists them.
_IDEOGRAPHS = (
    "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f\U0002b820-\U0002ceaf"
    "\uf900-\ufaff\U0002f800-\U0002fa1f"
)
_HIDDEN = ("Cc", "Cf", "Co", "Cs")
_IDEOGRAPH = re.compile(f"([{_IDEOGRAPHS}])")
_PLAIN = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]")


class WordPiece:
    """May be used by several threads at once."""

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self._ids = vocabulary
        self._unknown = vocabulary[_UNKNOWN]
        self._longest = max(map(len, vocabulary))

    @classmethod
    def load(cls, path: Path = VOCABULARY) -> WordPiece:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
        return cls({piece: number for number, piece in enumerate(lines)})

    def ids(self, text: str, limit: int) -> list[int]:
        """Return at most `limit` ids, including those that start and end a text. A longer text is cut at its end."""
        ids = [self._ids[_START]]
        for word in _words(text[: limit * _PER_TOKEN]):
            ids += self._pieces(word)
            if len(ids) >= limit:
                break
        return [*ids[: limit - 1], self._ids[_END]]

    def _pieces(self, word: str) -> list[int]:
        if (whole := self._ids.get(word)) is not None:
            return [whole]
        if len(word) > _LONGEST:
            return [self._unknown]
        pieces: list[int] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(min(len(word), start + self._longest), start, -1):
                if (token := self._ids.get(prefix + word[start:end])) is not None:
                    pieces.append(token)
                    start = end
                    break
            else:
                return [self._unknown]
        return pieces


def _words(text: str) -> Iterator[str]:
    if text.isascii():
        for chunk in _clean(text).lower().split():
            yield from _PLAIN.findall(chunk)
        return
    for chunk in _IDEOGRAPH.sub(r" \1 ", _clean(text)).split():
        yield from _split("".join(map(_bare, unicodedata.normalize("NFD", chunk.lower()))))


def _clean(text: str) -> str:
    return "".join(map(_shown, text)) if not text.isprintable() else text


def _shown(char: str) -> str:
    if char in "\t\n\r":
        return " "
    category = unicodedata.category(char)
    if category == "Zs":
        return " "
    return "" if category in _HIDDEN or char == "\ufffd" else char


def _bare(char: str) -> str:
    return "" if unicodedata.category(char) == "Mn" else char


def _split(word: str) -> Iterator[str]:
    """`word` with each mark of punctuation on its own."""
    start = 0
    for at, char in enumerate(word):
        if _is_punctuation(char):
            if start < at:
                yield word[start:at]
            yield char
            start = at + 1
    if start < len(word):
        yield word[start:]


def _is_punctuation(char: str) -> bool:
    if char.isascii():
        return not char.isalnum()
    return unicodedata.category(char)[0] == "P"
