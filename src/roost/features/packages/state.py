"""Fold which versions of packages a session has used."""

from __future__ import annotations

from roost.agent.state import State
from roost.agent.state_parts import StatePart
from roost.features.packages.events import PackageUsed


class PackageState(StatePart):
    """packages_used: digests of the versions whose tools were offered last, by package."""

    packages_used: dict[str, str] = {}


def _used(state: State, event: PackageUsed) -> None:
    state.part(PackageState).packages_used[event.package] = event.digest


PART = PackageState
FOLDS = {PackageUsed: _used}
