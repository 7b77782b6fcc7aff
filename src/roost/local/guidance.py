"""Guide a small model: decide whether a turn begins with a look or with an answer, and check an answer about files
against what the model read."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, cast

import msgspec

from roost.local.grounding import Seen, asks_for_person, content_words, is_about_names, is_supported, shares_word
from roost.local.prompt import UNSHOWN, chat, question, result_of, shown_environment
from roost.local.repetition_guard import is_stuck
from roost.local.schema import ANSWERED, CALCULATE, LABELS, LOOKS, label_of, labels, step_schema
from roost.log.content import AssistantMessage, Text, ToolCall, ToolMessage, UserMessage
from roost.models.request import Completed, Notice, Request

MOST_LOOKS = 3
"""Looks of a turn that are forced at most, before the answer is that the files do not say it."""
UNKNOWN = "The files that I looked at do not say that."
_LOOK_ON = "\n\n(These results do not say it. Look in another file, or for another word.)"
_HEAD = re.compile(r'\s*\{\s*"from"\s*:\s*"')
_OURS = re.compile(r"\b(our|ours|my|mine|we|us)\b", re.IGNORECASE)
_AS_IT_IS = re.compile(r"\b(delete|execute|move|remove|rename|run|start|test)\b", re.IGNORECASE)
"""Orders that need no look into the file that they name."""
_YOU = re.compile(r"\byou\b", re.IGNORECASE)
_ANY = re.compile(r"\ban?\b", re.IGNORECASE)
_THAT = re.compile(r"\b(the|this|that|these|those)\b", re.IGNORECASE)
"""A question about any thing of a kind ("a spider") is one for an encyclopedia, one about that thing rarely is."""
_HAS = re.compile(
    r"\b(who|whom|whose)\b.*\b(has|have|had|got|holds?|keeps?|carr(y|ies|ying)|brings?|bringing|owns?|hands?)\b",
    re.IGNORECASE,
)
"""A question for the person that has a thing."""
_WORDS = re.compile(r"[^\W\d_]+( [^\W\d_]+)*")
_ENDING = re.compile(r"(?<=\w{3})(ing|ed|ies|es|(?<!s)s)$")
_NUMBER = re.compile(r"\d")
_ADMITS = re.compile(r"\b(not|no|none|nothing|nobody|unable|cannot|without|unknown)\b|n['\u2019]t\b", re.IGNORECASE)
_OF_TIME = frozenset(
    """clock current currently exactly friday hour minute moment monday next please right saturday sunday thursday
    tomorrow tuesday wednesday week weekday yesterday""".split()
)
"""Words that a question to the clock may have."""


class Progress(NamedTuple):
    """The progress of the turn. `seen`: results, and the user's earlier messages. `looks`: successful calls that
    looked; `empty`: the last one found nothing. `acted`: the model called other tools than looks and sums. `made`: its
    calls, with their arguments."""

    question: str
    around: str
    seen: tuple[Seen, ...]
    looks: int
    reads: int
    empty: bool
    acted: bool
    opens: bool
    made: frozenset[tuple[str, str]]


def progress_of(request: Request) -> Progress:
    asked = around = ""
    seen: list[Seen] = []
    paths: dict[str, str] = {}
    looks = reads = 0
    empty = acted = False
    opens = True
    made: set[tuple[str, str]] = set()
    for message in request.messages:
        match message:
            case UserMessage():
                seen += [Seen("", "", asked)] * bool(asked)
                asked, around = question(message), shown_environment(message)
                looks, reads, empty, acted, opens = 0, 0, False, False, True
                made.clear()
            case AssistantMessage(calls=calls):
                opens = False
                made |= {(call.name, call.arguments) for call in calls}
                acted = acted or any(label_of(call.name) == "order" for call in calls)
                paths |= {call.id: _path(call.arguments) for call in calls if call.name == "read_file"}
            case ToolMessage():
                looks += message.name in LOOKS
                reads += message.name == "read_file" and not message.error
                result = result_of(message)
                empty = message.error or result.startswith(("No match", "No file"))
                if not empty:
                    seen.append(Seen(message.name, paths.get(message.call, ""), result))
    return Progress(asked, around, tuple(seen), looks, reads, empty, acted, opens, frozenset(made))


def _path(arguments: str) -> str:
    try:
        return str(msgspec.json.decode(arguments, type=dict[str, Any]).get("path", ""))
    except msgspec.MsgspecError:
        return ""


def first_labels(request: Request, progress: Progress) -> tuple[str, ...] | None:
    """Return the labels with which the next step may begin; None when the step carries no label."""
    if not request.tools or not progress.opens or request.tool_choice == "none":
        return None
    left = set(labels(request))
    if not progress.around.startswith("[Now:"):
        left.discard("clock")
    if "files" in left and (asks_for_person(progress.question) or _is_about_content(progress)):
        left.discard("order")
    if request.tool_choice == "required":
        left -= ANSWERED
    return tuple(label for label in LABELS if label in left)


def _is_about_content(progress: Progress) -> bool:
    """Whether the order names a file that is there and must be read first, as one to copy or to change it."""
    names = progress.around.partition("Files: ")[2].rstrip("]").split(", ")
    order = progress.question
    return not _AS_IT_IS.search(order) and any(name and name in order for name in names)


class Guidance:
    """Guides one step of the model: limits what it may begin with, and checks its answer.

    `chooses`: the model chooses between a tool and an answer, and its chances are wanted. `checks`: an answer is looked
    at before anybody hears of it. `redirected`: the model began otherwise than it should, so the step is made again.
    `refused`: the answer that was not good enough.
    """

    def __init__(self, request: Request) -> None:
        if request.tools and request.tool_choice != "required" and is_stuck(request.messages):
            request = msgspec.structs.replace(request, tool_choice="none")
        self.request = request
        self.redirected = False
        self._progress = progress_of(request)
        self._only = first_labels(request, self._progress)
        self.chooses = (
            self._only is not None and bool(ANSWERED.intersection(self._only)) and not ANSWERED.issuperset(self._only)
        )
        self.checks = bool(request.tools) and not request.output_schema and is_about_files(self._progress)
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
        """Read the chances of the labels from the chunk that names one. `before`: the text that the model has written.
        Returns a notice about the choice for the log."""
        if not self.chooses:
            return None
        logprobs = cast("dict[str, Any]", choice.get("logprobs") or {})
        for token in cast("list[dict[str, Any]]", logprobs.get("content") or []):
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
        made = choose(self._progress, next(iter(named)), chances_of(odds))
        held = redirect(made, self._only or ())
        if held is not None:
            self._only, self.redirected = held, True
        return Notice("choice", {"from": made.label, "tool": made.tool, "led": made.led, "held": list(held or ())})

    def again(self, result: Completed) -> bool:
        """Return whether the step must be made again under other limits."""
        if self.redirected:
            self.redirected = False
            return True
        message = AssistantMessage(result.parts)
        if not self.checks or self._forced or message.calls or not look_on(self._progress, message.text):
            return False
        self._first, self.refused = result, message.text
        self._forced = self.request.tool_choice == "auto" and self._progress.looks < MOST_LOOKS
        return self._forced

    def final(self, result: Completed) -> Completed:
        """Return the result of the step. An answer that the files do not support becomes one that says so; a search for
        words also finds their other forms."""
        result = msgspec.structs.replace(
            result, parts=tuple(widened(part) if isinstance(part, ToolCall) else part for part in result.parts)
        )
        if self._first is None:
            return result
        calls = AssistantMessage(result.parts).calls
        if calls and not any((call.name, call.arguments) in self._progress.made for call in calls):
            return result
        answer = AssistantMessage(self._first.parts).text
        text = answer if _ADMITS.search(answer) else UNKNOWN
        return msgspec.structs.replace(result, parts=(Text(text),), stop="end")


def widened(call: ToolCall) -> ToolCall:
    """Make a search for plain words ignore case, the ending of the last word, and words without content such as "rate":
    small models write the words of the question, not those of the file."""
    try:
        arguments = msgspec.json.decode(call.arguments, type=dict[str, Any]) if call.name == "grep" else {}
    except msgspec.MsgspecError:
        return call
    pattern = str(arguments.get("pattern", ""))
    if not _WORDS.fullmatch(pattern):
        return call
    telling = content_words(pattern)
    words = [word for word in pattern.split(" ") if not telling or word.lower() in telling]
    encoded = msgspec.json.encode({**arguments, "pattern": _ENDING.sub("", " ".join(words))}).decode()
    return msgspec.structs.replace(call, arguments=encoded.removesuffix("}") + UNSHOWN)


class Choice(NamedTuple):
    """The first choice of a turn. `tool`: the probability of a step with a tool by the model alone; `led`: the same
    with what the question's words say."""

    label: str
    tool: float
    led: float


def choose(progress: Progress, label: str, chances: Mapping[str, float]) -> Choice:
    """`chances` are the probabilities of the labels. The time of a thing is not told by the clock: when the
    question names one, the chance of the clock is one of a look."""
    if _names_a_thing(progress.question) and "clock" in chances:
        chances = {**chances, "clock": 0.0, "files": chances.get("files", 0.0) + chances["clock"]}
    tool = sum(chance for name, chance in chances.items() if name not in ANSWERED)
    answer = sum(chance for name, chance in chances.items() if name in ANSWERED)
    if tool + answer <= 0.0:
        tool, answer = float(label not in ANSWERED), float(label in ANSWERED)
    share = min(max(tool / (tool + answer), 1e-6), 1 - 1e-6)
    led = 1 / (1 + math.exp(-(math.log(share / (1 - share)) + leaning(progress))))
    return Choice(label, round(share, 4), round(led, 4))


def leaning(progress: Progress) -> float:
    """Return how much the words of the question change the odds of a tool, as a logarithm."""
    question = progress.question
    if is_about_names(question) or shares_word(question, progress.around.partition("Files: ")[2]):
        return 2.5
    if not _names_a_thing(question):
        return -2.5 if _YOU.search(question) else 0.0
    if _OURS.search(question):
        return 1.5
    if _HAS.search(question) or re.search(r"\bI\b", question):
        return 1.0
    return -0.8 if _ANY.search(question) and not _THAT.search(question) else 0.0


def _names_a_thing(question: str) -> bool:
    """Whether the question has a word beside those of time and those that say nothing."""
    return any(word not in _OF_TIME for word in content_words(question))


def redirect(choice: Choice, offered: Collection[str]) -> tuple[str, ...] | None:
    """Return the labels that the step is limited to if the model would begin wrongly; None if it may go on."""
    wants_tool = choice.led > 0.5
    if wants_tool == (choice.label not in ANSWERED):
        return None
    if wants_tool:
        kept = tuple(label for label in offered if label in ("files", "calculator"))
    else:
        kept = tuple(label for label in offered if label in ANSWERED)
    return kept or None


def chances_of(label: Mapping[str, float]) -> dict[str, float]:
    """Convert the probabilities of a label's first token to those of labels."""
    chances: dict[str, float] = {}
    for token, chance in label.items():
        name = token.strip(' "')
        known = next((one for one in LABELS if name and (one.startswith(name) or name.startswith(one))), None)
        if known is not None:
            chances[known] = chances.get(known, 0.0) + chance
    return chances


def is_about_files(progress: Progress) -> bool:
    """Return whether the answer must be supported by what the model read: it looked and did nothing else, or the user
    asked for a person."""
    return progress.looks > 0 and (not progress.acted or asks_for_person(progress.question))


def look_on(progress: Progress, answer: str) -> bool:
    """Return whether the model must look on: its answer is not supported, or gives up after one search."""
    if _ADMITS.search(answer) and not _NUMBER.search(answer):
        return progress.empty and progress.reads == 0 and progress.looks < 2
    return not is_supported(progress.question, progress.seen, answer)
