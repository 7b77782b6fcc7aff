"""Modes and options of a session, as an editor chooses them."""

from __future__ import annotations

from typing import Any, cast

from roost.api.models import ModelEntry
from roost.api.node import AgentInfo
from roost.policy.gate import Permissions

DEFAULT = "default"
_MODES: dict[Permissions, tuple[str, str]] = {
    "read_only": ("Read only", "Tools that read run; all others are denied"),
    "ask": ("Ask", "Tools that read run; you are asked about all others"),
    "workspace": ("Workspace", "Isolated calls may change the workspace; you are asked about the rest"),
    "auto": ("Auto", "As Workspace; isolated commands may also use the network"),
    "all": ("Bypass", "Every call runs without a question"),
}
_CUSTOM = ("Custom", "Only the agent's rules decide")


def is_mode(name: str, current: str) -> bool:
    """Whether a session whose mode is `current` can have this one."""
    return name in [id for id, _, _ in _modes(current)]


def _modes(current: str) -> list[tuple[str, str, str]]:
    modes: dict[Any, tuple[str, str]] = {**_MODES, "custom": _CUSTOM} if current == "custom" else {**_MODES}
    return [(id, name, description) for id, (name, description) in modes.items()]


def mode_state(current: str) -> dict[str, Any]:
    """Return the modes that the session can be in."""
    modes = [{"id": id, "name": name, "description": text} for id, name, text in _modes(current)]
    return {"currentModeId": current, "availableModes": modes}


def config_options(
    mode: str, model: str | None, agent: str, models: list[ModelEntry], agents: list[AgentInfo]
) -> list[dict[str, Any]]:
    """Return the options: mode, model, and the agent. agents: the choices; one that cannot change is the only one."""
    choices = [(id, name, text) for id, name, text in _modes(mode)]
    usable = [(DEFAULT, "Default", "The default of the agent or the node")]
    usable += [(one.name, one.name, "") for one in models if one.usable]
    if model is not None and model not in [one[0] for one in usable]:
        usable.append((model, model, ""))
    known = [(one.name, one.name, one.description) for one in agents] or [(agent, agent, "")]
    return [
        _select("mode", "Permissions", "mode", mode, choices),
        _select("model", "Model", "model", model or DEFAULT, usable),
        _select("agent", "Agent", None, agent, known),
    ]


def _select(
    id: str, name: str, category: str | None, current: str, choices: list[tuple[str, str, str]]
) -> dict[str, Any]:
    options = [
        {"value": value, "name": shown} | ({"description": text} if text else {}) for value, shown, text in choices
    ]
    found: dict[str, Any] = {"type": "select", "id": id, "name": name, "currentValue": current, "options": options}
    return cast("dict[str, Any]", found | ({"category": category} if category else {}))
