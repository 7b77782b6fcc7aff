"""Words about a session, for people: what it does, and what was said in it."""

from __future__ import annotations

from roost.log.content import Text, UserPart
from roost.log.session_info import SessionInfo


def activity(info: SessionInfo) -> str:
    if info.state != "running":
        return info.state
    return "failed" if info.phase == "idle" and trouble(info) else info.phase


def trouble(info: SessionInfo) -> str | None:
    """Return why the last turn had no answer, if that was a failure or a limit."""
    turn = info.last_turn
    return (turn.reason or turn.outcome) if turn is not None and turn.outcome in ("failed", "limit") else None


def user_text(parts: tuple[UserPart, ...]) -> str:
    """Return what a person said: text, and the names of files."""
    return "\n".join(part.text if isinstance(part, Text) else f"[{part.name or part.media_type}]" for part in parts)


def own_parts(parts: tuple[UserPart, ...]) -> tuple[UserPart, ...]:
    """Leave out what features add behind a person's words for the model, such as the time and the names of files: each
    is a text of its own in brackets."""
    return (*parts[:1], *(part for part in parts[1:] if not _added(part)))


def _added(part: UserPart) -> bool:
    return isinstance(part, Text) and part.text.startswith("[") and part.text.endswith("]")
