"""What a model is told that a call is for: one text file an intent, for everybody or for one family alone.

`INTENT.txt` holds for all families, `FAMILY/INTENT.txt` in its place for one. The first line of each says the task in a
sentence, so that it can be said again alone.
"""

from __future__ import annotations

from functools import cache
from typing import get_args

from roost.models.request import Intent

INTENTS: tuple[Intent, ...] = get_args(Intent)


def words(name: str, *families: str) -> str:
    """The text called `name` of the first of these families that has its own, else everybody's; "" where there is none.

    Read at the first use, once.
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
