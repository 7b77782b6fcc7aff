"""Answer the calls of a turn that wait for a person, from a protocol whose clients may send their answer twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from roost.doors.open_calls import Asked, OpenCalls, open_calls
from roost.errors import Conflict, Invalid
from roost.log.session_info import Decision
from roost.log.tail import Follower
from roost.runtime import Runtime

SCHEMA = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean"},
        "note": {"type": "string", "description": "told to the agent"},
        "arguments": {"type": "object", "description": "run the call with these arguments instead"},
        "always": {"type": "array", "items": {"type": "string"}, "description": "allow these prefixes from now on"},
    },
    "required": ["approved"],
}
"""The JSON Schema of an answer."""


class Answer(NamedTuple):
    """A decision, and what else `ApprovalService.answer` takes."""

    decision: Decision
    more: dict[str, Any] = {}


def answer_of(given: Any) -> Answer:
    """Return the answer that `given` says, an object of `SCHEMA` or a boolean. Raises `Invalid`."""
    if isinstance(given, bool):
        return Answer("approve" if given else "reject")
    wrong = Invalid('the answer to an approval is {"approved": true or false}, with note, arguments or always')
    if not isinstance(given, dict):
        raise wrong
    answer = cast("dict[str, Any]", given)
    note, arguments, always = answer.get("note"), answer.get("arguments"), answer.get("always", [])
    fine = isinstance(answer.get("approved"), bool) and isinstance(note, str | None)
    if not fine or not isinstance(arguments, dict | None) or not isinstance(always, list):
        raise wrong
    if not answer["approved"]:
        return Answer("reject", {"note": note})
    if arguments is not None:
        return Answer("modify", {"note": note, "arguments": arguments})
    return Answer("approve", {"note": note, "always": [str(one) for one in cast("list[Any]", always)]})


async def answer(
    runtime: Runtime, session: str, item: int, answers: Mapping[Asked, Answer], source: str
) -> tuple[Follower, OpenCalls]:
    """Answer questions of the turn that took `item` in. Return a follower, which the caller closes, of what comes after
    these answers, and the calls that are open there. A question that was answered before, by this request sent twice or
    by somebody else, keeps that answer. Raises `Invalid` when a question is neither open nor answered, and `Conflict`
    when this source has answered an earlier question about its call."""
    sessions, follower = runtime.sessions, runtime.sessions.listen(session)
    try:
        head = (await sessions.get(session)).head
        calls, decided = await open_calls(sessions, session, item, head)
        waiting = {Asked(call, question.at) for call, question in calls.asked.items()}
        if unknown := [one.call for one in answers if one not in waiting and one not in decided]:
            raise Invalid(f"no call {', '.join(unknown)} waits for an answer here")
        own = {one.call for one, how in decided.items() if how.source == source}
        if again := [one.call for one in answers if one in waiting and one.call in own]:
            raise Conflict(
                f"this answered {', '.join(again)} before; answer a new question by a new id", code="unclear_answer"
            )
        before = [decided[one].before for one in answers if one not in waiting]
        follower.after = min([head, *before])
        follower.behind = follower.after < head
        for one, given in answers.items():
            if one in waiting:
                await _decide(runtime, session, one, given, source)
        if before:
            calls, _ = await open_calls(sessions, session, item, follower.after)
        for one in answers:
            calls.answered(one.call)
        return follower, calls
    except BaseException:
        follower.close()
        raise


async def _decide(runtime: Runtime, session: str, asked: Asked, given: Answer, source: str) -> None:
    """Answer a question, if nobody has meanwhile."""
    try:
        await runtime.approvals.answer(session, asked.call, given.decision, asked=asked.at, source=source, **given.more)
    except Conflict as error:
        if error.code != "not_waiting":
            raise
