"""The rows of `roost top`, from an overview and the room that the screen has."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from roost.cli.renderer import arguments_line
from roost.cli.terminal.lines import BOLD, CYAN, DIM, GREEN, RED, YELLOW, Line, Span, cut, plain, text_of, width
from roost.cli.top.overview import Overview, word
from roost.ids import short
from roost.log.session_info import SessionInfo
from roost.log.session_views import WaitingCall
from roost.money.budgets import Month
from roost.terminal_text import one_line, visible

_NODES = 4
_STYLES = {"waiting": YELLOW, "working": GREEN, "error": RED, "pending": CYAN, "paused": DIM, "stopped": DIM}
_WIDTHS = {"SESSION": 8, "AGENT": 16, "STATE": 8, "ACTIVE": 7, "QUEUE": 5}
_LEAST = ("QUEUE", "AGENT", "ACTIVE")
"""What a narrow screen leaves out, the first one first."""
_ABOUT = 12
"""Columns for what a session is about, where there are so many."""
SELECTED = "7"


class Layout(NamedTuple):
    """The rows above the list, and how many of the list fit."""

    above: list[Line]
    room: int


def summary(now: Overview, where: str, columns: int) -> list[Line]:
    """Return the lines about everything: counts, money, nodes."""
    counts: dict[str, int] = {}
    for info in now.sessions:
        counts[word(info)] = counts.get(word(info), 0) + 1
    states = ", ".join(f"{counts[name]} {name}" for name in ("working", "waiting", "error") if counts.get(name))
    queued = sum(info.pending for info in now.sessions)
    count = len(now.sessions)
    total = f"{count}{'+' if now.more else ''} session{'' if count == 1 else 's'}"
    parts = [total + (f": {states}" if states else ""), f"queue {queued}"]
    if now.month is not None:
        parts.append(_money(now.month))
    head = (Span("roost top ", BOLD), *plain(where, DIM), Span("   "), *plain("   ".join(parts)))
    rows: list[Line] = [cut(head, columns)]
    if now.nodes is not None:
        rows += [cut(row, columns) for row in _nodes(now)]
    return rows


def _nodes(now: Overview) -> list[Line]:
    assert now.nodes is not None
    found = sorted(now.nodes.nodes, key=lambda one: (one.alive, one.id))
    rows: list[Line] = []
    for one in found[:_NODES]:
        state = "draining" if one.draining else "works" if one.alive else "lost"
        style = GREEN if state == "works" else YELLOW if state == "draining" else RED
        beat = max(0.0, now.at - one.beat_at)
        told = f"  live {one.live}  room {one.room}  beat {beat:.0f} s ago  {one.url or ''}"
        rows.append((Span("node ", DIM), *plain(f"{one.id[-8:]} "), Span(state, style), *plain(told, DIM)))
    if len(found) > _NODES:
        rows.append((Span(f"     and {len(found) - _NODES} more nodes: roost nodes", DIM),))
    if now.nodes.waiting:
        text = f"{now.nodes.waiting} sessions wait for a node, the oldest for {now.nodes.waiting_seconds:.0f} s"
        rows.append(plain(text, YELLOW))
    return rows


def _money(month: Month) -> str:
    show = month.unit.show
    of = f" of {show(month.limit)}" if month.limit is not None else ""
    held = f", {show(month.reserved)} reserved" if month.reserved else ""
    return f"{month.month}: {show(month.spent)}{of}{held}"


def approval_rows(waiting: Sequence[WaitingCall], most: int, columns: int) -> list[Line]:
    """Return the calls that wait for a person, in at most `most` rows."""
    if not waiting:
        return []
    shown = waiting if len(waiting) <= most else waiting[: max(0, most - 1)]
    rows: list[Line] = []
    for one in shown:
        what = one_line(arguments_line(one.arguments), 200)
        text = f"{visible(one.tool)} {what}  ({visible(one.reason)})"
        rows.append(cut((Span("? ", YELLOW), Span(f"{short(one.session)} ", YELLOW), *plain(text)), columns))
    if len(shown) < len(waiting):
        rows.append((Span(f"  and {len(waiting) - len(shown)} more calls wait for an answer", YELLOW),))
    return rows


def heads(columns: int) -> Line:
    cells = [_cell(head, size) for head, size in _fitting(columns).items()]
    return cut((Span("  " + "  ".join([*cells, "ABOUT"]), DIM),), columns)


def session_row(info: SessionInfo, columns: int, *, selected: bool, calls: int) -> Line:
    """Return a session's row. calls: how many of its calls wait for a person."""
    state = word(info)
    about = info.title or info.workspace or "(private)"
    if calls:
        about = f"{calls} {'call waits' if calls == 1 else 'calls wait'} for you   {about}"
    cells = {
        "SESSION": (short(info.id), ""),
        "AGENT": (info.agent, ""),
        "STATE": (state, _STYLES.get(state, "")),
        "ACTIVE": (_age(info.updated_at), DIM),
        "QUEUE": (str(info.pending or "-"), CYAN if info.pending else DIM),
    }
    spans = [Span("› " if selected else "  ", CYAN)]
    for head, size in _fitting(columns).items():
        text, style = cells[head]
        spans += [Span(_cell(text_of(plain(text)), size), style), Span("  ")]
    line = cut((*spans, *plain(about)), columns)
    if not selected:
        return line
    text = text_of(line)
    return (Span(text + " " * max(0, columns - width(text)), SELECTED),)


def _fitting(columns: int) -> dict[str, int]:
    """Return the heads that a screen has room for, with their widths."""
    found = dict(_WIDTHS)
    for head in _LEAST:
        if 2 + sum(size + 2 for size in found.values()) + _ABOUT <= columns:
            break
        del found[head]
    return found


def _cell(text: str, size: int) -> str:
    """Cut or fill a text to exactly `size` columns."""
    text = text_of(cut((Span(text),), size))
    return text + " " * max(0, size - width(text))


def _age(moment: float) -> str:
    seconds = max(0.0, time.time() - moment)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def window(count: int, chosen: int, room: int) -> int:
    """Return the first row of a list that shows the chosen one about its middle."""
    return max(0, min(chosen - room // 2, count - room))
