"""Lead a small model: decide whether a turn begins with a look or with an answer, and check an answer about files
against what was read."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, cast

import msgspec

from roost.llm.ir import Completed, Notice, Request
from roost.llm.local.guard import is_stuck
from roost.llm.local.prompt import chat, environment, question, result_of
from roost.llm.local.schema import ANSWERED, CALCULATE, LABELS, LOOKS, label_of, labels, step_schema
from roost.log.content import AssistantMessage, Text, ToolMessage, UserMessage

MOST_LOOKS = 3
"""Looks of a turn that are forced at most, before the answer is that the files do not say it."""
UNKNOWN = "The files that I looked at do not say that."
_LOOK_ON = "\n\n(These results do not say it. Look in another file, or for another word.)"
_HEAD = re.compile(r'\s*\{\s*"from"\s*:\s*"')
_OURS = re.compile(r"\b(our|ours|my|mine|we|us)\b", re.IGNORECASE)
_PATH = re.compile(r"\b[\w-]+\.[a-z][a-z0-9]{0,4}\b|\b\w+/\w+|\b(files?|folders?|director(y|ies))\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{3,}")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_NAME = re.compile(r"(?<![\w'])[A-Z][^\W\d_A-Z]{2,}")
_ADMITS = re.compile(r"\b(not|no|none|nothing|nobody|unable|cannot|without|unknown)\b|n['\u2019]t\b", re.IGNORECASE)
_COUNTS = re.compile(r"\b(how many|how much|count|number of|total|sum|together|altogether|average)\b", re.IGNORECASE)
_GENERIC = frozenset(
    """a about all also am an and any are ask at be been being belong belongs both but by call called can cost costs
    could date day did do does each else ever everything file files find folder for from get give go goes got
    had has have hold holds how i if in into is it its just keep keeps kind know last least let like list look
    made make many may me mean month more most much must my name named names need new no not now number of on
    one only or order our out own people person phone place please possession price read run say says see she
    should show some something store summarise summarize tell text than that the their them there these they
    thing things this those time to today told two type up us use used uses value want was we were what whats
    when where which who whom whose why will with word words work would write year you your""".split()
)
"""Words that say what is asked for, or nothing: an answer need not stand near them."""


class Stand(NamedTuple):
    """How far the turn is. `seen`: the text of results, in lower case. `looks`: calls that looked and worked; `empty`:
    the last one found nothing. `acted`: it called something else than looks and sums. `made`: its calls, with
    their arguments."""

    question: str
    around: str
    seen: str
    looks: int
    reads: int
    empty: bool
    acted: bool
    opens: bool
    made: frozenset[tuple[str, str]]


def stand_of(request: Request) -> Stand:
    said = around = ""
    seen: list[str] = []
    looks = reads = 0
    empty = acted = False
    opens = True
    made: set[tuple[str, str]] = set()
    for message in request.messages:
        match message:
            case UserMessage():
                seen.append(said)
                said, around = question(message), environment(message)
                looks, reads, empty, acted, opens = 0, 0, False, False, True
                made.clear()
            case AssistantMessage(calls=calls):
                opens = False
                made |= {(call.name, call.arguments) for call in calls}
                acted = acted or any(label_of(call.name) == "order" for call in calls)
                seen += [call.arguments for call in calls if call.name == "read_file"]
            case ToolMessage():
                looks += message.name in LOOKS
                reads += message.name == "read_file" and not message.error
                result = result_of(message)
                empty = message.error or result.startswith(("No match", "No file"))
                if not empty:
                    seen.append(result)
    return Stand(said, around, "\n".join(seen).lower(), looks, reads, empty, acted, opens, frozenset(made))


def first_labels(request: Request, stand: Stand) -> tuple[str, ...] | None:
    """With which the next step may begin; None when it carries no label."""
    if not request.tools or not stand.opens or request.tool_choice == "none":
        return None
    left = set(labels(request))
    if not stand.around.startswith("[Now:"):
        left.discard("clock")
    if request.tool_choice == "required":
        left -= ANSWERED
    return tuple(label for label in LABELS if label in left)


class Lead:
    """How one step of the model is led: what it may begin with, and whether what it says will do.

    `chooses`: the model chooses between a tool and an answer, and its chances are wanted. `checks`: an answer is looked
    at before anybody hears of it. `redirected`: the model began otherwise than it should, so the step is made again.
    `refused`: the answer that was not good enough.
    """

    def __init__(self, request: Request) -> None:
        if request.tools and request.tool_choice != "required" and is_stuck(request.messages):
            request = msgspec.structs.replace(request, tool_choice="none")
        self.request = request
        self.redirected = False
        self._stand = stand_of(request)
        self._only = first_labels(request, self._stand)
        self.chooses = (
            self._only is not None and bool(ANSWERED.intersection(self._only)) and not ANSWERED.issuperset(self._only)
        )
        self.checks = bool(request.tools) and not request.output_schema and is_about_files(self._stand)
        self._forced = False
        self._first: Completed | None = None
        self.refused = ""

    def schema(self) -> dict[str, Any] | None:
        request = self.request
        if self._forced:
            looking = tuple(tool for tool in request.tools if tool.name in LOOKS or tool.name == CALCULATE)
            request = msgspec.structs.replace(request, tools=looking, tool_choice="required")
        return step_schema(request, only=self._only)

    def messages(self, cap: int) -> list[dict[str, str]]:
        messages = chat(self.request, cap=cap)
        if self._forced:
            messages[-1]["content"] += _LOOK_ON
        return messages

    def hear(self, before: str, choice: Mapping[str, Any]) -> Notice | None:
        """Learn the chances of the labels from a chunk, where it is the one that names it. `before`: what the model
        has said. Returns what the log shall say of the choice."""
        if not self.chooses:
            return None
        told = cast("dict[str, Any]", choice.get("logprobs") or {})
        for token in cast("list[dict[str, Any]]", told.get("content") or []):
            if _HEAD.fullmatch(before):
                return self._chosen(token)
            before += token["token"]
        return None

    def _chosen(self, token: Mapping[str, Any]) -> Notice | None:
        named = chances_of({token["token"]: 1.0})
        if not named:
            return None
        self.chooses = False
        odds = {one["token"]: math.exp(one["logprob"]) for one in token["top_logprobs"]}
        made = choose(self._stand, next(iter(named)), chances_of(odds))
        held = redirect(made, self._only or ())
        if held is not None:
            self._only, self.redirected = held, True
        return Notice("choice", {"from": made.label, "tool": made.tool, "led": made.led, "held": list(held or ())})

    def again(self, result: Completed) -> bool:
        """Whether the step must be made again, held to something else."""
        if self.redirected:
            self.redirected = False
            return True
        message = AssistantMessage(result.parts)
        if not self.checks or self._forced or message.calls or not look_on(self._stand, message.text):
            return False
        self._first, self.refused = result, message.text
        self._forced = self.request.tool_choice == "auto" and self._stand.looks < MOST_LOOKS
        return self._forced

    def final(self, result: Completed) -> Completed:
        """What the step comes to: an answer that does not stand in the files becomes one that says so."""
        if self._first is None:
            return result
        calls = AssistantMessage(result.parts).calls
        if calls and not any((call.name, call.arguments) in self._stand.made for call in calls):
            return result
        said = AssistantMessage(self._first.parts).text
        text = said if _ADMITS.search(said) else UNKNOWN
        return msgspec.structs.replace(result, parts=(Text(text),), stop="end")


class Choice(NamedTuple):
    """The first choice of a turn. `tool`: the probability of a step with a tool by the model alone; `led`: the same
    with what the question's words say."""

    label: str
    tool: float
    led: float


def choose(stand: Stand, label: str, chances: Mapping[str, float]) -> Choice:
    """`chances` are the probabilities of the labels."""
    tool = sum(chance for name, chance in chances.items() if name not in ANSWERED)
    answer = sum(chance for name, chance in chances.items() if name in ANSWERED)
    if tool + answer <= 0.0:
        tool, answer = float(label not in ANSWERED), float(label in ANSWERED)
    share = min(max(tool / (tool + answer), 1e-6), 1 - 1e-6)
    led = 1 / (1 + math.exp(-(math.log(share / (1 - share)) + leaning(stand))))
    return Choice(label, round(share, 4), round(led, 4))


def leaning(stand: Stand) -> float:
    """What the words of the question add to the odds of a tool, as a logarithm."""
    if _PATH.search(stand.question) or _named(stand):
        return 2.5
    if _OURS.search(stand.question):
        return 1.5
    return 1.0 if re.search(r"\bI\b", stand.question) else 0.0


def _named(stand: Stand) -> bool:
    """Whether the question has a word of a file's name."""
    _, _, names = stand.around.partition("Files: ")
    there = {_stem(word) for word in _WORD.findall(names.lower()) if word not in _GENERIC}
    return any(_stem(word) in there for word in content_words(stand.question))


def redirect(choice: Choice, offered: Collection[str]) -> tuple[str, ...] | None:
    """The labels to which the step must be held, when the model would have begun otherwise; None to let it go on."""
    wants_tool = choice.led > 0.5
    if wants_tool == (choice.label not in ANSWERED):
        return None
    if wants_tool:
        kept = tuple(label for label in offered if label in ("files", "calculator"))
    else:
        kept = tuple(label for label in offered if label in ANSWERED)
    return kept or None


def chances_of(label: Mapping[str, float]) -> dict[str, float]:
    """From the probabilities of a label's first token to those of labels."""
    found: dict[str, float] = {}
    for token, chance in label.items():
        name = token.strip(' "')
        known = next((one for one in LABELS if name and (one.startswith(name) or name.startswith(one))), None)
        if known is not None:
            found[known] = found.get(known, 0.0) + chance
    return found


def is_about_files(stand: Stand) -> bool:
    """Whether an answer now must be found in what was read: there were looks, and nothing else was done."""
    return stand.looks > 0 and not stand.acted


def look_on(stand: Stand, answer: str) -> bool:
    """Whether the answer is not good enough yet: it does not stand in what was read, or gives up after one search."""
    if _ADMITS.search(answer) and not _NUMBER.search(answer):
        return stand.empty and stand.reads == 0 and stand.looks < 2
    return not is_supported(stand, answer)


def is_supported(stand: Stand, answer: str) -> bool:
    """Whether what was read speaks of what was asked, and has the names and numbers of the answer."""
    seen = f"{stand.seen}\n{stand.around.lower()}"
    if not _speaks_of(stand.question, stand.seen):
        return False
    known = f"{seen}\n{stand.question.lower()}"
    if not _COUNTS.search(stand.question):
        numbers = [number for number in _NUMBER.findall(answer) if len(number) > 1]
        if any(number.rstrip(".,:") not in known for number in numbers):
            return False
    starts = {found.start() for found in re.finditer(r"(?:^|[.!?:]\s+)(?=[A-Z])", answer)}
    names = [found[0] for found in _NAME.finditer(answer) if found.start() not in starts and found.start() != 0]
    first = _NAME.match(answer)
    if first and first[0].lower() not in _GENERIC and len(answer.split()) <= 12:
        names.append(first[0])
    return all(_stem(name.lower()) in known for name in names)


def _speaks_of(asked: str, seen: str) -> bool:
    words = content_words(asked)
    plain = [word for word in words if not re.search(rf"\b{word.capitalize()}", asked[1:])] or words
    if not plain:
        return True
    found = sum(_stem(word) in seen for word in plain)
    return found * 2 >= len(plain)


def content_words(text: str) -> list[str]:
    """The words that name what a question is about, in lower case, each once."""
    return list(dict.fromkeys(word for word in _WORD.findall(text.lower()) if word not in _GENERIC))


def _stem(word: str) -> str:
    """What inflected forms of a word have in common, roughly."""
    for ending in ("ies", "ing", "ers", "ed", "es", "er", "s", "y", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
