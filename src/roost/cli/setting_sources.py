"""What holds in this folder, and where each value comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from roost.errors import RoostError
from roost.policy.loading import FILE as POLICY
from roost.policy.system_rules import PROJECT_FILE
from roost.providers.config_file import FILE as MODELS

if TYPE_CHECKING:
    from roost.cli.app import App
    from roost.providers.accounts import Models

_OPTION = "an option of this command"
_BEFORE = ("ROOST_HOME", "ROOST_URL", "ROOST_TOKEN", "ROOST_STORE", "ROOST_MODEL")
"""Variables with a row of their own."""


class Setting(NamedTuple):
    """A value as text; a key only by what it is called."""

    name: str
    value: str
    source: str


def settings(app: App) -> list[Setting]:
    """Raises `ConfigError` for a file that cannot be used."""
    given = os.environ.get("ROOST_HOME")
    app_home = app.home
    return [
        Setting("home", str(app_home), "ROOST_HOME or --home" if given else "default"),
        Setting(*_store(app)),
        Setting(*_daemon(app)),
        *_models(app),
        *_files(app_home),
        *_variables(app),
    ]


def _store(app: App) -> tuple[str, str, str]:
    if app.store is None:
        return "store", str(app.home_store), "default"
    from roost.cli.home_environment import without_password

    return "store", without_password(app.store), _OPTION if app.store_meant else "ROOST_STORE"


def _daemon(app: App) -> tuple[str, str, str]:
    from roost.client.daemon_address import Unreachable

    try:
        place = app.locate()
    except Unreachable:
        return "daemon", "none runs", "default"
    source = "home" if not app.url else "ROOST_URL" if app.url == os.environ.get("ROOST_URL") else _OPTION
    return "daemon", place.url, source


def _models(app: App) -> Iterator[Setting]:
    from roost.providers.accounts import Models

    models = Models.at_home(app.home)
    env = _dotenv()
    if "ROOST_MODEL" in os.environ or "ROOST_MODEL" in env:
        source = f"ROOST_MODEL, {_origin(app, 'ROOST_MODEL')}"
    else:
        source = MODELS if models.config.default else "the first account with a key, else the built-in model"
    yield Setting("model", models.default(), source)
    for name, usable in models.accounts().items():
        known = models.account(name)
        if usable and known is not None and known.keys:
            yield Setting(f"key of {name}", "set", _key_source(app, models, name, known.keys))


def _key_source(app: App, models: Models, name: str, variables: tuple[str, ...]) -> str:
    entry = models.config.accounts.get(name)
    if entry is not None and entry.key is not None:
        return f"{MODELS}: {entry.key}"
    variable = next((one for one in variables if one in os.environ or one in _dotenv()), variables[0])
    return f"{variable}, {_origin(app, variable)}"


def _files(home: Path) -> Iterator[Setting]:
    places = (
        ("models", home / MODELS),
        ("policy", home / POLICY),
        ("project's policy", Path.cwd() / PROJECT_FILE),
        ("agents", home / "agents"),
        ("agents of this folder", Path.cwd() / "agents"),
        ("agents of this folder", Path.cwd() / ".roost" / "agents"),
    )
    for name, path in places:
        if path.exists():
            yield Setting(name, str(path), "file" if path.is_file() else "folder")


def _variables(app: App) -> Iterator[Setting]:
    from roost.cli.home_environment import shown

    for name in sorted(os.environ):
        if name not in _BEFORE and (name.startswith("ROOST_") or name in app.home_variables):
            yield Setting(name, shown(name, os.environ[name]), _origin(app, name))


def _origin(app: App, variable: str) -> str:
    if variable in app.home_variables:
        return f"{app.home / 'env'} (roost env)"
    return "environment" if variable in os.environ else ".env of this folder"


def _dotenv() -> dict[str, str]:
    from roost.providers.dotenv import load

    try:
        return load(Path(".env"))
    except RoostError:
        return {}
