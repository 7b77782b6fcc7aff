"""What a conversation shows in its live area."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from roost.cli.terminal.blocks import count
from roost.cli.terminal.layout import DEFAULT_MODEL, STARTING, Parts, footer
from roost.cli.terminal.lines import DIM, YELLOW, Line, Span
from roost.ids import short
from roost.terminal_text import clean, one_line

if TYPE_CHECKING:
    from roost.cli.terminal.approving import Approving
    from roost.cli.terminal.conversation import Conversation
    from roost.cli.terminal.dialog import Picker
    from roost.cli.terminal.input_line import InputLine
    from roost.cli.terminal.link import Link
    from roost.cli.terminal.others import Others
    from roost.cli.terminal.outbox import Outbox
    from roost.cli.terminal.own_commands import OwnCommands

HINT = 4.0
"""Seconds for which a remark stands in the place of the footer."""


class Shown(Protocol):
    """A conversation, as far as it is shown. `hinted`: what stands in the place of the footer, and until when.
    `besides`: commands of the command line that run. `windows`: tokens that fit into the context of each model.
    `default_model`: of agents that name none; empty while it is not known."""

    conversation: Conversation
    link: Link | None
    switching: bool
    input: InputLine
    approving: Approving
    picker: Picker[Any] | None
    commands: OwnCommands
    besides: list[str]
    outbox: Outbox
    others: Others
    hinted: tuple[str, float]
    windows: dict[str, int]
    default_model: str
    permissions: str


def parts(chat: Shown, width: int, height: int) -> Parts:
    """Return what there is to show, of at most `height` rows each."""
    if chat.picker is not None:
        below = chat.picker.rows(width, max(3, height - 2))
    else:
        below = chat.approving.rows(width, height - 3, chat.input.editor.text)
    return Parts(
        open=[row for block in chat.conversation.open_blocks() for row in block.rows(width)],
        running=[] if chat.picker is not None else chat.conversation.running_lines(),
        status=_status(chat),
        queue=_queue(chat),
        below=below,
        editor=chat.input.drawn(width, max(1, height // 2)),
        offers=chat.input.offers(width, height // 2),
        footer=[_footer(chat, width)],
    )


def _status(chat: Shown) -> list[Line]:
    if chat.link is None or chat.switching:
        return [(Span(STARTING if chat.link is None else "opening the session", DIM),)]
    if chat.commands.running:
        return [(Span("your command runs; Esc stops it", DIM),)]
    beside: list[Line] = [(Span(f"{' and '.join(chat.besides)} runs", DIM),)] if chat.besides else []
    line = chat.conversation.status(chat.approving.count)
    return beside if line is None else [line, *beside]


def _queue(chat: Shown) -> list[Line]:
    told: list[Line] = [(Span("  told: ", DIM), Span(clean(text), DIM)) for text in chat.outbox.told.values()]
    later: list[Line] = [(Span("  next: ", DIM), Span(one_line(text, 200), DIM)) for text in chat.outbox.later]
    if later:
        later[-1] = (*later[-1], Span("   Up edits", DIM))
    return [*told, *later]


def _model_name(model: str) -> str:
    """Shorten the name of a model that is a file of this machine."""
    account, _, name = model.partition("/")
    return f"{account}/{name.rpartition('/')[2]}" if name.startswith("/") else model


def _footer(chat: Shown, width: int) -> Line:
    text, until = chat.hinted
    if text and time.monotonic() < until:
        return (Span(text, YELLOW),)
    chat.hinted = ("", 0.0)
    talk = chat.conversation
    fields = [_model_name(talk.model or chat.default_model or DEFAULT_MODEL)]
    if talk.context:
        window = chat.windows.get(talk.model)
        fields.append(f"{talk.context / window:.0%} of {count(window)}" if window else f"{count(talk.context)} tokens")
    if talk.usage is not None:
        fields.append(f"↑{count(talk.usage.input)} ↓{count(talk.usage.output)}")
        fields.append("$?" if talk.usage.cost is None else f"${talk.usage.cost / 1e9:.3f}")
    if chat.permissions:
        fields.append(chat.permissions)
    if waits := chat.others.count:
        fields.insert(1, f"{waits} other session{'' if waits == 1 else 's'} wait{'s' if waits == 1 else ''}")
    return footer(fields, short(chat.link.session) if chat.link is not None else "", width)
