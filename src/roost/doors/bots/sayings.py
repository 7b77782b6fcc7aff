"""What a chat is told of its session's events."""

from __future__ import annotations

from os.path import basename
from typing import NamedTuple

from roost.doors.bots.questions import asked_text, fits, question_id
from roost.features.bots.events import FilesSent
from roost.features.bots.records import LetterFile
from roost.features.delegation.events import ChildWaits
from roost.features.schedules.state import says_nothing
from roost.log import events as ev
from roost.log.content import Audio, Image, Text, Video

TOLD = (
    b'{"type":"model.completed"',
    b'{"type":"turn.completed"',
    b'{"type":"approval.requested"',
    b'{"type":"approval.resolved"',
    b'{"type":"child.waits"',
    b'{"type":"bot.files"',
)
"""The beginnings of the events that a chat is told of."""
_ENDS = {
    "failed": "I could not answer",
    "limit": "I stopped at a limit",
    "cancelled": "Stopped",
}
_ANSWERED = {"approve": "Approved", "reject": "Rejected", "modify": "Approved with other arguments"}


class Saying(NamedTuple):
    """One thing to tell. text: Markdown; empty for nothing. call: the one that waits for a person, with the id of this
    question. settles: the call whose question this answers: its message gets this text instead of the buttons. media:
    of the answer. files: of the workspace, as copies."""

    text: str
    call: str = ""
    question: str = ""
    settles: str = ""
    media: tuple[Image | Audio | Video, ...] = ()
    files: tuple[LetterFile, ...] = ()


def saying_of(session: str, seq: int, event: ev.Event) -> Saying:
    """Return what to tell of an event. The same for the same event: a crash may have cut its delivery off."""
    match event:
        case ev.ModelCompleted():
            text = "".join(part.text for part in event.parts if isinstance(part, Text))
            media = tuple(one for one in event.parts if isinstance(one, Image | Audio | Video) and one.data)
            return Saying("" if says_nothing(text) else text, media=media)
        case ev.TurnCompleted(outcome=outcome, reason=reason) if outcome in _ENDS:
            silent = outcome == "failed" and (reason or "").startswith("empty:")
            why = "" if outcome == "cancelled" or not reason else f": {plain_line(reason)}"
            return Saying("" if silent else f"{_ENDS[outcome]}{why}.")
        case ev.ApprovalRequested():
            question = question_id(session, event.call, seq) if fits(event.arguments) else ""
            return Saying(asked_text(event), call=event.call, question=question)
        case ev.ApprovalResolved():
            by = event.source or event.account
            told = f"{_ANSWERED[event.decision]}{f' by {plain_line(by)}' if by else ''}."
            return Saying(told, settles=event.call)
        case ChildWaits():
            told = f"A task in the background asks: {plain_line(event.tool)} — /approve or /reject answers it."
            return Saying(told, call=event.call)
        case FilesSent(files=files):
            failed = "\n".join(f"{plain_line(one.path)}: {plain_line(one.error)}" for one in files if one.error)
            there = (LetterFile(one.upload, basename(one.path), one.media_type, one.size) for one in files)
            return Saying(failed, files=tuple(one for one in there if one.upload))
        case _:
            return Saying("")


def plain_line(text: str) -> str:
    """Return a text as one line of Markdown that shows it as it is."""
    line = " ".join(text.split())[:500].rstrip(".")
    return "".join("\\" + one if one in "\\`*_[]#~>|" else one for one in line)
