"""The services of features as attributes of `Runtime`.

Made by `python -m tools.sync_client`; do not edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roost.features.schedules.service import Schedules


class RuntimeServices:
    """An attribute for each service. `_service` makes its object."""

    def _service(self, module: str) -> Any:
        raise NotImplementedError

    @property
    def schedules(self) -> Schedules:
        return self._service("roost.features.schedules.service")
