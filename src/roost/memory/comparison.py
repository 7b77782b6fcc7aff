"""Compare two facts word by word: same, corrected, unsure or unrelated.

A high likeness of two embeddings means that two texts have the same topic. It does not detect negation, swapped roles
or another number, so it never decides alone. The rules err on the side of keeping a fact.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Literal, TypeAlias

Relation: TypeAlias = Literal["same", "corrects", "unsure", "other"]
"""Relation of a new text to an older one. same: nothing new. corrects: the older one no longer holds, or the new one
repeats it with more detail. unsure: they may contradict each other or mean the same; keep both. other: unrelated."""

SAME = 0.92
"""Likeness from which two texts have the same topic. With all-MiniLM-L6-v2, sentences that differ in one value lie
above it."""
_OVERLAP = 0.75
"""Share of common words from which a negation in only one of two texts makes their relation unsure."""
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_TOKEN = rf"[{_CJK}]|[+-]?\d+(?:[.,:/-]\d+)*|[^\W{_CJK}]+(?:'[^\W{_CJK}]+)*'?|[^\s\w]"
_IGNORED = frozenset(".,;!¡¿\"'。，、！；“”„«»「」()")
_SHORT: dict[str, str] = {"ca": "can", "wo": "will", "sha": "shall"}
_NEGATIONS = {
    **dict.fromkeys(
        "not no nor never none neither nobody nothing nowhere n nicht kein keine keinen keinem keiner keines nie"
        " niemals niemand nichts weder niet geen nooit nimmer niets ne pas jamais aucun aucune rien nunca jamás ningún"
        " ninguna ninguno nadie nada tampoco non nessun nessuna niente não nenhum nenhuma inte inga ingen ikke nie не"
        " нет ни никогда 不 没 沒 未 无 無 非 别 勿 안 못".split(),
        "",
    ),
    "cannot": "can",
    "without": "with",
    "ohne": "mit",
    "zonder": "met",
    "sans": "avec",
    "sin": "con",
    "senza": "con",
    "sem": "com",
    "без": "с",
}
"""Negations, each with the word that replaces it in the affirmative sentence, if any."""
_BESIDE_NEGATION = frozenset(
    "do does did longer anymore any more mehr meer ya plus guère 再 了 从 曾 always still yet immer noch altijd nog"
    " toujours encore siempre aún todavía 总 是".split()
)
"""Words that often accompany a negation, and are ignored beside it."""
_ARTICLES = frozenset(
    "a an the any some ein eine einen einem einer eines der die das den dem een de het un une le la les du des d l el"
    " los las una unos unas o os as um uma il lo i gli".split()
)
_COMPARING = frozenset("than als dan que qu di che чем 比 より 보다 < > ≤ ≥".split())
_FORMS = {"has": "have", "goes": "go", "is": "be", "are": "be", "was": "be", "were": "be"}


def compare(new: str, old: str, likeness: float = 0.0) -> Relation:
    """Return the relation of `new` to `old`. likeness: cosine of their embeddings, 0 if unknown."""
    a, b = tokens_of(new), tokens_of(old)
    if a == b:
        return "same" if a else "other"
    if _negated(a) != _negated(b):
        if _bare(a) & _bare(b):
            return "corrects"
        return "unsure" if likeness >= SAME or _overlap(a, b) >= _OVERLAP else "other"
    if Counter(a) == Counter(b):
        return "unsure"
    if likeness < SAME:
        return "other"
    return "corrects" if _restates(a, b) or _revalues(a, b) else "unsure"


def tokens_of(text: str) -> tuple[str, ...]:
    """Split a text into words, numbers and meaningful symbols, in order. Chinese, Japanese and Korean split into
    characters."""
    plain = unicodedata.normalize("NFKC", text).casefold().translate({0x2019: "'", 0x2018: "'", 0x2212: "-"})
    found: list[str] = []
    for token in re.findall(_TOKEN, plain):
        head, apostrophe, rest = token.partition("'")
        if token.endswith("n't"):
            verb: str = token[:-3]
            found += [_SHORT.get(verb, verb), "not"]
        elif apostrophe and len(head) <= 2 and rest:  # French and Italian: l'eau, n'habite
            found += [head, rest]
        elif token not in _IGNORED:
            found.append(token.rstrip("'"))
    return tuple(found)


def _negated(tokens: Sequence[str]) -> bool:
    return any(token in _NEGATIONS for token in tokens)


def _bare(tokens: Sequence[str]) -> set[tuple[str, ...]]:
    """Return the readings of a text without negation, articles, auxiliaries and inflection. Chinese 没有 is read as one
    negation or as 没 before a verb, so there may be two."""
    readings = [tokens]
    if any(pair in (("没", "有"), ("沒", "有")) for pair in itertools.pairwise(tokens)):
        readings.append([token for at, token in enumerate(tokens) if token != "有" or tokens[at - 1] not in "没沒"])
    return {tuple(filter(None, map(_stem, one))) for one in readings}


def _stem(token: str) -> str:
    token = _NEGATIONS.get(token, token)
    if token in _ARTICLES or token in _BESIDE_NEGATION:
        return ""
    if token in _FORMS:
        return _FORMS[token]
    if len(token) > 4 and token.endswith(("shes", "ches", "xes", "zes", "sses")):
        return token[:-2]
    if len(token) > 4 and token.endswith("ies"):
        return token[:-3] + "y"
    return token[:-1] if len(token) > 3 and token.endswith("s") and token[-2] not in "us" else token


def _overlap(a: Sequence[str], b: Sequence[str]) -> float:
    """Return the share of the shorter text's words, roughly stemmed, that the other text has too."""
    one, other = (Counter(stem for token in tokens if (stem := _stem(token))) for tokens in (a, b))
    return (one & other).total() / max(1, min(one.total(), other.total()))


def _restates(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether only articles and hyphens differ, or the new text repeats the older one and continues."""
    if a[: len(b)] == b:
        return True
    one, other = ([token for token in tokens if token not in _ARTICLES and token != "-"] for tokens in (a, b))
    return one == other


def _revalues(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether both make the same statement with another value at its end: the languages supported here put the topic
    first. A number may have a unit after it. The object of a comparison is no value."""
    start = _common(a, b)
    end = min(_common(a[::-1], b[::-1]), min(len(a), len(b)) - start)
    prefix, mine, other = a[:start], a[start : len(a) - end], b[start : len(b) - end]
    if start < 2 or not mine or not other or not _COMPARING.isdisjoint(prefix):
        return False
    if end == 0:
        return True
    return end == 1 and start >= 3 and all(len(span) == 1 and span[0][-1].isdigit() for span in (mine, other))


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the number of equal tokens at the start."""
    return next((at for at, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b)))
