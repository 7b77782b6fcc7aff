"""A summary by rule: one short line for each message, the newest last. Costs nothing and never fails."""

from __future__ import annotations

from collections.abc import Sequence

from roost.agent.state import Entry
from roost.log.content import AssistantMessage, Message, Text, UserMessage, UserPart
from roost.models.tokens import estimate_text

TITLE = "What was said before, shortened by rule:"
_GAP = "[...]"
"""In ASCII, as all text added here: other letters count for more tokens."""
_LEAST, _MOST = 60, 240
"""Characters of a line."""


def extract(entries: Sequence[Entry], before: str, *, cap: int) -> str:
    """Summarize messages and the last summary `before` in at most `cap` estimated tokens. More messages get shorter
    lines, and the oldest lines are dropped first."""
    kept, lines = _carried(before, cap // 2)
    room = cap - estimate_text(TITLE) - estimate_text(kept) - estimate_text(_GAP) - 2
    each = min(max(3 * room // (len(entries) + len(lines) + 1), _LEAST), _MOST)
    lines = [_short(line, each) for line in lines]
    for entry in entries:
        if not entry.head:
            lines += _lines(entry.message, entry.turn, each)
    chosen = _newest(lines, room)
    while True:
        gap = [_GAP] if len(chosen) < len(lines) else []
        text = "\n".join(filter(None, [TITLE, kept, *gap, *chosen]))
        if not chosen or estimate_text(text) <= cap:
            return text
        del chosen[0]  # one line in another script raises the token estimate of all letters


def shortened(text: str, cap: int) -> str:
    """Return the beginning of a text, at most `cap` estimated tokens, cut at a line's end if one is near."""
    if estimate_text(text) <= cap:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if estimate_text(text[:middle]) < cap - 1 else (low, middle - 1)
    line = text.rfind("\n", low // 2, low)
    return text[: line if line > 0 else low].rstrip() + " ..."


def _carried(before: str, cap: int) -> tuple[str, list[str]]:
    """Split the last summary into (a text to keep, the lines if it was made by rule)."""
    title, _, rest = before.partition("\n")
    if title != TITLE:
        return shortened(before, cap), []
    lines = [line for line in rest.split("\n") if line != _GAP]
    model = [line for line in lines if not line.startswith(_MARKS)]
    return shortened("\n".join(model), cap), [line for line in lines if line.startswith(_MARKS)]


_MARKS = ("Turn ", "User: ", "You: ", "You called ")


def _lines(message: Message, turn: int, most: int) -> list[str]:
    match message:
        case UserMessage():
            who = f"Turn {turn}" if turn else "User"
            return [f"{who}: {_short(_text(message.parts), most)}"]
        case AssistantMessage():
            said = [f"You: {_short(message.text, most)}"] if message.text.strip() else []
            calls = ", ".join(f"{call.name}({call.arguments[:most]})" for call in message.calls)
            return [*said, f"You called {_short(calls, most)}"] if calls else said
        case _:
            return []


def _text(parts: Sequence[UserPart]) -> str:
    return " ".join(part.text if isinstance(part, Text) else f"[{part.media_type}]" for part in parts)


def _short(text: str, most: int) -> str:
    flat = " ".join(text[: 4 * most].split())
    return flat if len(flat) <= most else flat[: most - 3] + "..."


def _newest(lines: Sequence[str], room: int) -> list[str]:
    chosen: list[str] = []
    for line in reversed(lines):
        room -= estimate_text(line) + 1
        if room < 0:
            break
        chosen.append(line)
    return chosen[::-1]
