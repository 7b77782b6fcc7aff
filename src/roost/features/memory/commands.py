"""`roost memory`: show and change the facts that agents remember."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from roost.cli.app import App
from roost.cli.message_input import message_of
from roost.cli.options import WholeNumber, as_json, command, named_session
from roost.cli.output import ago, note, say, say_json, table
from roost.cli.session_ids import session_id
from roost.errors import NotFound
from roost.terminal_text import clean

if TYPE_CHECKING:
    from roost.client.sync_rooms import SyncMemory
    from roost.log.facts import Category, Fact

_CATEGORIES = ("identity", "preference", "fact", "project", "user_profile")
_QUERY = 4096
"""Most bytes of a query, percent-encoded: a request line has 8190."""
_spaces = click.option(
    "--space",
    "spaces",
    multiple=True,
    metavar="NAME",
    help="A space or a glob, as in user:ann or shared:*. [default: all]",
)
_category = click.option("--category", type=click.Choice(_CATEGORIES))
_limit = click.option("--limit", type=WholeNumber(1, 1000), default=50, show_default=True)


@click.group("memory")
def memory() -> None:
    """Show and change what agents remember.

    \b
      roost memory list --space user:ann
      roost memory search 'what does she drink?'
      roost memory review                          answer the proposed facts
    """


@contextlib.contextmanager
def _memory(app: App) -> Generator[SyncMemory]:
    with app.node() as node:
        yield node.memory


@command("list", store=True)
@_spaces
@_category
@click.option("--key", metavar="NAME", help="Only the fact that has it.")
@click.option("--at", type=WholeNumber(0), metavar="VERSION", help="As it was at this version of one space.")
@click.option("--ended", is_flag=True, help="Ended facts, too.")
@_limit
@as_json
def list_(
    app: App,
    spaces: tuple[str, ...],
    category: Category | None,
    key: str | None,
    at: int | None,
    ended: bool,
    limit: int,
    as_json: bool,
) -> int:
    """List facts, newest first."""
    with _memory(app) as known:
        found = known.list(space=_joined(spaces), category=category, key=key, at=at, ended=ended, limit=limit).facts
    if as_json:
        say_json(found)
    elif found:
        _rows(found)
    else:
        note("nothing is remembered there")
    return 0


@command("spaces", store=True)
@as_json
def spaces(app: App, as_json: bool) -> int:
    """List the spaces that facts are in."""
    with _memory(app) as known:
        found = known.spaces().spaces
    if as_json:
        say_json(found)
    else:
        table(("SPACE", "FACTS", "VERSION"), [(one.name, str(one.facts), str(one.version)) for one in found])
    return 0


@command("show", store=True)
@click.argument("fact")
@as_json
def show(app: App, fact: str, as_json: bool) -> int:
    """Show a fact: where it comes from, what it superseded, and what superseded it."""
    with _memory(app) as known:
        found = known.get(fact)
    if as_json:
        say_json(found)
        return 0
    say(clean(found.text))
    rows = [
        ("id", found.id), ("space", found.space), ("category", found.category), ("key", found.key or "-"),
        ("from", found.source or found.by), ("confidence", f"{found.confidence:g}"), ("came", ago(found.created)),
        ("went", f"{ago(found.ended)}, by {found.ended_source or 'a person'}" if found.ended else "-"),
        *(("supersedes", _other(one)) for one in found.superseded),
        *([("superseded", f"by {_other(found.superseded_by)}")] if found.superseded_by else ()),
    ]  # fmt: skip
    for name, value in rows:
        say(f"  {name:<12}{clean(value)}")
    if found.tainted:
        note("learned while untrusted content was in the conversation", "yellow")
    return 0


def _other(fact: Fact) -> str:
    return f"{fact.id}, from {fact.source or fact.by}, {ago(fact.created)}: {' '.join(fact.text.split())}"


@command("add", store=True)
@click.argument("space")
@click.argument("text")
@_category
@click.option("--key", metavar="NAME", help="A name for a fact with one value at a time.")
@as_json
def add(app: App, space: str, text: str, category: Category | None, key: str | None, as_json: bool) -> int:
    """Keep a fact in SPACE, as in user:ann (- reads TEXT from standard input)."""
    text = message_of(text)
    with _memory(app) as known:
        learned = known.add(space, text, category=category or "fact", key=key)
    if as_json:
        say_json(learned)
        return 0
    if learned.op == "known":
        note(f"that is known already, as {learned.former[0].id}")
        return 0
    say(learned.fact.id)
    for former in learned.former:
        note(f"in place of: {clean(former.text)}")
    for other in learned.unsure:
        note(f"kept beside {other.id}, which may contradict it or say the same: {clean(other.text)}", "yellow")
    return 0


@command("update", store=True)
@click.argument("fact")
@click.argument("text")
@as_json
def update(app: App, fact: str, text: str, as_json: bool) -> int:
    """Replace the text of a fact."""
    with _memory(app) as known:
        found = known.update(fact, text)
    say_json(found) if as_json else say(found.id)
    return 0


@command("remove", store=True)
@click.argument("facts", nargs=-1, required=True, metavar="FACT...")
def remove(app: App, facts: tuple[str, ...]) -> int:
    """Remove facts. They stay readable as ended facts."""
    with _memory(app) as known:
        for fact in facts:
            gone = known.get(fact).ended is not None
            note(f"{'gone already' if gone else 'removed'}: {clean(known.remove(fact).text)}")
    return 0


@command("purge", store=True)
@click.argument("facts", nargs=-1, metavar="[FACT]...")
@_spaces
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@as_json
def purge(app: App, facts: tuple[str, ...], spaces: tuple[str, ...], yes: bool, as_json: bool) -> int:
    """Erase facts for good: each FACT, or without one all ended facts.

    This overwrites rows, indexes, the memory of checkpoints, the database's log and its free pages. The logs of
    sessions keep their texts until you delete the sessions.
    """
    import sys

    if facts and spaces:
        raise click.UsageError("give FACTs or --space, not both")
    if not yes and sys.stdin.isatty():
        what = f"{len(facts)} {'fact' if len(facts) == 1 else 'facts'}" if facts else "all facts that are gone"
        click.confirm(f"Erase {what} for good?", abort=True, err=True)
    with _memory(app) as known:
        done = known.purge(list(facts), space=_joined(spaces))
    if as_json:
        say_json(done)
        return 0
    note(f"erased: {done.facts} {'fact' if done.facts == 1 else 'facts'}")
    if done.logs:
        note(f"still in the logs of {', '.join(done.logs)}: roost rm erases them", "yellow")
    for one in done.left:
        note(f"not erased: {one}", "yellow")
    return 0


@command("search", store=True)
@click.argument("query")
@_spaces
@click.option("--limit", type=WholeNumber(1, 1000), default=10, show_default=True)
@as_json
def search(app: App, query: str, spaces: tuple[str, ...], limit: int, as_json: bool) -> int:
    """Find facts by words and by meaning, the best first."""
    if len(quote(query, errors="replace")) > _QUERY:
        raise click.UsageError("that is too long for a query: search for its most telling words")
    with _memory(app) as known:
        found = known.retrieve(query, space=_joined(spaces), limit=limit)
    if as_json:
        say_json(found)
        return 0
    if found.facts:
        _rows([one.fact for one in found.facts])
    else:
        note("nothing fits")
    if found.why is not None:
        note(f"{'by words alone' if found.how == 'words' else 'perhaps not all'}: {found.why}", "yellow")
    return 0


@command("review", store=True)
@click.argument("fact", required=False)
@click.option("--accept", "answer", flag_value="accept", help="Accept the fact.")
@click.option("--reject", "answer", flag_value="reject", help="Reject the fact.")
@click.option("--text", metavar="TEXT", help="Accept it with this text.")
@_spaces
@as_json
def review(
    app: App, fact: str | None, answer: str | None, text: str | None, spaces: tuple[str, ...], as_json: bool
) -> int:
    """Show the proposed facts, and accept or reject them.

    Without FACT it lists the waiting proposals. On a terminal, --accept or --reject with FACT `all` answers all of
    them.
    """
    with _memory(app) as known:
        waiting = known.list(space=_joined(spaces), proposed=True, limit=1000).facts
        if answer is None and text is None:
            if as_json:
                say_json(waiting)
            elif waiting:
                _rows(waiting)
            else:
                note("nothing waits for an answer")
            return 0
        if fact is None:
            raise click.UsageError("name a FACT, or `all`")
        for id in [one.id for one in waiting] if fact == "all" else [fact]:
            done = known.reject(id) if answer == "reject" else known.accept(id, text=text)
            say_json(done, lines=True) if as_json else note(f"{answer or 'accept'}: {clean(done.text)}")
    return 0


@command("undo", store=True)
@named_session
@click.option("--since", type=WholeNumber(0), required=True, metavar="SEQ", help="Changes after this event.")
@click.option("--until", type=WholeNumber(1), metavar="SEQ", help="Changes up to this event, inclusive. [default: all]")
def undo(app: App, session: str, since: int, until: int | None) -> int:
    """Undo the changes of a session to the memory. Name a deleted session by its whole id."""
    with app.node() as node:
        try:
            found = session_id(node, session)
        except NotFound:
            if session == "@last":
                raise
            found = session
        changed = node.memory.undo(found, since, until).changed
    note(f"{changed} {'fact' if changed == 1 else 'facts'} added or ended")
    return 0


@command("export", store=True)
@_spaces
@click.option("--ended", is_flag=True, help="Ended facts, too.")
def export(app: App, spaces: tuple[str, ...], ended: bool) -> int:
    """Print all facts as JSON lines, newest first."""
    with _memory(app) as known:
        before: str | None = None
        while page := known.list(space=_joined(spaces), ended=ended, before=before, limit=1000).facts:
            for fact in page:
                say_json(fact, lines=True)
            before = page[-1].id
    return 0


def _joined(spaces: tuple[str, ...]) -> str:
    return ",".join(spaces) or "*"


def _rows(facts: list[Fact]) -> None:
    rows = [(one.id, one.space, one.category, ago(one.created), _text(one)) for one in facts]
    table(("ID", "SPACE", "CATEGORY", "CAME", "TEXT"), rows)


def _text(fact: Fact) -> str:
    return fact.text if fact.ended is None else f"(gone) {fact.text or '(erased)'}"


for one in (list_, spaces, show, add, update, remove, purge, search, review, undo, export):
    memory.add_command(one)


COMMANDS = {"This machine": (memory,)}
