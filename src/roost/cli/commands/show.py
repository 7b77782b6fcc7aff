"""`roost show`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Collection, Iterator
from typing import TextIO

import click
import msgspec

from roost.cli.app import App
from roost.cli.approval_text import call_rows
from roost.cli.options import WholeNumber, as_json, command, session_argument
from roost.cli.output import ago, say, say_json, styled
from roost.cli.renderer import arguments_line, result_lines, usage_line
from roost.cli.session_ids import session_id
from roost.cli.session_words import activity, own_parts, trouble, user_text
from roost.ids import short
from roost.log.content import AssistantMessage, Message, Text, ToolMessage, UserMessage
from roost.log.session_views import SessionView, WaitingCall
from roost.terminal_text import clean, one_line, visible_line

_ROWS = 60
"""Most rows of a waiting call."""


@command("show")
@session_argument
@click.option("--messages", "-n", "count", type=WholeNumber(0), default=6, help="The number of messages. [default: 6]")
@click.option("--full", is_flag=True, help="All lines of each call that waits for an answer.")
@as_json
def show(app: App, session: str | None, count: int, full: bool, as_json: bool) -> int:
    """Show a session and its last messages; by default the newest session."""
    node = app.node()
    try:
        session = session_id(node, session)
        view = node.sessions.inspect(session)
        messages = node.sessions.messages(session).messages[-count:] if count else []
        waits = node.approvals.waiting(session).approvals
    finally:
        node.close()
    if as_json:
        say_json({**msgspec.to_builtins(view), "messages": messages})
        return 0
    _facts(view)
    for waiting in waits:
        _waiting(waiting, None if full else _ROWS)
    for message in messages:
        say()
        for line in message_lines(message, asking={waiting.call for waiting in view.approvals}):
            say(line)
    return 0


def _facts(view: SessionView) -> None:
    info = view.info
    facts = {
        "session": info.id,
        "agent": f"{info.agent} (version {info.version[:8]})",
        "state": _state(view),
        "workspace": info.workspace or "private",
        "created": ago(info.created_at),
        "active": ago(info.updated_at),
        "turns": f"{view.turns}, {view.steps} model calls, {usage_line(view.usage)}",
        "context": f"about {view.context_tokens:,} tokens",
        "events": str(info.head),
    }
    if info.pending:
        facts["queue"] = f"{info.pending} not begun"
    if view.unknown:
        facts["unknown"] = f"waits for a node that knows {', '.join(view.unknown)}"
    for name, value in facts.items():
        say(f"{styled(name.ljust(10), 'dim')} {clean(value)}")
    for timer, due in view.timers.items():
        say(f"{styled('timer'.ljust(10), 'dim')} {timer} in {max(0, due - time.time()):.0f} s")
    for job in view.jobs:
        runs = f"{job.job} {one_line(job.command, 80)}, since {ago(job.began)}"
        say(f"{styled('runs'.ljust(10), 'dim')} {clean(runs)}")


def _state(view: SessionView) -> str:
    why = view.reason or trouble(view.info)
    return activity(view.info) + (f": {why}" if why else "")


def _waiting(waiting: WaitingCall, most: int | None) -> None:
    where = f"roost approve {short(waiting.session)} {waiting.call}"
    say(f"{styled('waits'.ljust(10), 'yellow')} {visible_line(waiting.tool)}: {visible_line(waiting.reason)}: {where}")
    rows = call_rows(waiting, to=sys.stdout)
    for row in rows[:most]:
        say(row)
    if most is not None and len(rows) > most:
        say(f"  … {len(rows) - most} more lines: roost show {short(waiting.session)} --full")
    for offer in waiting.offers:
        rule = f"--rule {shlex.quote(visible_line(offer.rule))}"
        say(styled(f"  {rule}  allows {visible_line(offer.says)}; --for {', '.join(offer.scopes)}", "dim"))


def message_lines(message: Message, *, asking: Collection[str] = (), to: TextIO | None = None) -> Iterator[str]:
    """Format a message for `to`, by default standard output. `asking`: ids of calls that wait for a person and have no
    result yet."""
    match message:
        case UserMessage(parts=parts):
            yield styled("> ", "bold", to=to) + clean(user_text(own_parts(parts)))
        case AssistantMessage():
            if message.text:
                yield clean(message.text)
            for shown in message.media:
                yield f"[{shown.media_type}]"
            for call in message.calls:
                yield f"● {styled(call.name, 'cyan', to=to)} {one_line(arguments_line(call.arguments), 100)}"
        case ToolMessage(call=call) if call in asking:
            yield styled("  waits for an answer", "yellow", to=to)
        case ToolMessage(parts=(Text(text="[no result yet]"),)):
            yield styled("  has no result yet", "dim", to=to)
        case ToolMessage(parts=parts, error=error):
            yield styled(result_lines(parts, prefix="✗ " if error else ""), "dim", to=to)
