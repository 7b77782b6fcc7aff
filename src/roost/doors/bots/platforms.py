"""The platforms that there are. Each is a module with `make`, a `MakePlatform`, imported for the first bot there."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from roost.doors.bots.platform import MakePlatform
from roost.errors import ConfigError

PLATFORMS = {
    "telegram": "roost.doors.bots.telegram.platform",
    "slack": "roost.doors.bots.slack",
    "discord": "roost.doors.bots.discord.platform",
    "email": "roost.doors.bots.mail.platform",
    "feed": "roost.doors.bots.watch.platform",
    "page": "roost.doors.bots.watch.platform",
    "events": "roost.doors.bots.session_events",
    "webhook": "roost.doors.bots.webhook",
}


def maker(name: str) -> MakePlatform:
    """Return what makes bots of a platform. Raises `ConfigError`."""
    if name not in PLATFORMS:
        near = get_close_matches(name[:64], PLATFORMS, 1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"there is no platform {name[:64]!r}{meant}; there are: {', '.join(PLATFORMS)}")
    return import_module(PLATFORMS[name]).make
