"""What a coding agent is told when it is started."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from roost.agent.state import State
from roost.log.content import AssistantMessage, Media, ResultPart, Text, ToolCall, ToolMessage, UserMessage, UserPart

_HISTORY = 60_000
_EACH = 4_000
_RESULT = 2_000
_BEFORE = "[What was said in this session before, by another agent or in a conversation that is gone:]"
_CUT_OFF = (
    "[You were stopped in the middle of your work and started again; your files are as you left them. Go on with the"
    " task below where you were, and do not repeat what you have done.]"
)
_MEDIA = "[a file of type {0} came with this message, and is not here any more]"


def prompt_of(
    state: State,
    said: Sequence[UserMessage],
    *,
    told: int,
    knows: bool,
    file: Callable[[Media], str],
    again: Sequence[ToolCall] = (),
) -> str:
    """Return the prompt. said: the user's messages of this turn. told: how many the program has been told. knows: it
    has a conversation to resume. file: says where a file of these messages is. again: the calls that it makes first,
    and need not be told of."""
    fresh = [_text(message.parts, file) for message in said[told:]]
    lines: list[str] = []
    if not knows and (before := _history(state, said)):
        lines += [_BEFORE, before, "[What you are asked now:]"]
    if told:
        lines += [_CUT_OFF, *_cut_calls(state, again), *(_text(message.parts, file) for message in said[:told])]
    return "\n\n".join([*lines, *fresh]) + "\n"


def _cut_calls(state: State, again: Sequence[ToolCall]) -> list[str]:
    """Return what became of the newest calls."""
    results: list[str] = []
    made = {call.id for call in again}
    for entry in reversed(state.entries):
        if not isinstance(message := entry.message, ToolMessage):
            break
        if message.call not in made:
            results.append(f"[Your last call, {message.name}: {_text(message.parts)[:_RESULT]}]")
    return results[::-1]


def _history(state: State, said: Sequence[UserMessage]) -> str:
    """Return what was said before this turn, the newest where it is much."""
    lines: list[str] = []
    for entry in state.entries:
        match entry.message:
            case UserMessage(parts=parts) if entry.message not in said:
                lines.append(f"User: {_text(parts)[:_EACH]}")
            case AssistantMessage(parts=parts):
                text = "".join(part.text for part in parts if isinstance(part, Text))
                lines += [f"Agent: {text[:_EACH]}"] if text.strip() else []
            case _:
                pass
    while lines and sum(map(len, lines)) > _HISTORY:
        del lines[0]
    return "\n\n".join(lines)


def _gone(part: Media) -> str:
    return _MEDIA.format(part.media_type)


def _text(parts: Sequence[UserPart] | Sequence[ResultPart], file: Callable[[Media], str] = _gone) -> str:
    return "\n".join(part.text if isinstance(part, Text) else file(part) for part in parts)
