"""`roost models login`: get a key through a provider's own sign-in page."""

from __future__ import annotations

import asyncio
import re
import threading
import tomllib
import webbrowser
from pathlib import Path
from typing import cast

import click
import msgspec

from roost.cli.app import App
from roost.cli.atomic_file import write_text
from roost.cli.options import as_json, command
from roost.cli.output import note, say, say_json
from roost.errors import ConfigError
from roost.providers.accounts import Models
from roost.providers.config_file import FILE
from roost.providers.secret_refs import checked
from roost.providers.sign_in import sign_in


@command("login")
@click.argument("account", metavar="ACCOUNT")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@as_json
def login_command(app: App, account: str, no_browser: bool, as_json: bool) -> int:
    """Sign in to an account in the browser, and store the key that it returns.

    The key goes into a file of the home that only you can read, and models.toml refers to it. Only some accounts
    support this. The others have a web page for keys; `roost models check` names it.
    """
    models = Models.at_home(app.home)
    found = models.account(account)
    if found is None:
        raise ConfigError(f"there is no account {account!r}")
    if found.sign_in is None:
        where = f": make a key at {found.site}" if found.site else ""
        raise ConfigError(f"{account} does not let other programs sign people in{where}")

    def show(url: str) -> None:
        note(f"sign in here, in a browser of this machine:\n  {url}", None)
        if not no_browser:  # in a thread: a browser in the terminal returns when closed, after the callback must run
            threading.Thread(target=webbrowser.open, args=(url,), name="roost-browser").start()

    key = checked(asyncio.run(sign_in(found.sign_in, show=show)), where=f"the key of {account}")
    path = kept(app.home, account, key)
    said = named_in(app.home, account, f"file:{path}")
    if as_json:
        say_json({"account": account, "file": str(path), "configured": said})
    elif said:
        say(f"{account} is signed in; its key is in {path}")
    else:
        entry = f"[accounts.{_quoted(account)}]\nkey = 'file:{path}'"
        say(f"{account} is signed in; write this into {app.home / FILE}:\n\n{entry}")
    return 0


def kept(home: Path, account: str, key: str) -> Path:
    """Write the key into a file of the home that only its user can read."""
    path = home / "keys" / account
    for folder in (home, path.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        path.chmod(0o600)
    write_text(path, key + "\n")
    return path


def named_in(home: Path, account: str, reference: str) -> bool:
    """Add the reference to a key to models.toml. Returns whether it is there now; an entry of the user's own is not
    changed."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = home / FILE
    text = file.read_text() if file.exists() else ""
    own = _account(text, account)
    if own is not None:
        return own.get("key") == reference
    table = f"\n[accounts.{_quoted(account)}]\nkey = {_quoted(reference)}\n"
    table = table if not text or text.endswith("\n") else f"\n{table}"
    try:
        tomllib.loads(text + table)
    except tomllib.TOMLDecodeError:  # the accounts are an inline table, which cannot be extended
        return False
    write_text(file, text + table)
    return True


def _account(text: str, account: str) -> dict[str, object] | None:
    """Return the account's entry of models.toml, in any notation; {} if it is no table, None if missing."""
    accounts: object = tomllib.loads(text).get("accounts")
    if not isinstance(accounts, dict):
        return None
    found: object = cast("dict[str, object]", accounts).get(account)
    return None if found is None else cast("dict[str, object]", found) if isinstance(found, dict) else {}


def _quoted(text: str) -> str:
    """Return a TOML string, or a bare key where possible."""
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else msgspec.json.encode(text).decode()
