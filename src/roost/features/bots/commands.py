"""`roost bot`: let people write with agents where they are."""

from __future__ import annotations

import base64
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roost.cli.app import App
from roost.cli.atomic_file import write_text
from roost.cli.options import as_json, command
from roost.cli.output import note, say, say_json, table
from roost.errors import ConfigError
from roost.features.bots.api import MessageFile
from roost.features.bots.bots_file import FILE, Bot, added, bots_of
from roost.ids import short
from roost.providers.toml_file import parsed
from roost.terminal_text import clean, one_line

if TYPE_CHECKING:
    from roost.features.bots.api import BotView, LetterView


@click.group("bot")
def bot() -> None:
    """Let people write with agents where they are, such as Telegram.

    \b
      roost bot add pigeon --platform telegram --secret telegram
      roost bot pair pigeon 7KQ2M9XA
      roost bot list
      roost bot send pigeon "The backup is done."
      roost bot letters pigeon
    """


def check_options(bot: Bot) -> None:
    """Refuse a platform or an option that there is not, before it is in the file. The secrets are not looked at."""
    from roost.doors.bots.platforms import maker

    maker(bot.platform)(bot, "token" if bot.token else "", bot.hook_secret or "secret")


@command("add")
@click.argument("name")
@click.option(
    "--platform",
    required=True,
    metavar="NAME",
    help="Where the bot is: telegram, slack, discord, email, feed, page, webhook, events.",
)
@click.option("--agent", default="assistant", show_default=True, metavar="NAME", help="The agent that answers.")
@click.option("--secret", metavar="NAME", help="The secret of policy.toml with the bot's token.")
@click.option("-o", "--option", "options", multiple=True, metavar="NAME=VALUE", help="An option of the platform.")
@click.option("--allow", multiple=True, metavar="ID", help="A sender that needs no pairing, by the platform's id.")
def add(
    app: App,
    name: str,
    platform: str,
    agent: str,
    secret: str | None,
    allow: tuple[str, ...],
    options: tuple[str, ...],
) -> int:
    """Add a bot to bots.toml in the home. A running daemon begins to work for it within a second."""
    token = "" if secret is None else f"{{{{secret:{secret}}}}}"
    pairs = [one.partition("=") for one in options]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise click.UsageError(f"-o takes NAME=VALUE, not {wrong[0]!r}")
    more = {key: value for key, _, value in pairs}
    made = Bot(name=name, platform=platform, agent=agent, token=token, allow=allow, options=more)
    path = app.home / FILE
    text = added(path.read_text() if path.exists() else "", made)
    bots_of(parsed(path, text.encode(), 1 << 20))
    check_options(made)
    app.home.mkdir(0o700, parents=True, exist_ok=True)
    write_text(path, text)
    note(f"bot {name} is in {path}")
    policy = app.home / "policy.toml"
    if secret is not None and (not policy.exists() or f"[secrets.{secret}]" not in policy.read_text()):
        note(f"{policy} names no secret {secret!r} yet: add [secrets.{secret}] there")
    return 0


@command("list", store=True)
@as_json
def list_(app: App, as_json: bool) -> int:
    """List the bots of this home, and how they do."""
    with app.node() as node:
        found = node.bots.list().bots
    if as_json:
        say_json(found)
    elif found:
        rows = [
            (one.name, one.platform, one.title or "-", one.agent, str(one.chats), str(one.dead), _state(one))
            for one in found
        ]
        table(("NAME", "PLATFORM", "THERE", "AGENT", "CHATS", "DEAD", "STATE"), rows)
    else:
        note(f"there are no bots: `roost bot add` writes one into {FILE}")
    return 0


@command("chats", store=True)
@click.argument("name")
@as_json
def chats(app: App, name: str, as_json: bool) -> int:
    """List the chats of a bot with their sessions, the newest first."""
    with app.node() as node:
        found = node.bots.chats(name).chats
    if as_json:
        say_json(found)
    elif found:
        rows = [
            (one.chat, one_line(one.title, 40), short(one.session) if one.session else "-", _ago(one.heard))
            for one in found
        ]
        table(("CHAT", "TITLE", "SESSION", "HEARD"), rows)
    else:
        note("nobody has written yet")
    return 0


@command("senders", store=True)
@click.argument("name")
@as_json
def senders(app: App, name: str, as_json: bool) -> int:
    """List the people who may write to a bot, and those who wait."""
    with app.node() as node:
        found = node.bots.senders(name).senders
    if as_json:
        say_json(found)
    elif found:
        table(("SENDER", "NAME", "STATE"), [(one.sender, one_line(one.name, 40), one.state) for one in found])
    else:
        note("nobody is known yet")
    return 0


@command("pair", store=True)
@click.argument("name")
@click.argument("code")
@as_json
def pair(app: App, name: str, code: str, as_json: bool) -> int:
    """Let the person write to the bot whom it has told CODE."""
    with app.node() as node:
        found = node.bots.pair(name, code)
    if as_json:
        say_json(found)
    else:
        note(f"{one_line(found.name, 40)} ({found.sender}) may write to {name} now")
    return 0


@command("unpair", store=True)
@click.argument("name")
@click.argument("sender")
def unpair(app: App, name: str, sender: str) -> int:
    """Let a person no longer write to the bot."""
    with app.node() as node:
        node.bots.unpair(name, sender)
    note(f"{sender} may no longer write to {name}")
    return 0


@command("send", store=True)
@click.argument("name")
@click.argument("text")
@click.option("--to", default="", metavar="CHAT", help="A chat, as `roost bot chats` shows it. Default: the newest.")
@click.option("--file", "files", multiple=True, type=click.Path(path_type=Path), help="Send this file with it.")
@click.option("--key", metavar="KEY", help="Send one message for this key, however often the command runs.")
@as_json
def send(app: App, name: str, text: str, to: str, files: tuple[Path, ...], key: str | None, as_json: bool) -> int:
    """Write TEXT, in Markdown, to a person who has not asked. It waits in quiet hours, and counts for the day."""
    given = [_file(path) for path in files]
    with app.node() as node:
        found = node.bots.send(name, text, to=to, files=given or None, key=key)
    if as_json:
        say_json(found)
    else:
        later = f", at {datetime.fromtimestamp(found.due).astimezone():%H:%M}" if found.due > time.time() + 1 else ""
        told = "was sent before" if found.state == "sent" else f"goes to {found.chat}{later}"
        note(f"{found.letter} {told}")
    return 0


def _file(path: Path) -> MessageFile:
    try:
        return MessageFile(name=path.name, data=base64.b64encode(path.read_bytes()).decode())
    except OSError as error:
        raise click.UsageError(f"--file: {path}: {error.strerror}") from None


@command("letters", store=True)
@click.argument("name")
@click.option("--retry", metavar="LETTER", help="Try to deliver this dead letter again.")
@click.option("--discard", metavar="LETTER", help="Delete this letter.")
@as_json
def letters(app: App, name: str, retry: str | None, discard: str | None, as_json: bool) -> int:
    """List the messages that a bot has not delivered: dead ones, which the platform refused, and those that wait."""
    if retry is not None and discard is not None:
        raise ConfigError("--retry and --discard: use one of them")
    with app.node() as node:
        if retry is not None:
            node.bots.retry(name, retry)
            note(f"{retry} waits to be sent")
            return 0
        if discard is not None:
            node.bots.discard(name, discard)
            note(f"{discard} is deleted")
            return 0
        found = node.bots.letters(name).letters
    if as_json:
        say_json(found)
    elif found:
        rows = [(one.letter, one.state, one.chat, _content(one), clean(one.reason)) for one in found]
        table(("LETTER", "STATE", "CHAT", "TEXT", "REASON"), rows)
    else:
        say("all messages are delivered")
    return 0


def _content(one: LetterView) -> str:
    files = f"[{', '.join(one.files)}]" if one.files else ""
    return one_line(f"{one.text} {files}".strip(), 40)


def _state(one: BotView) -> str:
    return clean(one.problem) if one.problem else "works" if one.node else "no daemon has begun yet"


def _ago(moment: float) -> str:
    seconds = max(0, int(time.time() - moment))
    for unit, length in (("d", 86400), ("h", 3600)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds // 60} min ago" if seconds >= 60 else "now"


for one in (add, list_, chats, senders, pair, unpair, send, letters):
    bot.add_command(one)

COMMANDS = {"This machine": (bot,)}
