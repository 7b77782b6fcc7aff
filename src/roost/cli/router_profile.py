"""`roost models use`: the router's profile, which all nodes share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from roost.api.models import ModelEntry, ModelList
from roost.cli.app import App
from roost.cli.options import as_json, command
from roost.cli.output import note, say, say_json, table

if TYPE_CHECKING:
    from roost.models.catalog.card import Card
    from roost.models.request import Model


@command("use", store=True)
@click.argument("profile", required=False, metavar="[PROFILE]")
@as_json
def use_command(app: App, profile: str | None, as_json: bool) -> int:
    """Switch what `auto` means, on all nodes, from the next model call on.

    A profile lists the models for each kind of work: default, budget, multimodal, deep_thinking, or one of
    models.toml. Without a name it shows the profile in use and its models, in order of preference.
    """
    found = _found(app, profile)
    if as_json:
        say_json(found)
        return 0
    if profile is None:
        table(("MODEL", "STATE", "WHY"), [_row(model) for model in found.models])
    usable = sum(model.usable for model in found.models)
    say(f"{found.profile} is in use; there are {', '.join(found.profiles)}")
    if not usable:
        note(
            "none of its models can be asked here: set a key (`roost models --all` names them) or `roost pull`",
            "yellow",
        )
    return 0


def _row(model: ModelEntry) -> tuple[str, ...]:
    state = "missing" if not model.usable else "later" if model.trouble else "ready"
    return model.name, state, model.trouble or ""


def _found(app: App, profile: str | None) -> ModelList:
    daemon = None if app.store_meant and not app.url else app.daemon()
    if daemon is None:
        return asyncio.run(_in_store(app, profile))
    try:
        if profile is not None:
            daemon.models.use_profile(profile)
        return daemon.models.list()
    finally:
        daemon.close()


async def _in_store(app: App, profile: str | None) -> ModelList:
    """Use the store without becoming a node. Reading does not create a store that does not exist."""
    from roost.providers.accounts import Models
    from roost.providers.auto_model import connect
    from roost.providers.model_stack import Parts, stacked
    from roost.server.models import survey
    from roost.stores.open import open_store

    models = Models.at_home(app.home)
    parts = Parts(models.config)

    def wrap(model: Model, _: Card) -> Model:
        return stacked(model, parts)

    models.wrap = wrap
    there = app.store or app.home_store.exists()
    if profile is not None and not there:
        app.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = await open_store(app.store or app.home_store) if there or profile is not None else None
    try:
        profiles = connect(models, parts, shared=store and store.coordination)
        if profile is not None:
            await profiles.use(profile)
        return await survey(models, profiles)
    finally:
        await models.close()
        if store is not None:
            await store.close()
