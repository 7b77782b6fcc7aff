"""`auto`: a model that chooses, for every request, which models to ask."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from roost.log.content import ErrorData
from roost.log.coordination import Coordination
from roost.models.catalog.card import Card
from roost.models.model_wrapper import Whole, events
from roost.models.request import Failed, Model, ModelEvent, Notice, Profile, Request
from roost.providers.accounts import Models
from roost.providers.model_stack import Parts
from roost.providers.model_status import FRESH, ProcessModels, Saving
from roost.routing.profiles import Profiles
from roost.routing.recovery import Chains, Degrading
from roost.routing.request_features import features
from roost.routing.route import Features, ProfileEntry, Route
from roost.routing.router import named, route

PREFIX = "auto"
_SHOWN = 8
"""Most models named in a notice."""


class Routed(Whole):
    """The models of a profile as one model, named `auto` (the profile in use) or `auto/PROFILE`.

    Each request is routed anew: a notice `route` tells the decision, then the route's models are asked in order, as in
    `Degrading`. Without any candidate the call fails: `no_model` where no key is set, `context_overflow` where the
    request is too long for all, `unsupported` otherwise. `profile` has the largest window and all media kinds of the
    models usable here; its price is not known beforehand.
    """

    def __init__(
        self,
        here: ProcessModels,
        profiles: Profiles,
        profile: str | None = None,
    ) -> None:
        if profile is not None:
            profiles.get(profile)
        self._here = here
        self._profiles = profiles
        self._fixed = profile
        self._union: tuple[str, float, Profile] | None = None

    @property
    def name(self) -> str:
        return PREFIX if self._fixed is None else f"{PREFIX}/{self._fixed}"

    @property
    def profile(self) -> Profile:
        now, name = time.monotonic(), self._fixed or self._profiles.name
        if self._union is None or self._union[0] != name or now >= self._union[1]:
            self._union = (name, now + FRESH, self._joined(self._profiles.get(name)))
        return self._union[2]

    def survey(self) -> list[tuple[str, Card | None, str | None]]:
        """List the models of the profile: name, card where it is usable here, and what is against it now."""
        entry = self._profiles.get(self._fixed or self._profiles.name)
        names = dict.fromkeys((*entry.chat, *named(entry)))
        return [(name, self._here.card(name), self._here.trouble(name)) for name in names]

    async def close(self) -> None:
        """Do nothing: the model stacks are closed by their creator."""

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        name = self._fixed or await self._profiles.current()
        await self._here.refresh()
        entry, asked = self._profiles.get(name), features(request)
        chosen = route(asked, entry, self._here, profile=name)
        yield Notice("route", route_fields(chosen, asked))
        models = self._models(chosen)
        if not models:
            yield Failed(_nobody(chosen), sent=False)
            return
        if request.effort is None and chosen.effort is not None:
            request = msgspec.structs.replace(request, effort=chosen.effort)
        async with events(Degrading(models, Chains(default=tuple(models))), request) as stream:
            async for event in stream:
                yield event

    def _models(self, chosen: Route) -> dict[str, Model]:
        made = {name: self._here.model(name) for name in chosen.chain}
        return {name: model for name, model in made.items() if model is not None}

    def _joined(self, entry: ProfileEntry) -> Profile:
        cards = [card for name in named(entry) if (card := self._here.card(name)) is not None and card.kind == "chat"]
        all_of = [card.profile for card in cards]
        if not all_of:
            return Profile()
        widest = max(all_of, key=lambda profile: profile.window)
        return Profile(
            window=widest.window,
            max_output=widest.max_output,
            images=any(profile.images for profile in all_of),
            audio=any(profile.audio for profile in all_of),
            video=any(profile.video for profile in all_of),
            files=any(profile.files for profile in all_of),
            tools=any(profile.tools for profile in all_of),
            json_schema=any(profile.json_schema for profile in all_of),
            local=all(profile.local for profile in all_of),
        )


def connect(
    models: Models,
    parts: Parts,
    *,
    shared: Coordination | None = None,
    saving: Saving | None = None,
) -> Profiles:
    """Register the name `auto` in `models`. `models` must return model stacks with the limits and breakers of `parts`.
    `saving` tells when to save money; None: never. Raises `ConfigError`."""
    profiles = Profiles(parts.config, shared=shared)
    here = ProcessModels(models.resolve, trouble=parts.trouble, saving=saving)
    models.register(PREFIX, lambda rest: Routed(here, profiles, rest))
    return profiles


def route_fields(chosen: Route, asked: Features) -> dict[str, Any]:
    """Shorten the trace for the log: models without a key are only counted."""
    last = chosen.steps[-1]
    dropped = {name: why for step in chosen.steps[:-1] for name, why in step.dropped.items()}
    return {
        "profile": chosen.profile,
        "intent": asked.intent or "chat",
        "tokens": asked.tokens,
        "chain": list(chosen.chain[:_SHOWN]),
        **({"effort": chosen.effort} if chosen.effort else {}),
        "steps": {step.step: step.reason for step in chosen.steps},
        **({"dropped": dict(list(dropped.items())[:_SHOWN])} if dropped else {}),
        **({"unusable": len(last.dropped)} if last.dropped else {}),
    }


def _nobody(chosen: Route) -> ErrorData:
    by_step = {step.step: step.dropped for step in chosen.steps}
    if long := by_step["context"]:
        return ErrorData("context_overflow", f"too long for every model of {chosen.profile!r}: {_list(long)}")
    if unable := by_step["multimodal"] or by_step["intent"]:
        fix = "name one that can in the profile, or set its key"
        return ErrorData("unsupported", f"no model of {chosen.profile!r} takes this: {_list(unable)}; {fix}")
    if not (missing := by_step["degradation"]):
        return ErrorData("no_model", f"the profile {chosen.profile!r} names no model: add some in models.toml")
    fixes = dict.fromkeys(why.rpartition(": ")[2].removesuffix(" (or put it into .env)") for why in missing.values())
    return ErrorData(
        "no_model", f"no model of the profile {chosen.profile!r} can be asked here. Do one of: {'; '.join(fixes)}"
    )


def _list(dropped: dict[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in list(dropped.items())[:_SHOWN])
