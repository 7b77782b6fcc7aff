"""Read `bots.toml` of a home: which bots there are, at which platforms, and who answers there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec

from roost.errors import ConfigError, Invalid, NotFound
from roost.providers.toml_file import TomlFile, read_toml
from roost.time_zones import zone_of

FILE = "bots.toml"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_HANDLE = re.compile(r"\{\{secret:[A-Za-z0-9_.-]{1,128}\}\}")


class Bot(msgspec.Struct, frozen=True, kw_only=True):
    """A bot.

    name: of its table in the file. platform: a name of `roost.doors.bots.platforms`. agent: answers.
    token: a handle of the vault, `{{secret:NAME}}`. allow: senders that need no pairing, by their ids; `*` is anyone.
    pairing: an unknown sender gets a code, which the owner confirms; without it, they get no answer.
    sessions: one per chat, or in a group one per user.
    groups: in a group it answers messages that mention it, all messages, or none.
    stream: show an answer while it is written, where the platform can edit messages.
    hook: the public address of this daemon, if the platform is to send updates there. hook_secret: as `token`.
    account: the account that its sessions belong to; None is the home.
    quiet: hours in which nothing is sent that no person asked for, as in `22:00-07:00`, in the time zone `zone`.
    unasked: most messages of `send_message` to a chat in a day.
    voice: the model that writes voice messages down for an agent whose own model takes no sound; empty: none does.
    options: what the platform takes besides.
    """

    name: str
    platform: str
    agent: str = "assistant"
    token: str = ""
    allow: tuple[str, ...] = ()
    pairing: bool = True
    sessions: Literal["chat", "user"] = "chat"
    groups: Literal["mention", "all", "never"] = "mention"
    stream: bool = True
    hook: str | None = None
    hook_secret: str = ""
    account: str | None = None
    quiet: Annotated[str, msgspec.Meta(pattern=r"^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?$")] = ""
    zone: str = "UTC"
    unasked: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 20
    voice: str = "auto"
    options: dict[str, Any] = {}

    def allows(self, sender: str) -> bool:
        return sender in self.allow or "*" in self.allow


def read_bots(home: Path) -> dict[str, Bot]:
    """Return the bots of a home by name. Raises `ConfigError`. Blocks."""
    path = home / FILE
    return bots_of(read_toml(path)) if path.exists() else {}


def bot_named(home: Path, name: str) -> Bot:
    """Return one bot. Raises `ConfigError`, `NotFound`. Blocks."""
    found = read_bots(home).get(name)
    if found is None:
        raise NotFound(f"there is no bot {name[:64]!r} in {FILE}; `roost bot list` shows them")
    return found


def bots_of(file: TomlFile) -> dict[str, Bot]:
    """Return the bots of a file that was read. Raises `ConfigError`."""
    tables = cast("dict[str, Any]", file.data.get("bots", {}))
    if not isinstance(tables, dict):  # pyright: ignore[reportUnnecessaryIsInstance]: the file is a person's
        raise file.wrong(["bots"], "a bot is a table: [bots.NAME]")
    if extra := set(file.data) - {"bots"}:
        raise file.wrong([min(extra)], "this file has tables [bots.NAME] alone")
    return {name: _bot(file, name, given) for name, given in tables.items()}


def _bot(file: TomlFile, name: str, given: Any) -> Bot:
    if not _NAME.fullmatch(name):
        raise file.wrong(["bots", name], "a bot is named by small letters, digits, - and _ (at most 32)")
    if not isinstance(given, dict):
        raise file.wrong(["bots", name], "a bot is a table: [bots.NAME]")
    table = cast("dict[str, Any]", given)
    known = set(Bot.__struct_fields__) - {"name", "options"}
    own = {key: value for key, value in table.items() if key in known}
    options = {key: value for key, value in table.items() if key not in known}
    if isinstance(allow := own.get("allow"), list):
        own["allow"] = [str(one) for one in cast("list[Any]", allow)]
    for key in ("token", "hook_secret"):
        if own.get(key) and not _HANDLE.fullmatch(str(own[key])):
            raise file.wrong(["bots", name, key], "name a secret of policy.toml, as in {{secret:NAME}}")
    try:
        found = msgspec.convert({"name": name, "options": options, **own}, Bot)
        if found.quiet:
            zone_of(found.zone)
    except (msgspec.ValidationError, Invalid) as error:
        raise file.wrong(["bots", name], str(error)) from None
    return found


def added(text: str, bot: Bot) -> str:
    """Return the file's text with one bot more. Raises `ConfigError` when it has the name already."""
    if re.search(rf"(?m)^\s*\[\s*bots\s*\.\s*[\"']?{re.escape(bot.name)}[\"']?\s*\]", text):
        raise ConfigError(f"{FILE} has a bot {bot.name!r} already: edit it there")
    lines = [f"[bots.{bot.name}]", f'platform = "{bot.platform}"', f'agent = "{bot.agent}"']
    if bot.token:
        lines.append(f'token = "{bot.token}"')
    if bot.allow:
        lines.append("allow = [" + ", ".join(f'"{one}"' for one in bot.allow) + "]")
    lines += [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in bot.options.items()]
    return f"{text.rstrip()}\n\n" * bool(text.strip()) + "\n".join(lines) + "\n"
