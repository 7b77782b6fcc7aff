"""`roost compact`."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from roost.cli.app import App
from roost.cli.commands.control import for_each
from roost.cli.options import as_json, command, sessions_argument
from roost.cli.output import say
from roost.ids import short
from roost.terminal_text import clean

if TYPE_CHECKING:
    from roost.cli.node import Node
    from roost.features.compaction.api import Compacted, Compaction

_BY = {"model": "the model", "plain": "rule"}


@command("compact")
@sessions_argument
@as_json
def compact(app: App, sessions: tuple[str, ...], as_json: bool) -> int:
    """Make the context of sessions smaller.

    A summary replaces the earlier messages that the model sees; the log keeps them. Roost also does this when the
    model's window fills up.
    """

    def one(node: Node, session: str) -> Compacted:
        done = node.compaction.compact(session)
        if not as_json:
            say(f"{short(session)} {_came(done.compaction)}")
        return done

    return for_each(app, sessions, one, as_json=as_json)


def _came(done: Compaction) -> str:
    there, why = f"about {done.before} tokens of messages", clean(done.why or "")
    match done.outcome:
        case "smaller":
            by = f"; {done.messages} messages became a summary by {_BY[done.by or 'plain']}" if done.messages else ""
            outputs = f"; {done.outputs} outputs of tools were left out" if done.outputs else ""
            other = f" (not the model's: {why})" if why and done.messages else ""
            return f"from about {done.before} to {done.after} tokens of messages{by}{other}{outputs}"
        case "nothing":
            return f"{there}: nothing to compact, all of them stay word for word"
        case "no_gain":
            return f"{there}: not compacted: {why}"
        case "cut_off":
            return f"{there}: not compacted: {why}; ask again"
        case "waits":
            return f"{there}: not compacted yet: {why}"
        case _:
            assert_never(done.outcome)


COMMANDS = {"Sessions": (compact,)}
