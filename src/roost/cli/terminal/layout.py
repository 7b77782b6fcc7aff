"""The rows of the live area, from what there is to show and the room that the screen has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from roost.cli.terminal.editor import Editor
from roost.cli.terminal.lines import CYAN, DIM, Line, Span, cut, text_of, width

if TYPE_CHECKING:
    from roost.cli.terminal.completion import Completion

_PROMPT, _MORE = "> ", "  "
STARTING, DEFAULT_MODEL = "starting", "default model"
"""Shown while nothing is known of the session yet."""
_EDITOR = 8
"""Most rows of the editor."""
_OFFERS = 8
_AIRY = 10
"""Rows of a screen from which on an empty one stands below the history."""


class Drawn(NamedTuple):
    """`cursor`: its row, and the text left of it."""

    rows: list[Line]
    cursor: tuple[int, str]


def editor_rows(editor: Editor, columns: int, most: int, *, prompt: str = _PROMPT, ghost: str = "") -> Drawn:
    """Return the rows around the cursor. `ghost`: dim text of an empty editor."""
    room = max(4, columns - len(_MORE) - 1)
    rows, at = editor.rows(room)
    most = max(1, min(most, _EDITOR))
    first = max(0, min(at - most // 2, len(rows) - most))
    drawn: list[Line] = []
    for number, row in enumerate(rows[first : first + most], first):
        head = prompt if number == 0 else _MORE
        drawn.append((Span(head, CYAN), Span(row.text)))
    if not editor.text and ghost:
        drawn = [(Span(prompt, CYAN), Span(ghost, DIM))]
    left = (prompt if at == 0 else _MORE) + rows[at].text[: editor.at - rows[at].begin]
    return Drawn(drawn, (at - first, left))


def offer_rows(completion: Completion, chosen: int, columns: int, most: int) -> list[Line]:
    """Return the completions around the chosen one."""
    room = max(1, min(most, _OFFERS))
    first = max(0, min(chosen - room // 2, len(completion.offers) - room))
    shown = completion.offers[first : first + room]
    wide = min(max((width(one.text) for one in shown), default=0), 24)
    rows: list[Line] = []
    for number, one in enumerate(shown, first):
        style = CYAN if number == chosen else ""
        mark = "› " if number == chosen else "  "
        pad = " " * max(0, wide - width(one.text))
        rows.append(cut((Span(mark, CYAN), Span(one.text, style), Span(f"{pad}  {one.help}", DIM)), columns))
    return rows


def footer(fields: Sequence[str], right: str, columns: int) -> Line:
    """Return the fields that fit; the last ones are dropped first, and the first is cut."""
    kept = list(fields)
    while len(kept) > 1 and width("  ".join([*kept, right])) > columns:
        kept.pop()
    text = text_of(cut((Span("  ".join(kept)),), max(0, columns - width(right) - 2 * bool(right))))
    gap = columns - width(text) - width(right) if right else 0
    return cut((Span(text, DIM), Span(" " * max(2, gap) if right else "", ""), Span(right, DIM)), columns)


class Parts(NamedTuple):
    """What there is to show, each as rows, the most important of the `open` ones last."""

    open: list[Line]
    running: list[Line]
    status: list[Line]
    queue: list[Line]
    below: list[Line]
    """A dialog's choices, above the editor."""
    editor: Drawn
    offers: list[Line]
    footer: list[Line]


def arranged(parts: Parts, height: int) -> Drawn:
    """Return as much as fits into `height` rows: the editor and the choices always, then status, footer, the open
    line, the queue, calls."""
    left = height - len(parts.editor.rows)
    below = parts.below[: max(1, left)] if parts.below else []
    left -= len(below)
    offers = parts.offers[: max(0, left)]
    left -= len(offers)
    found = {
        "open": parts.open, "running": parts.running, "status": parts.status, "queue": parts.queue,
        "footer": parts.footer,
    }  # fmt: skip
    taken: dict[str, list[Line]] = {}
    for name, least in (("status", 1), ("open", 1), ("footer", 1), ("queue", 2), ("running", 4), ("open", 99)):
        rows = found[name]
        before = len(taken.get(name, ()))
        more = min(least, len(rows), before + max(0, left))
        if more > before:
            left -= more - before
            taken[name] = rows[-more:] if name == "open" else rows[:more]
    gap: list[Line] = [()] if left > 0 and height >= _AIRY else []
    above = [
        *taken.get("open", ()),
        *gap,
        *taken.get("running", ()),
        *taken.get("status", ()),
        *taken.get("queue", ()),
        *below,
    ]
    rows = [*above, *parts.editor.rows, *offers, *(() if offers else taken.get("footer", ()))]
    return Drawn(rows, (len(above) + parts.editor.cursor[0], parts.editor.cursor[1]))
