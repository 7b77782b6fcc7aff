"""Endpoints for this node's models, and the router's profile that all nodes use."""

from __future__ import annotations

from roost.providers.accounts import Models
from roost.providers.auto_model import PREFIX, Routed
from roost.routing.profiles import Profiles
from roost.server.responses import Reply, json
from roost.server.row_handler import Call, Endpoint, Nothing
from roost.server.shapes import ModelEntry, ModelList, ProfileBody


async def survey(models: Models, profiles: Profiles) -> ModelList:
    """List the models of the profile in use. `models` must know the router (`roost.providers.auto_model.connect`)."""
    auto = models.resolve(PREFIX)
    assert isinstance(auto, Routed), "something else was given the router's name"
    name = await profiles.current()
    entries = [ModelEntry.of(*found) for found in auto.survey()]
    return ModelList(profile=name, profiles=list(profiles.all), models=entries)


async def models(call: Call[Nothing, Nothing]) -> Reply:
    runtime = call.api.runtime
    return json(200, await survey(runtime.models, runtime.node.model_pool.profiles))


async def use_profile(call: Call[ProfileBody, Nothing]) -> Reply:
    await call.api.runtime.node.model_pool.profiles.use(call.body.profile)
    return Reply(204)


ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/models",
        summary="The models of the router's profile in use, and whether they can be asked here",
        handler=models,
        body=Nothing,
        query=Nothing,
        answers={200: ModelList},
    ),
    Endpoint(
        method="PUT",
        path="/models/profile",
        summary="Switch the router's profile on all nodes, from the next model call on",
        handler=use_profile,
        body=ProfileBody,
        query=Nothing,
        answers={204: None},
        errors=(404,),
    ),
]
