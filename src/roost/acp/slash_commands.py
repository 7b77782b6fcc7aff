"""Commands that a person types as `/name` in the editor: operations on the session, not messages to the agent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias

from roost.acp import history
from roost.client.async_client import Client
from roost.errors import Invalid
from roost.features.checkpoints.api import Travelled
from roost.log.content import Text, UserPart

Run: TypeAlias = Callable[[Client, str, str, str], Awaitable[str]]


class Command(NamedTuple):
    """run: gets the client, the session, the rest of the line and an idempotency key; returns what the editor shows.
    hint: what may follow the name."""

    description: str
    run: Run
    hint: str | None = None


def command_of(parts: list[UserPart]) -> tuple[str, str] | None:
    """Return the command's name and the rest of its line, if the message is one."""
    if len(parts) != 1 or not isinstance(parts[0], Text) or not parts[0].text.startswith("/"):
        return None
    name, _, rest = parts[0].text[1:].strip().partition(" ")
    return (name, rest.strip()) if name in COMMANDS else None


async def _compact(client: Client, session: str, rest: str, key: str) -> str:
    done = (await client.compaction.compact(session, key=key)).compaction
    if done.outcome == "smaller":
        return f"The conversation was compacted from about {done.before:,} to {done.after:,} tokens."
    return f"Nothing was compacted ({done.outcome.replace('_', ' ')}){f': {done.why}' if done.why else ''}."


async def _undo(client: Client, session: str, rest: str, key: str) -> str:
    head = (await client.sessions.inspect(session)).info.head
    before = await history.last_turn(client, session, head)
    if not before:
        raise Invalid("there is no turn to undo", code="nothing_to_undo")
    done = await client.checkpoints.rollback(session, before, key=key)
    return f"The conversation is as it was before your last message. {_files(done)}"


async def _redo(client: Client, session: str, rest: str, key: str) -> str:
    return f"The last rollback is undone. {_files(await client.checkpoints.rollback(session, undo=True, key=key))}"


async def _checkpoint(client: Client, session: str, rest: str, key: str) -> str:
    done = await client.checkpoints.make(session, rest or None, key=key)
    name = rest or str(done.to)
    return f"Saved as a checkpoint; `/rollback {name}` goes back to it."


async def _rollback(client: Client, session: str, rest: str, key: str) -> str:
    done = await client.checkpoints.rollback(session, int(rest) if rest.isdecimal() else rest or None, key=key)
    return f"The conversation is as it was at {done.label or done.to}. {_files(done)}"


def _files(done: Travelled) -> str:
    if done.seq is None:
        return "It takes effect as soon as the session allows."
    if done.files:
        return "So are its files."
    return f"Its files are unchanged{f': {done.why_no_files}' if done.why_no_files else ''}."


async def _resume(client: Client, session: str, rest: str, key: str) -> str:
    stopped = (await client.sessions.inspect(session)).info.state == "stopped"
    info = await client.sessions.control(session, "start" if stopped else "resume", key=key)
    return f"The session is {info.state}."


async def _pause(client: Client, session: str, rest: str, key: str) -> str:
    info = await client.sessions.control(session, "pause", key=key)
    return f"The session is {info.state}; `/resume` goes on."


async def _trust(client: Client, session: str, rest: str, key: str) -> str:
    await client.sessions.control(session, "trust", key=key)
    return "What the session has read from outside counts as harmless now."


async def _status(client: Client, session: str, rest: str, key: str) -> str:
    view = await client.sessions.inspect(session)
    cost = "" if not view.usage.cost else f", ${view.usage.cost / 1e9:.4f}"
    rows = [
        f"- session `{view.info.id}` of agent {view.info.agent}: {view.info.state}, {view.info.phase}",
        f"- model {view.model or 'default'}, permissions {view.permissions}",
        f"- {view.turns} turns, {view.usage.input:,} tokens in, {view.usage.output:,} out{cost}",
        f"- about {view.context_tokens:,} tokens in the context",
    ]
    return "\n".join(rows + [f"- waits for a person: {one.tool}" for one in view.approvals])


COMMANDS = {
    "compact": Command("Replace earlier messages by a summary", _compact),
    "undo": Command("Go back to before the last message", _undo),
    "redo": Command("Undo the last rollback", _redo),
    "checkpoint": Command("Save the session as a checkpoint", _checkpoint, "label"),
    "rollback": Command("Go back to a checkpoint; by default to the newest", _rollback, "label or position"),
    "pause": Command("Pause the session", _pause),
    "resume": Command("Go on after a pause, a stop or a failure", _resume),
    "trust": Command("Clear the untrusted-content mark", _trust),
    "status": Command("Show the session's state, model, tokens and cost", _status),
}
