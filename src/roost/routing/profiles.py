"""The router's profiles: the built-in ones, overlaid by the user's own, and which of them is in use."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from roost.errors import ConfigError, NotFound, RoostError
from roost.log.coordination import Coordination
from roost.routing.route import ProfileEntry

SETTING = "models.profile"
FRESH = 2.0
"""Seconds after which the setting is read again: the longest delay of a switch on another node."""

_PRO, _FLASH = "deepseek/deepseek-v4-pro", "deepseek/deepseek-flash"
_GLM = ("glm/glm-5.3", "glm-cn/glm-5.3", "glm/glm-5.2")
_M3 = ("minimax/MiniMax-M3", "minimax-cn/MiniMax-M3")
_STRONG = (
    "anthropic/claude-sonnet-5-5",
    "openai/gpt-6.1-sol",
    "google/gemini-4-argon",
    "openrouter/anthropic/claude-sonnet-5.5",
    "xai/grok-4.7",
    "mistral/mistral-medium-3-5",
)
_DEEP = ("anthropic/claude-opus-5-5", "openai/gpt-6.1-sol", "google/gemini-4-argon")
_QUICK = (
    "anthropic/claude-haiku-5-5",
    "openai/gpt-6-luna",
    "google/gemini-flash-lite-latest",
    "openrouter/openai/gpt-6-luna",
    "mistral/mistral-small-2603",
    "groq/openai/gpt-oss-120b",
)
_CHEAP = (_FLASH, "glm/glm-5.3-flash", "glm-cn/glm-5.3-flash", *_QUICK)
_SIGHTED = (*_M3, "google/gemini-4-argon", "glm/glm-5v-turbo", "anthropic/claude-sonnet-5-5", "openai/gpt-6.1-sol")
_SIGHTED_CHEAP = ("minimax/MiniMax-M3.1-Flash", "google/gemini-flash-lite-latest", "openai/gpt-6-luna", _FLASH)
_WIDE = (_PRO, *_M3, *_GLM, *_STRONG[:3])

BUILT_IN: dict[str, ProfileEntry] = {
    "default": ProfileEntry(
        design=(_PRO, *_STRONG),
        plan=(*_GLM, *_STRONG),
        replan=(*_GLM, *_STRONG),
        execute=(*_GLM, *_STRONG),
        review=(_PRO, *_STRONG),
        sub_agent=(*_GLM, *_STRONG),
        code_generation=(*_GLM, *_STRONG),
        chat=(_FLASH, *_QUICK),
        multimodal=_SIGHTED,
        long_context=_WIDE,
        long_horizon=(*_GLM, *_DEEP),
        cheap=(*_CHEAP, "local"),
    ),
    "budget": ProfileEntry(chat=_CHEAP, multimodal=_SIGHTED_CHEAP, cheap=(*_CHEAP, "local")),
    "multimodal": ProfileEntry(
        chat=(*_SIGHTED, "openrouter/anthropic/claude-sonnet-5.5"),
        multimodal=_SIGHTED,
        cheap=(*_SIGHTED_CHEAP, "local"),
    ),
    "deep_thinking": ProfileEntry(
        chat=(*_GLM, _PRO, *_DEEP, *_STRONG[3:]),
        multimodal=_SIGHTED,
        long_context=_WIDE,
        cheap=(_FLASH, "openai/gpt-6-luna", "local"),
        effort="max",
    ),
}
"""The built-in profiles. A model of an account without a key is skipped, so a user with one key gets a chain of that
account's models. `local` is the last of each: it precedes the dearer ones only when money is to be saved."""


class ProfileSettings(Protocol):
    """The profile settings of `models.toml`: the user's own profiles, and the name of the first one."""

    @property
    def profile(self) -> str: ...
    @property
    def profiles(self) -> Mapping[str, ProfileEntry]: ...


def _all(config: ProfileSettings) -> dict[str, ProfileEntry]:
    known = {**BUILT_IN, **config.profiles}
    if config.profile not in known:
        raise ConfigError(f"models.toml: profile = {config.profile!r} names none of the profiles: {', '.join(known)}")
    return known


class Profiles:
    """The profiles by name. `shared` holds the name in use, for all nodes; without it each process has its own. Raises
    `ConfigError` for an unknown configured profile."""

    def __init__(
        self, config: ProfileSettings, *, shared: Coordination | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.all = _all(config)
        self._name = self._first = config.profile
        self._shared = shared
        self._now = now
        self._due = float("-inf")
        self._switches = 0

    @property
    def name(self) -> str:
        """The name in use when last read."""
        return self._name

    def change(self, config: ProfileSettings) -> None:
        """Apply these settings from the next request on. Raises `ConfigError`, and changes nothing."""
        self.all, self._first = _all(config), config.profile
        if self._shared is None or self._name not in self.all:
            self._name = config.profile
        self._due = float("-inf")

    async def current(self) -> str:
        """Return the name in use. If the store does not answer, the last one read; if another node has switched to one
        unknown here, the first."""
        if self._shared is None or (now := self._now()) < self._due:
            return self._name
        self._due, switches = now + FRESH, self._switches
        try:
            named = await self._shared.setting(SETTING)
        except RoostError:
            return self._name
        if switches == self._switches:  # a switch during the read is newer than its result
            self._name = named if named in self.all else self._first
        return self._name

    async def use(self, name: str) -> None:
        """Switch all nodes permanently. Raises `NotFound`, `StoreFailed`."""
        self.get(name)
        if self._shared is not None:
            await self._shared.setting(SETTING, name, replace=True)
        self._name, self._due = name, self._now() + FRESH
        self._switches += 1

    def get(self, name: str) -> ProfileEntry:
        """Return a profile. Raises `NotFound` with the known names."""
        if (entry := self.all.get(name)) is None:
            known = ", ".join(self.all)
            raise NotFound(f"there is no profile {name!r}; use one of {known}", code="unknown_profile")
        return entry
