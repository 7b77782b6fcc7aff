"""What the checks of all protocols need to look through a request's body."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

Json: TypeAlias = dict[str, Any]


def need(fine: bool, reason: str) -> None:
    """Raise `AssertionError` with the reason of a refusal, unless all is fine."""
    if not fine:
        raise AssertionError(reason)


def as_dict(value: Any) -> Json:
    """Return the object, or an empty one for anything else."""
    return cast("Json", value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return the array, or an empty one for anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def need_dict(value: Any) -> Json:
    """Return the object, empty for null. Refuses anything else."""
    need(value is None or isinstance(value, dict), "an object was expected")
    return cast("Json", value) or {}


def need_list(value: Any) -> list[Any]:
    """Return the array. Refuses anything else."""
    need(isinstance(value, list), "an array was expected")
    return cast("list[Any]", value)
