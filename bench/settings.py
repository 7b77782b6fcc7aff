"""How much a run does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """`quick`: small numbers, to see that everything runs. `peers`: compare with them."""

    quick: bool = False
    peers: bool = True

    def pick(self, full: int, quick: int) -> int:
        return quick if self.quick else full
