"""`roost models login`: get a key through a provider's own sign-in page."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import tomllib
import webbrowser
from pathlib import Path
from typing import cast

import click
import msgspec

from roost.cli.app import App
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
    path = _kept(app.home, account, key)
    said = named_in(app.home, account, path)
    if as_json:
        say_json({"account": account, "file": str(path), "configured": said})
    elif said:
        say(f"{account} is signed in; its key is in {path}")
    else:
        entry = f"[accounts.{_quoted(account)}]\nkey = 'file:{path}'"
        say(f"{account} is signed in; write this into {app.home / FILE}:\n\n{entry}")
    return 0


def _kept(home: Path, account: str, key: str) -> Path:
    folder = home / "keys"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path, draft = folder / account, folder / f".{account}.{os.getpid()}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return path


def named_in(home: Path, account: str, path: Path) -> bool:
    """Add the file to models.toml. Returns whether it is named there now; an entry of the user's own is not changed."""
    file = home / FILE
    text = file.read_text() if file.exists() else ""
    own = _account(text, account)
    if own is not None:
        return own.get("key") == f"file:{path}"
    table = f"\n[accounts.{_quoted(account)}]\nkey = {_quoted(f'file:{path}')}\n"
    table = table if not text or text.endswith("\n") else f"\n{table}"
    try:
        tomllib.loads(text + table)
    except tomllib.TOMLDecodeError:  # the accounts are an inline table, which cannot be extended
        return False
    with file.open("a") as out:
        out.write(table)
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
