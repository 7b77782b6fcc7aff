"""Convert requested settings to fields of a request's body, by a profile's data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from roost.models.profile import Knob, Profile
from roost.models.request import EFFORTS


def knobs_of(profile: Profile, wire: Mapping[str, Knob]) -> dict[str, Knob]:
    """Return the wire's knobs, overridden by the profile's, without those that the profile removes."""
    return {name: knob for name, knob in {**wire, **profile.knobs}.items() if knob is not None}


def turn(body: dict[str, Any], knobs: Mapping[str, Knob], asked: Mapping[str, Any]) -> None:
    """Write the requested settings and the defaults into `body`. Settings without a knob in `knobs` are left out."""
    for name, knob in knobs.items():
        value = asked.get(name)
        if value is None:
            value = knob.default
        if value is not None and (sent := _sent(name, knob, value)) is not None:
            _merge(body, _placed(knob.field, sent))


def _sent(name: str, knob: Knob, value: Any) -> Any:
    if knob.values is not None:
        if not isinstance(value, str):
            return None
        known = _nearest(value, knob.values) if name == "effort" else value
        return knob.values.get(known) if known is not None else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = value if knob.low is None else max(knob.low, value)
        value = value if knob.high is None else min(knob.high, value)
    return value


def _nearest(effort: str, values: Mapping[str, Any]) -> str | None:
    if effort in values or effort == "off" or effort not in EFFORTS:
        return effort
    at = EFFORTS.index(effort)
    below = [known for known in EFFORTS[1:at] if known in values]
    above = [known for known in EFFORTS[at + 1 :] if known in values]
    return below[-1] if below else above[0] if above else None


def _placed(field: str | None, value: Any) -> dict[str, Any]:
    if field is None:
        return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    for level in reversed(field.split(".")):
        value = {level: value}
    return value


def _merge(body: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        old = body.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            _merge(cast("dict[str, Any]", old), cast("dict[str, Any]", value))
        else:
            body[key] = _copy(value)


def _copy(value: Any) -> Any:
    # The body is modified later; the profile's data must not be.
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in cast("dict[str, Any]", value).items()}
    return value
