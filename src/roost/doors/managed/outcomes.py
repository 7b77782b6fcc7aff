"""Outcomes of the Managed Agents API are goals of sessions (`features/outcomes`)."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import Meta

from roost.agent.state import State
from roost.doors.managed.content import FileOf
from roost.doors.managed.requests import Asking, maybe_stamp, stamp
from roost.errors import Invalid
from roost.features.outcomes.events import OutcomeJudged
from roost.features.outcomes.goal import RUBRIC, Finding, Goal
from roost.features.outcomes.state import OutcomeState
from roost.log import events as ev
from roost.log.content import Text, Usage

OUTCOME = "managed.outcome"
"""In the note of a message: the id of the outcome that it describes, its rubric and its number of attempts."""
_PREFIX = "outc_"


class TextRubric(Asking, tag_field="type", tag="text"):
    content: Annotated[str, Meta(min_length=1)]


class FileRubric(Asking, tag_field="type", tag="file"):
    file_id: str


Rubric: TypeAlias = TextRubric | FileRubric


class DefineOutcome(Asking, tag_field="type", tag="user.define_outcome"):
    description: Annotated[str, Meta(min_length=1, max_length=RUBRIC, pattern=r"\S")]
    rubric: Rubric
    max_iterations: Annotated[int, Meta(ge=1, le=20)] | None = None


def outcome_id(name: str) -> str:
    return f"{_PREFIX}{name}"


async def goal_of(given: DefineOutcome, id: str, where: str, file: FileOf) -> Goal:
    """Return the goal that an outcome is. Raises `Invalid` for a rubric without text, or of too many characters."""
    rubric = given.rubric
    text = rubric.content if isinstance(rubric, TextRubric) else await _read(rubric.file_id, where, file)
    if not text.strip() or len(text) > RUBRIC:
        raise Invalid(f"{where}.rubric: give at most {RUBRIC} characters of text")
    return Goal(rubric=text, attempts=given.max_iterations or 3, id=id, description=given.description)


async def _read(id: str, where: str, file: FileOf) -> str:
    _, _, content = await file(id)
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Invalid(f"{where}.rubric: the file {id!r} is not text") from None


def note_of(goal: Goal) -> dict[str, Any]:
    return {OUTCOME: {"id": goal.id, "rubric": goal.rubric, "max_iterations": goal.attempts}}


def defined_by(event: ev.InputReceived) -> dict[str, Any] | None:
    """Return the fields of the outcome that a message describes; None for any other message."""
    noted: Any = event.note.get(OUTCOME) if event.source == "managed" and event.note else None
    text = "".join(part.text for part in event.parts if isinstance(part, Text))
    return None if noted is None else _fields(noted["id"], text, noted["rubric"], noted["max_iterations"])


def defined(goal: Goal) -> dict[str, Any]:
    return _fields(goal.id, goal.description, goal.rubric, goal.attempts)


def _fields(id: str, description: str, rubric: str, attempts: int) -> dict[str, Any]:
    return {
        "outcome_id": id,
        "description": description,
        "rubric": {"type": "text", "content": rubric},
        "max_iterations": attempts,
    }


def evaluation_events(start: str, end: str, event: OutcomeJudged, usage: Usage) -> list[dict[str, Any]]:
    """Return the events of a check. start, end: their ids. usage: of the grader. A goal that was not set through this
    API has none."""
    if not event.goal.startswith(_PREFIX):
        return []
    about = {"outcome_id": event.goal, "iteration": event.attempt - 1, "processed_at": stamp(event.at)}
    result = "satisfied" if event.met else "needs_revision" if event.message else "max_iterations_reached"
    counted = {
        "input_tokens": max(0, usage.input - usage.cached - usage.written),
        "output_tokens": usage.output,
        "cache_read_input_tokens": usage.cached,
        "cache_creation_input_tokens": usage.written,
    }
    begun = {"id": start, "type": "span.outcome_evaluation_start", **about}
    verdict = {"result": result, "explanation": explained(event.findings), "usage": counted}
    done = {"id": end, "type": "span.outcome_evaluation_end", "outcome_evaluation_start_id": start, **about, **verdict}
    return [begun, done]


def explained(findings: tuple[Finding, ...]) -> str:
    return "\n".join(f"{'met' if one.met else 'not met'}: {one.what}: {one.detail}" for one in findings)


def evaluations(state: State) -> list[dict[str, Any]]:
    """Return how it stands with the outcome of a session, if it has one of this API."""
    part = state.part(OutcomeState)
    goal = part.goal
    if goal is None or not goal.id.startswith(_PREFIX):
        return []
    ended = {"met": "satisfied", "unmet": "max_iterations_reached"}.get(part.status)
    return [
        {
            "type": "outcome_evaluation",
            "outcome_id": goal.id,
            "description": goal.description,
            "iteration": max(0, part.attempts - (1 if ended else 0)),
            "result": ended or ("running" if state.turn is not None else "pending"),
            "explanation": explained(part.findings) or None,
            "completed_at": maybe_stamp(part.ended),
        }
    ]
