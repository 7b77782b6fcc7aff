"""The engine settings under which the local model is measured: an answer must not depend on them."""

from __future__ import annotations

from typing import NamedTuple


class Setting(NamedTuple):
    """`batch`: tokens of a prompt that are evaluated at once. `repack`: the weights are laid out for the processor."""

    threads: int
    batch: int
    repack: bool

    @property
    def name(self) -> str:
        return f"{self.threads} threads, batch {self.batch}, {'repacked' if self.repack else 'not repacked'}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "ROOST_MODEL_THREADS": str(self.threads),
            "ROOST_MODEL_BATCH": str(self.batch),
            "ROOST_MODEL_REPACK": str(int(self.repack)),
        }


SETTINGS = (
    Setting(1, 64, False),
    Setting(2, 128, False),
    Setting(4, 512, False),
    Setting(1, 512, True),
    Setting(2, 64, True),
    Setting(4, 128, True),
)
"""Each number of threads, each size of batch and both layouts; not every combination."""
