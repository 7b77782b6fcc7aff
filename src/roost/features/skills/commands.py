"""`roost skills`: show, accept and check skills."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from roost.cli.app import App
from roost.cli.options import as_json, command, named_session, session_argument
from roost.cli.output import ago, note, say, say_json, table
from roost.cli.session_ids import session_id
from roost.errors import NotFound
from roost.terminal_text import clean, one_line

if TYPE_CHECKING:
    pass


@click.group("skills")
def skills() -> None:
    """Show, accept and check skills.

    \b
      roost skills list                  those of the newest session
      roost skills accept @last deploy   trust a skill of its workspace
      roost skills check ./my-skill      validate a skill that you write
    """


@command("list", store=True)
@session_argument
@as_json
def list_(app: App, session: str | None, as_json: bool) -> int:
    """List the skills for a session, and why it does not use some."""
    with app.node() as node:
        found = node.skills.list(session_id(node, session)).skills
    if as_json:
        say_json(found)
    elif not found:
        note("there are no skills: put one into .agents/skills of the folder, or skills of Roost's home")
    else:
        rows = [(one.name, one.use, one.place, one.digest[:12], one_line(one.description, 60)) for one in found]
        table(("SKILL", "USE", "PLACE", "DIGEST", "DESCRIPTION"), rows)
        for one in found:
            for problem in one.problems:
                note(f"{clean(one.name)}: {clean(problem)}")
    return 0


@command("accept", store=True)
@named_session
@click.argument("name")
@click.option("--digest", metavar="DIGEST", help="Accept only this content; its beginning is enough.")
@as_json
def accept(app: App, session: str, name: str, digest: str | None, as_json: bool) -> int:
    """Trust a skill of a session's workspace, for all sessions. A change of any of its files ends this."""
    with app.node() as node:
        id = session_id(node, session)
        known = next((one for one in node.skills.list(id).skills if one.name == name and one.digest), None)
        if known is None or not known.digest.startswith(digest or ""):
            raise NotFound(f"the session has no skill {name!r}" + (f" with the digest {digest}" if digest else ""))
        made = node.skills.accept(id, name, known.digest)
    if as_json:
        say_json(made)
    else:
        say(f"accepted {name} ({known.path}) with the digest {made.digest}")
    return 0


@command("accepted", store=True)
@as_json
def accepted(app: App, as_json: bool) -> int:
    """List what is accepted."""
    with app.node() as node:
        found = node.skills.accepted().accepted
    if as_json:
        say_json(found)
    else:
        table(("DIGEST", "SKILL", "ACCEPTED"), [(one.digest, one.name, ago(one.at)) for one in found])
    return 0


@command("withdraw", store=True)
@click.argument("digest")
def withdraw(app: App, digest: str) -> int:
    """Withdraw an acceptance."""
    with app.node() as node:
        found = [one for one in node.skills.accepted().accepted if one.digest.startswith(digest)]
        if len(found) != 1:
            raise NotFound(f"{len(found) or 'no'} accepted skills have a digest that begins with {digest!r}")
        node.skills.withdraw(found[0].digest)
    return 0


@command("choose", store=True)
@named_session
@click.argument("names", nargs=-1)
def choose(app: App, session: str, names: tuple[str, ...]) -> int:
    """Let a session use only the skills with these NAMES (globs); without NAMES those of its agent."""
    with app.node() as node:
        node.skills.choose(session_id(node, session), [*names] or None)
    return 0


@command("check")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@as_json
def check(app: App, folders: tuple[Path, ...], as_json: bool) -> int:
    """Validate skills by the specification, as `skills-ref validate` does. Exit code 1 if one is wrong."""
    from roost.features.packages.skill_validation import validate

    found = {str(folder): validate(folder.resolve() if folder.exists() else folder) for folder in folders}
    if as_json:
        say_json(found)
    else:
        for folder, problems in found.items():
            say(f"{folder}: {'valid' if not problems else 'wrong'}")
            for problem in problems:
                say(f"  - {clean(problem)}")
    return 1 if any(found.values()) else 0


for one in (list_, accept, accepted, withdraw, choose, check):
    skills.add_command(one)

COMMANDS = {"This machine": (skills,)}
