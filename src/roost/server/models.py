"""This node's models, and the router's profile that all nodes use."""

from __future__ import annotations

from msgspec.structs import replace

from roost.api.models import ModelEntry, ModelList, ModelsApi
from roost.authority import current
from roost.models.catalog.card import Card
from roost.models.profile import MEDIA_KINDS
from roost.providers.accounts import Models
from roost.providers.auto_model import PREFIX, Routed
from roost.routing.profiles import Profiles
from roost.runtime import Runtime


async def survey(models: Models, profiles: Profiles) -> ModelList:
    """List the models of the profile in use. `models` must know the router (`roost.providers.auto_model.connect`)."""
    auto = models.resolve(PREFIX)
    assert isinstance(auto, Routed), "something else was given the router's name"
    name = await profiles.current()
    entries = [_entry(*found) for found in auto.survey()]
    return ModelList(profile=name, profiles=list(profiles.all), models=entries)


def _entry(name: str, card: Card | None, trouble: str | None) -> ModelEntry:
    if card is None:
        return ModelEntry(name=name, usable=False, trouble=trouble)
    profile = card.profile
    return ModelEntry(
        name=name,
        usable=True,
        trouble=trouble,
        window=profile.window,
        max_output=profile.max_output,
        media=[kind for kind in MEDIA_KINDS if profile.takes(kind)],
    )


class ModelService(ModelsApi):
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def list(self) -> ModelList:
        found, who = await survey(self._runtime.models, self._runtime.node.model_pool.profiles), current()
        if not who.confined:
            return found
        own = [replace(one, trouble=None) for one in found.models if who.may_use(f"model:{one.name}")]
        return replace(found, models=own)

    async def use_profile(self, profile: str) -> None:
        await self._runtime.node.model_pool.profiles.use(profile)
