"""`roost setup`: from nothing to a model that answers."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tomllib
from typing import TYPE_CHECKING

import click
import msgspec

from roost.cli.app import App
from roost.cli.atomic_file import write_text
from roost.cli.login import kept, named_in
from roost.cli.options import as_json, command
from roost.cli.output import note, say, say_json, styled
from roost.errors import ConfigError
from roost.terminal_text import clean, visible

if TYPE_CHECKING:
    from roost.providers.account_check import Checked
    from roost.providers.accounts import Models

_OFFERED = ("anthropic", "openai", "google", "openrouter", "mistral", "deepseek", "groq", "ollama")
"""Accounts that the question names; every other one may be given too."""
_SERVICE = "roost"
_WAIT = 20.0


@command("setup")
@click.argument("account", required=False)
@click.option("--keyring", is_flag=True, help="Keep the key in the system's keyring. [default: a private file]")
@click.option("--model", metavar="NAME", help="Make this model the default, as in anthropic/claude-sonnet-5-5.")
@click.option("--no-check", is_flag=True, help="Do not ask the provider whether the key works.")
@as_json
def setup(app: App, account: str | None, keyring: bool, model: str | None, no_check: bool, as_json: bool) -> int:
    """Set up an account of a model provider.

    The command asks for the account's key, checks it, keeps it, and names the model that agents will use. Without a
    terminal the key is read from standard input: roost setup anthropic < key.txt. Nothing is kept when the key does not
    work; then the exit code is 1.
    """
    from roost.providers.accounts import Models

    if model is not None and "/" not in model:
        raise click.UsageError(f"--model {model!r} is no name of a model: ACCOUNT/MODEL")
    models = Models.at_home(app.home)
    account = account or _asked(models)
    known = models.account(account)
    if known is None or "://" in account:
        raise ConfigError(_unknown(models, account))
    place = None
    if not known.keys:
        if not no_check and not _works(models, account, None):
            return 1
    else:
        usable = models.lacks(account) is None
        needed = not usable or model is None  # with a key that is there, --model is something to do
        key = None if usable and _keep_present(account) else _key(account, known.site, needed=needed)
        while not no_check and not _works(models, account, key):
            if not _again():
                return 1
            key = _key(account, known.site, needed=True)
        place = None if key is None else _keep_key(app, account, key, keyring=keyring)
    if model is not None:
        _default(app, model)
    now = Models.at_home(app.home)
    chosen = now.default()
    if as_json:
        say_json({"account": account, "key": place, "model": chosen, "trouble": now.trouble(chosen)})
        return 0
    _tell(now, account, chosen)
    return 0


def _asked(models: Models) -> str:
    if not sys.stdin.isatty():
        raise click.UsageError("name the account: roost setup anthropic")
    say("Agents need a model. The built-in one runs on this machine and is small; an account of a provider does more.")
    usable = models.accounts()
    names = [name for name in _OFFERED if models.account(name) is not None]
    for name in names:
        say(f"  {name.ljust(12)}{styled('can be used here', 'green') if usable.get(name) else ''}".rstrip())
    while True:
        default = next((name for name in names if usable.get(name)), names[0])
        account: str = click.prompt("Account", default=default).strip()
        if models.account(account) is not None and "://" not in account:
            return account
        note(_unknown(models, account), "yellow")


def _unknown(models: Models, account: str) -> str:
    import difflib

    near = difflib.get_close_matches(account, list(models.accounts()), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"there is no account {account!r}; {hint}`roost models --all` lists the accounts"


def _again() -> bool:
    """Whether the person wants to give another key."""
    return sys.stdin.isatty() and click.confirm("Give another key?", default=True)


def _keep_present(account: str) -> bool:
    """Whether the key that is here already stays. Without a terminal a key on standard input replaces it."""
    if not sys.stdin.isatty():
        return False
    return click.confirm(f"{account} can be used here as it is. Keep that?", default=True)


def _key(account: str, site: str | None, *, needed: bool) -> str | None:
    """Return the key that is typed or comes from standard input; None when nothing comes and none is needed."""
    from roost.providers.secret_refs import checked

    if sys.stdin.isatty():
        where = f" (make one at {site})" if site else ""
        key: str = click.prompt(f"Key of {account}{where}", hide_input=True, err=True)
    else:
        key = sys.stdin.read(64 * 1024)
    if not key.strip():
        if not needed:
            return None
        raise click.UsageError("no key was given: nothing is changed")
    return checked(key.strip(), where=f"the key of {account}")


def _works(models: Models, account: str, key: str | None) -> bool:
    """Ask the provider whether the key works."""
    from roost.providers.account_check import check_account

    if key is not None:
        from msgspec.structs import replace

        from roost.providers.config import AccountEntry

        entry = replace(models.config.accounts.get(account) or AccountEntry(), key=None)
        models.register_account(account, entry, key=key)

    async def check() -> Checked:
        try:
            return await check_account(models, account, deadline=_WAIT)
        finally:
            await models.close()

    note(f"asking {account} …")
    found = asyncio.run(check())
    if found.state == "ok":
        note(f"{account} answers: {clean(found.detail)}", "green")
        return True
    note(f"{account} does not work: {clean(found.detail)}; nothing was kept", "red")
    if found.fix:
        note(f"  {clean(found.fix)}", None)
    note("  to keep the key all the same: --no-check", None)
    return False


def _keep_key(app: App, account: str, key: str, *, keyring: bool) -> str:
    """Keep the key. Returns the reference that models.toml has."""
    if keyring:
        reference = f"keyring:{_SERVICE}/{account}"
        _into_keyring(account, key)
    else:
        reference = f"file:{kept(app.home, account, key)}"
    if not named_in(app.home, account, reference):
        raise ConfigError(
            f"models.toml has its own entry for {account!r}: write key = {reference!r} into it; the key is kept there"
        )
    note(f"kept the key: {reference}")
    return reference


def _into_keyring(account: str, key: str) -> None:
    try:
        import keyring
    except ImportError as error:
        from roost.install import install_extra

        raise ConfigError(f"--keyring needs the package keyring: {install_extra('keyring')}") from error
    try:
        keyring.set_password(_SERVICE, account, key)
    except Exception as error:  # a backend raises what its system gives it; keyring has no common base for them
        raise ConfigError(
            f"the keyring does not take the key ({type(error).__name__}): unlock it, or leave --keyring out"
        ) from error


def _default(app: App, model: str) -> None:
    """Write `default` into models.toml, whose other lines stay."""
    from roost.providers.config_file import FILE

    path = app.home / FILE
    text = path.read_text() if path.exists() else ""
    line = f"default = {msgspec.json.encode(model).decode()}"
    before = tomllib.loads(text).get("default")
    own = re.compile(r"(?m)^default[ \t]*=.*$")
    text = f"{line}\n{text}" if before is None else own.sub(lambda _: line, text, count=1)
    if tomllib.loads(text).get("default") != model:
        raise ConfigError(f"cannot change {path}: write {line} at its top")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_text(path, text)


def _tell(models: Models, account: str, chosen: str) -> None:
    trouble = models.trouble(chosen)
    say(f"agents without a model of their own use {styled(visible(chosen), 'bold')}")
    if trouble:
        note(f"  which does not work here: {trouble}", "yellow")
    if chosen.partition("/")[0] != account:
        why = "ROOST_MODEL says so" if os.environ.get("ROOST_MODEL") else "models.toml says so, or it comes first"
        known = models.account(account)
        default = known.default if known is not None else None
        name = f"{account}/{default}" if default else f"{account}/MODEL"
        note(f"  ({why}; to change it: roost setup {account} --model {name})", None)
    say('try it: roost run "What is in this folder?"')
