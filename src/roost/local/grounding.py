"""Check an answer about files against what was read: by words, not by meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_PATH = re.compile(r"\b[\w-]+\.[a-z][a-z0-9]{0,4}\b|\b\w+/\w+|\b(files?|folders?|director(y|ies))\b", re.IGNORECASE)
_FILE_NAME = re.compile(r"[\w./-]*\w\.[a-z][a-z0-9]{0,4}\b")
_WORD = re.compile(r"[^\W\d_]{3,}")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_NAME = re.compile(r"(?<![\w'])[A-Z][^\W\d_A-Z]{2,}")
_WHO = re.compile(r"\b(who|whom|whose|who's)\b", re.IGNORECASE)
_ORDERS = re.compile(
    r"\b(add|append|change|copy|create|delete|edit|make|move|put|remove|rename|replace|run|save|set|write)\b",
    re.IGNORECASE,
)
_WHERE = re.compile(r"\bwhere\b", re.IGNORECASE)
_COUNTS = re.compile(r"\b(how many|how much|count|number of|total|sum|together|altogether|average)\b", re.IGNORECASE)
_AMOUNT = re.compile(
    r"\b(how (many|much|fast|long|old|big|high|tall|far|heavy|large|wide|deep)|what time|number of)\b", re.IGNORECASE
)
_SOME_NUMBER = re.compile(
    r"\d|\b(both|dozen|half|midnight|noon|once|twice|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|"
    r"twelve|(thir|four|fif|six|seven|eigh|nine)(teen|ty)|twenty|forty|hundred|thousand|million)\b",
    re.IGNORECASE,
)
_HIT = re.compile(r"(.+?):\d+: ?(.*)")
_LEADS = frozenset("the a an our my your his her their this that these those which what whose".split())
_JOINS = frozenset(
    """about and any are at be been being both but by can could did do does for from had has have if in is it may
    might must of on or shall should than then they to was we were will with would you""".split()
)
_PROSE = (".txt", ".md", ".csv", ".tsv", ".rst")
_GENERIC = frozenset(
    """a about address all also am amount an and any are ask at be been begin begins being belong belongs both but by
    call called can cost costs could date day depart departs did do does each else end ends ever everything file files
    find folder for from get give go goes got had has have hold holds how i if in into is it its just keep keeps kind
    know last least leave leaves let like list look made make many may me mean month more most much must my name named
    names need new no not now number of on one only or order our out own people person phone place please possession
    price rate read run say says see she should show some something start starts store summarise summarize tell text
    than that the their them there these they thing things this those time to today told two type up us use used uses
    value version want was we were what whats when where which who whom whose why will with word words work would
    write year you your""".split()
)
"""Words that say what is asked for, or nothing: an answer need not stand near them."""


class Seen(NamedTuple):
    """A text that the model was shown. `tool`: whose result it is, empty for what the user said. `path`: the file that
    was read."""

    tool: str
    path: str
    text: str


class _Line(NamedTuple):
    source: str
    text: str

    @property
    def whole(self) -> str:
        return f"{self.source} {self.text}".lower()


def is_supported(question: str, seen: Sequence[Seen], answer: str) -> bool:
    """Whether what was read speaks of what was asked, and has the names and numbers of the answer near it."""
    evidence = _evidence(question, seen)
    if evidence is None or (_AMOUNT.search(question) and not _SOME_NUMBER.search(answer)):
        return False
    computed = " ".join(one.text for one in seen if one.tool == "calculate")
    known = f"{evidence}\n{question}\n{computed}".lower()
    bare = _FILE_NAME.sub(" ", answer)
    numbers = [] if _COUNTS.search(question) else [one.rstrip(".,:") for one in _NUMBER.findall(bare) if len(one) > 1]
    names = [_stem(name.lower()) for name in _names(bare)]
    if any(part not in known for part in numbers + names):
        return False
    asked = _stems(question)
    new = [word for word in content_words(bare) if _stem(word) not in asked]
    shares_stem = not _stems(" ".join(new)).isdisjoint(_stems(evidence))
    if is_about_names(question):
        return True
    if asks_for_person(question):
        return shares_stem
    if not new:
        return bool(numbers or _WHERE.search(question)) or bare == answer
    return shares_stem or bool(numbers or names or _COUNTS.search(question))


def is_about_names(question: str) -> bool:
    """Whether the question names a file, or asks about files and folders."""
    return bool(_PATH.search(question))


def asks_for_person(question: str) -> bool:
    return bool(_WHO.search(question)) and not is_about_names(question) and not _ORDERS.search(question)


def content_words(text: str) -> list[str]:
    """The words that name what a question is about, in lower case, each once."""
    return list(dict.fromkeys(word for word in _WORD.findall(text.lower()) if word not in _GENERIC))


def shares_word(question: str, names: str) -> bool:
    """Whether a word of the question is a word of one of these names."""
    return not _stems(" ".join(content_words(names))).isdisjoint(map(_stem, content_words(question)))


def _stems(text: str) -> set[str]:
    return {_stem(word) for word in _WORD.findall(text.lower())}


def _names(answer: str) -> list[str]:
    starts = {match.start() for match in re.finditer(r"(?:^|[.!?:]\s+)(?=[A-Z])", answer)}
    names = [match[0] for match in _NAME.finditer(answer) if match.start() not in starts]
    first = _NAME.match(answer)
    if first and first[0].lower() not in _GENERIC and len(answer.split()) <= 12:
        names.append(first[0])
    return names


def _evidence(question: str, seen: Sequence[Seen]) -> str | None:
    """The lines that speak of what was asked, in lower case; None when none does."""
    by_name = is_about_names(question)
    listed = by_name or bool(_COUNTS.search(question) or _WHERE.search(question))
    passages: list[str] = []
    for one in seen:
        if one.tool == "calculate" or (one.tool in ("glob", "list_files") and not listed):
            continue
        lines = list(_lines(one))
        passages += [line.whole for line in lines] if by_name or one.tool == "shell" else _speaking(question, lines)
    return "\n".join(passages) or None


def _lines(seen: Seen) -> Iterator[_Line]:
    texts = [text for text in seen.text.splitlines() if text.strip()]
    header = f" {texts[0]}" if texts and seen.path.endswith((".csv", ".tsv")) else ""
    for text in texts:
        hit = _HIT.fullmatch(text) if seen.tool == "grep" else None
        yield _Line(hit[1], hit[2]) if hit else _Line(seen.path + header, text)


def _speaking(question: str, lines: Sequence[_Line]) -> list[str]:
    """Lines that have what was asked, with the lines that belong to them: those under a heading, and in anything but
    prose the next ones. Where no line has it alone, three lines that have it together."""
    alone = [number for number, line in enumerate(lines) if _covers(question, line.whole)]
    kept: set[int] = set(alone)
    for number in alone:
        line = lines[number]
        if line.text.startswith(("#", "[")) or line.text.rstrip().endswith(":"):
            kept |= {number + 1, number + 2}
        if not line.source.partition(" ")[0].endswith(_PROSE):
            kept |= {number - 1, number + 1}
    for number in range(0 if alone else len(lines)):
        near = range(max(number - 1, 0), min(number + 2, len(lines)))
        if _covers(question, "\n".join(lines[one].whole for one in near)):
            kept |= set(near)
    return [lines[number].whole for number in sorted(kept) if 0 <= number < len(lines)]


def _covers(question: str, text: str) -> bool:
    """Whether the text has the thing that was asked for, or all words of the question but one of at least three."""
    words = _plain(question)
    there = _stems(text)
    missing = [word for word in words if _stem(word) not in there]
    if len(words) >= 3 and len(missing) <= 1:
        return True
    return not set(_keys(question, words)).intersection(missing)


def _plain(question: str) -> list[str]:
    """The content words without names, which files often leave out; all where there are only names."""
    words = content_words(question)
    return [word for word in words if not re.search(rf"\b{word.capitalize()}", question[1:])] or words


def _keys(question: str, plain: Sequence[str]) -> list[str]:
    """The words that an answer cannot do without: what is quoted, or of each sentence the first thing that an article
    or the like leads in, or else the first content word (of a question for a person the last)."""
    quoted = re.findall(r"(?<!\w)['\"]([^'\"]+)['\"]", question)
    if quoted:
        return content_words(" ".join(quoted))
    things = [_thing(sentence, plain) for sentence in re.split(r"[.?!]\s+", question)]
    led = [word for thing in things for word in thing]
    return led or list(plain[-1:] if _WHO.search(question) else plain[:1])


def _thing(sentence: str, plain: Sequence[str]) -> list[str]:
    thing: list[str] = []
    inside = False
    for word in re.findall(r"[^\W\d_]+", sentence.lower()):
        if word in _LEADS or word in _JOINS:
            if thing:
                return thing
            inside = word in _LEADS
        elif inside and word in plain:
            thing.append(word)
    return thing


def _stem(word: str) -> str:
    """What inflected forms of a word have in common, roughly."""
    for ending in ("ations", "ation", "ies", "ing", "ed", "es", "s", "y", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
