"""Texts that state the intent of a call to the model: one file per intent, for all families or for one.

`INTENT.txt` applies to all families; `FAMILY/INTENT.txt` replaces it for one. The first line of each states the task in
one sentence, so that it can be repeated alone.
"""

from __future__ import annotations

from functools import cache
from typing import get_args

from roost.models.request import Intent

INTENTS: tuple[Intent, ...] = get_args(Intent)


def words(name: str, *families: str) -> str:
    """Return the text `name` of the first of these families that has its own, else the general one; "" if there is
    none.

    Read once, at first use.
    """
    for folder in (*families, ""):
        if (text := _read(folder, name)) is not None:
            return text
    return ""


@cache
def _read(folder: str, name: str) -> str | None:
    from importlib.resources import files

    place = files(__name__).joinpath(folder, f"{name}.txt") if folder else files(__name__).joinpath(f"{name}.txt")
    return place.read_text("utf-8").strip() if place.is_file() else None
