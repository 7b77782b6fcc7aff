"""Refuse YAML of strangers that costs much more than its size."""

from __future__ import annotations

_DEEPEST = 32


def check_yaml(text: str, most: int) -> None:
    """Raise `ValueError` for a text of more than `most` characters, for deep nesting, whose cost grows with the square,
    and for aliases, which can make a small text huge. Raises `yaml.YAMLError`."""
    if len(text) > most:
        raise ValueError(f"it has more than {most} characters")
    depth = 0
    for char in text:
        depth = depth + 1 if char in "[{" else max(0, depth - 1) if char in "]}" else depth
        if depth > _DEEPEST:
            raise ValueError("too deep")
    if "*" not in text:
        return
    import yaml

    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.BaseLoader)):
        raise ValueError("aliases are not allowed")
