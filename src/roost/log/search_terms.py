"""Search terms of facts, the same in every store, and their relevance scores.

Text is decomposed, case-folded and cut into words. CJK runs are cut into pairs of characters, as they have no spaces;
identifiers are cut at their humps. English plurals lose their ending (the S-stemmer of Harman, "How effective is
suffixing?", 1991).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_TOKEN = rf"[{_CJK}]+|[^\W_{_CJK}]+"
"""Compiled at first use, because compiling takes 2 ms."""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LONGEST = 40
_MOST = 1000
_K1, _B = 1.2, 0.4
"""Parameters of BM25 (Robertson and Zaragoza, 2009). `b` is low because facts are short: length should cost little."""
_STOP = frozenset(
    "a about after all also am an and any are as at be been before being between both but by can could did do does"
    " doing during each few for from further get gets got had has have having he her here hers him his how i if in into"
    " is it its itself just let like me more most my no nor not now of off on once only or other our out over own"
    " please same she should so some such tell than that the their them then there these they this those through to too"
    " under until up us very was we were what when where which while who whom whose why will with would you"
    " your".split()
)
_PLAIN = str.maketrans({"’": None, "'": None})


def words(text: str) -> list[str]:
    """Return the search terms in order, repetitions included; at most 1,000."""
    found: list[str] = []
    folded = unicodedata.normalize("NFKC", text.translate(_PLAIN))
    for token in re.findall(_TOKEN, _HUMP.sub(" ", folded)):
        if re.match(f"[{_CJK}]", token):
            found += [token[at : at + 2] for at in range(max(1, len(token) - 1))]
        else:
            plain = "".join(c for c in unicodedata.normalize("NFKD", token.casefold()) if not unicodedata.combining(c))
            if plain and plain not in _STOP:
                found.append(_singular(plain[:_LONGEST]))
        if len(found) >= _MOST:
            break
    return found[:_MOST]


def _singular(word: str) -> str:
    if len(word) < 4 or not word.endswith("s"):
        return word
    if word.endswith("ies") and word[-4] not in "ae":
        return word[:-3] + "y"
    if word.endswith("es") and word[-3] not in "aeo":
        return word[:-1]
    return word if word[-2] in "us" else word[:-1]


def bm25(query: Sequence[str], facts: Sequence[str], counts: Mapping[str, int], total: int) -> list[float]:
    """Score each of `facts` (its search terms, joined by spaces). counts: in how many of `total` facts a term
    occurs."""
    rows = [row.split(" ") for row in facts]
    mean = sum(map(len, rows)) / len(rows) if rows else 1.0
    weights = [(word, weight(counts.get(word, 1), total)) for word in dict.fromkeys(query)]
    scores: list[float] = []
    for row in rows:
        norm = _K1 * (1 - _B + _B * len(row) / mean)
        found = [(row.count(word), value) for word, value in weights]
        scores.append(sum(value * often * (_K1 + 1) / (often + norm) for often, value in found if often))
    return scores


def weight(count: int, total: int) -> float:
    return math.log(1 + (max(total, count) - count + 0.5) / (count + 0.5))
