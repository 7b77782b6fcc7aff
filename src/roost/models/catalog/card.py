"""A card: the known facts about one model at one account."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from roost.models.profile import Profile

Source: TypeAlias = Literal["catalog", "config", "registered", "account", "none"]
Kind: TypeAlias = Literal["chat", "embedding"]


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about a model. name: `account/model`, or `URL#model`. source: the origin of the facts; with `account`
    and `none` they are the account's defaults, not the model's own. dated: the day (YYYY-MM-DD) on which the facts were
    true. An unknown fact is None in the profile, never a guess."""

    account: str
    model: str
    profile: Profile = Profile()
    kind: Kind = "chat"
    source: Source = "none"
    dated: str | None = None
    retired: str | None = None
    """The day on which the provider will switch it off, if announced."""

    @property
    def name(self) -> str:
        # An account that is a URL has its models behind the '#'.
        return f"{self.account}{'#' if '://' in self.account else '/'}{self.model}"
