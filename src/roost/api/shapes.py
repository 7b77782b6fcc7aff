"""Types that several interfaces share."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

_LARGEST = 2**63 - 1
# `$` alone also matches before a last line break; `\\Z` means something else in JSON Schema
NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]*$(?!\n)"
LABEL_KEY: Final = r"^[^:\x00-\x1f\x7f]+$(?!\n)"
LABEL_QUERY: Final = "^[^:]+:"
MONTH: Final = r"^[0-9]{4}-(0[1-9]|1[0-2])$(?!\n)"

Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=NAME)]
Position = Annotated[int, Meta(ge=0, le=_LARGEST)]
Seconds = Annotated[float, Meta(ge=0, le=1e11)]
LabelKey = Annotated[str, Meta(min_length=1, max_length=64, pattern=LABEL_KEY)]
Labels = Annotated[dict[LabelKey, Annotated[str, Meta(max_length=256)]], Meta(max_length=64)]
MonthName = Annotated[str, Meta(pattern=MONTH)]
ModelName = Annotated[str, Meta(min_length=1, max_length=256)]


class Answer(msgspec.Struct, kw_only=True):
    """Base of answers. A client ignores fields that it does not know."""


class AcceptedInput(Answer):
    """The input is on disk. `input`: its number in the log. `head`: the position before it; follow the events from
    there. `duplicate`: this Idempotency-Key was accepted before, and nothing was added. `waits_for`: the Python
    parts of the session's agent that no running node knows; the input waits until one does."""

    input: int
    duplicate: bool
    head: int
    waits_for: list[str] | UnsetType = UNSET
