"""Rank the facts that a search found: by likeness, by words, and by parts of words.

A small English model rates all texts of another language as alike. So a likeness is compared with the likeness to
unrelated sentences (`REFERENCES`), called background; the higher it is, the more the words count. The weights were
tuned on one half of `tests/memory/paraphrases.py`. The result depends on the query and the facts alone, so every store
ranks alike.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from roost.log.search_terms import words

REFERENCES = {
    "en": (
        "The bridge was painted last summer.",
        "She sells bread at the market.",
        "A storm is expected tomorrow.",
        "The museum opens at ten.",
        "He forgot his umbrella.",
        "The recipe needs three eggs.",
    ),
    "de": (
        "Die Brücke wurde im letzten Sommer gestrichen.",
        "Sie verkauft Brot auf dem Markt.",
        "Für morgen wird ein Sturm erwartet.",
        "Das Museum öffnet um zehn.",
        "Er hat seinen Schirm vergessen.",
        "Das Rezept braucht drei Eier.",
    ),
    "nl": (
        "De brug is vorige zomer geschilderd.",
        "Zij verkoopt brood op de markt.",
        "Morgen wordt er storm verwacht.",
        "Het museum gaat om tien uur open.",
        "Hij is zijn paraplu vergeten.",
        "Voor het recept zijn drie eieren nodig.",
    ),
    "fr": (
        "Le pont a été peint l'été dernier.",
        "Elle vend du pain au marché.",
        "Une tempête est attendue demain.",
        "Le musée ouvre à dix heures.",
        "Il a oublié son parapluie.",
        "La recette demande trois œufs.",
    ),
    "es": (
        "El puente se pintó el verano pasado.",
        "Ella vende pan en el mercado.",
        "Mañana se espera una tormenta.",
        "El museo abre a las diez.",
        "Olvidó su paraguas.",
        "La receta necesita tres huevos.",
    ),
    "zh": (
        "这座桥去年夏天刷了漆。",
        "她在市场上卖面包。",
        "预计明天有暴风雨。",
        "博物馆十点开门。",
        "他忘了带伞。",
        "这道菜需要三个鸡蛋。",
    ),
}
"""Unrelated sentences in the languages that are distinguished. Their vectors are stored beside those of the facts. The
background of a text is its mean likeness to those of the nearest language."""
ENGLISH = 0.08
"""Background of English with all-MiniLM-L6-v2; likenesses in other languages are scaled to it."""
_WORDS, _PARTS, _MORE_PARTS, _HUB = 0.2, 0.4, 6.0, 0.5
"""Weights of shared words, of shared parts of words, of these for each unit of background, and of a fact's own
background."""
_FIT_PARTS = 2.0
_GRAM = 4
_CHARACTERS = 1000
"""Characters of a text that are compared."""
_CJK = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_STOP = frozenset(
    """may might must shall one often much many
    der die das den dem des ein eine einen einem einer eines und oder ist sind war wird werden hat haben habe ich du er
    sie es wir ihr mein unser in im an am auf aus bei mit von vom zu zum zur für um unter über nach vor seit bis nicht
    kein was wer wen wem wie wo wann warum welche welcher welches welchen womit wohin man darf muss soll kann noch jetzt
    de het een en of is zijn wordt worden heeft hebben ik jij hij zij wij ons onze op aan met van voor uit om onder naar
    te ten ter tot niet geen wat wie hoe waar wanneer waarom welke welk waarmee men mag moet kan nog nu dit dat
    le la les un une des du et ou est sont ont je tu il elle nous vous dans sur avec pour par ne pas que qui quoi où
    quand comment quel quelle el los las y o es son ha han yo con por para no quien donde cuando como cual
    的 了 是 在 有 我 你 他 她 它 们 吗 呢 谁 哪 怎 什 么 几 多 里""".split()
)


class Candidate(NamedTuple):
    """A fact that a search found. likeness, background: None if it has no vector or is not among the nearest."""

    text: str
    likeness: float | None = None
    background: float | None = None


class Rank(NamedTuple):
    """score: orders the candidates of one query. fit: likeness scaled to English, plus a bonus for shared parts of
    words; comparable between queries and languages."""

    score: float
    fit: float


class _Features(NamedTuple):
    words: frozenset[str]
    parts: frozenset[str]


def content_of(query: str) -> str:
    """Return the query without stop words of these languages; the whole query if nothing else is left."""
    kept = [token for token in re.findall(r"\S+", query) if not set(words(token)) <= _STOP]
    return " ".join(kept) or query


def rank(query: str, background: float | None, found: Sequence[Candidate]) -> list[Rank]:
    """Return one rank for each candidate. background: of the query, None if unknown. Blocks for some ms."""
    asked = _features(query[:_CHARACTERS])
    features = [_features(one.text[:_CHARACTERS]) for one in found]
    shared_words = _shares(asked.words, [one.words for one in features])
    shared_parts = _shares(asked.parts, [one.parts for one in features])
    level = max(0.0, background or 0.0)
    least = min((one.likeness for one in found if one.likeness is not None), default=0.0)
    ranks: list[Rank] = []
    for one, in_words, in_parts in zip(found, shared_words, shared_parts, strict=True):
        likeness = least if one.likeness is None else one.likeness
        hub = level if one.background is None else one.background
        parts = (_PARTS + _MORE_PARTS * level) * in_parts
        scaled = ENGLISH + (1 - ENGLISH) * (likeness - level) / max(0.05, 1 - level)
        fit = scaled if background is not None else likeness
        ranks.append(Rank(likeness - _HUB * hub + _WORDS * in_words + parts, fit + _FIT_PARTS * level * in_parts))
    return ranks


def _shares(asked: frozenset[str], found: Sequence[frozenset[str]]) -> list[float]:
    """Return the share of the query that each candidate has. Pieces that are rare among the candidates weigh more."""
    counts = Counter(piece for one in found for piece in one & asked)
    weights = {piece: math.log(1 + (len(found) - counts[piece] + 0.5) / (counts[piece] + 0.5)) for piece in asked}
    whole = sum(weights[piece] for piece in sorted(asked)) or 1.0
    return [sum(weights[piece] for piece in sorted(one & asked)) / whole for one in found]


@lru_cache(maxsize=1024)
def _features(text: str) -> _Features:
    kept = [word for word in words(text) if word not in _STOP]
    parts = {char for char in _CJK.findall(text) if char not in _STOP}
    for word in kept:
        if len(word) > 2 and not _CJK.match(word):
            parts.update(word[at : at + _GRAM] for at in range(max(1, len(word) - _GRAM + 1)))
    return _Features(frozenset(kept), frozenset(parts))
