"""Find the agent or the model that a client's name for it means."""

from __future__ import annotations

import asyncio

from roost.api.models import ModelEntry
from roost.authority import current
from roost.errors import NotFound, RoostError
from roost.models.request import Model
from roost.providers.accounts import Models
from roost.server.app_state import Api
from roost.server.models import survey

NAME = 256
"""Most characters of a model's name."""
BRANDS = {"claude-": "anthropic", "gpt-": "openai", "gemini-": "google"}
"""How the names begin that clients send unless they are told another, and the account whose models they are."""


def unknown(name: str) -> NotFound:
    return NotFound(f"there is no model or agent {name[:NAME]!r}; GET /v1/models lists them", code="unknown_model")


def agent_of(api: Api, name: str) -> str | None:
    """Return the name of the agent that a name means, by itself or as an alias; None if it means a model."""
    agents = api.runtime.agents
    if agents.find(name) is not None:
        return name
    meant = api.runtime.models.alias(name) if len(name) <= NAME else None
    return meant if meant is not None and agents.find(meant) is not None else None


async def model_of(api: Api, name: str) -> Model:
    """Return the model that a name means: a model that this node's configuration knows, or an alias. A brand's name
    that is neither means the model of this name at the brand's account if that has a key, else the default model.
    Raises `NotFound`."""
    current().demand_model(name)
    if not name or len(name) > NAME or "://" in name:  # a client chooses no addresses
        raise unknown(name)
    return await asyncio.to_thread(_resolved, api.runtime.models, name)


def _resolved(models: Models, name: str) -> Model:
    try:
        return models.resolve(_branded(models, name) or name)
    except RoostError as error:
        how = f'To give it a meaning, write under [aliases] in models.toml: "{name}" = "ACCOUNT/MODEL"'
        raise NotFound(
            f"no agent is called {name!r}, and no model: {error.message}. {how}", code="unknown_model"
        ) from None


def _branded(models: Models, name: str) -> str | None:
    account = next((account for brand, account in BRANDS.items() if name.startswith(brand)), None)
    if account is None or models.alias(name) is not None:
        return None
    own = f"{account}/{name}"
    return own if models.trouble(own) is None else models.default()


async def usable(api: Api) -> list[ModelEntry]:
    """Return the usable models of the router's profile in use."""
    runtime = api.runtime
    known = await survey(runtime.models, runtime.node.model_pool.profiles)
    return [one for one in known.models if one.usable and current().may_use(f"model:{one.name}")]
