"""What is known of one model at one account."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from roost.models.profile import Profile

Source: TypeAlias = Literal["catalog", "config", "registered", "account", "none"]
Kind: TypeAlias = Literal["chat", "embedding"]


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is `account/model`, or `URL#model`. `source` says where the knowledge is from; with `account` and `none`
    it is the account's common ground, not the model's own. `dated` is the day (YYYY-MM-DD) on which the facts were
    true. What is not known is None in the profile, and never a guess."""

    account: str
    model: str
    profile: Profile = Profile()
    kind: Kind = "chat"
    source: Source = "none"
    dated: str | None = None
    retired: str | None = None
    """The day on which the provider switches it off, where one is announced."""

    @property
    def name(self) -> str:
        # An account that is a URL has its models behind the '#'.
        return f"{self.account}{'#' if '://' in self.account else '/'}{self.model}"
