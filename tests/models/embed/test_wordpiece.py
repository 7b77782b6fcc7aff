"""The tokenizer against ids that the reference implementation gives for the same vocabulary."""

from __future__ import annotations

import hashlib

import pytest

from roost.local.embed.wordpiece import VOCABULARY, WordPiece

KNOWN = [
    ("", "101 102"),
    ("Hello, World!", "101 7592 1010 2088 999 102"),
    ("unaffable embeddings", "101 14477 20961 3468 7861 8270 4667 2015 102"),
    ("Grüße aus MÜNCHEN, naïve façade", "101 24665 2226 17499 17151 25802 1010 15743 8508 102"),
    ("天気がいい 😀", "101 1811 100 1651 30173 30173 100 102"),
    ("한국어", "101 1469 30006 30021 29991 30014 30020 29999 30008 102"),
    (
        "def add(a, b): return a**2  # ok?",
        "101 13366 5587 1006 1037 1010 1038 1007 1024 2709 1037 1008 1008 1016 1001 7929 1029 102",
    ),
    ("tabs\tand\nlines\xa0and\u3000spaces", "101 21628 2015 1998 3210 1998 7258 102"),
    ("zero\u200bwidth\x00null\ufffdhole", "101 5717 9148 11927 7295 18083 11484 102"),
    ("e\u0301tude \u2014 \u201cquoted\u201d \u2026", "101 3802 12672 1517 1523 9339 1524 1529 102"),
    ("İstanbul ß", "101 9960 1096 102"),
    ("don't re-enter $5.00 [x]", "101 2123 1005 1056 2128 1011 4607 1002 1019 1012 4002 1031 1060 1033 102"),
]


@pytest.fixture(scope="module")
def tokenizer() -> WordPiece:
    return WordPiece.load()


def test_the_vocabulary_is_the_published_one() -> None:
    digest = hashlib.sha256(VOCABULARY.read_bytes()).hexdigest()
    assert digest == "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"


@pytest.mark.parametrize(("text", "ids"), KNOWN)
def test_known_ids(text: str, ids: str, tokenizer: WordPiece) -> None:
    assert tokenizer.ids(text, 512) == [int(one) for one in ids.split()]


def test_a_text_is_cut_at_its_end_and_still_ended(tokenizer: WordPiece) -> None:
    whole = tokenizer.ids("one two three four five", 256)
    assert tokenizer.ids("one two three four five", 5) == [*whole[:4], 102]
    assert len(tokenizer.ids("word " * 1_000_000, 256)) == 256
    assert tokenizer.ids("x" * 10_000_000, 256) == tokenizer.ids("a" * 101, 256) == [101, 100, 102]
    assert 100 not in tokenizer.ids("a" * 100, 256)


def test_a_marker_in_a_text_is_plain_text(tokenizer: WordPiece) -> None:
    assert tokenizer.ids("[SEP]", 16)[1:-1] == tokenizer.ids("[ sep ]", 16)[1:-1]
    assert 102 not in tokenizer.ids("a [SEP] b", 16)[1:-1]
