"""The running daemon's configuration: reading, changing, reloading files, moving sessions."""

from __future__ import annotations

from collections.abc import Mapping

from roost.api.configuration import Configuration, ConfigurationApi, History
from roost.authority import current
from roost.kernel.settings import Reloaded, Revision, Value
from roost.runtime import Runtime


class ConfigurationService(ConfigurationApi):
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def get(self) -> Configuration:
        configuration = self._runtime.configuration
        settings = await configuration.settings()
        number = configuration.record.newest.number
        return Configuration(number=number, settings=settings, faults=configuration.all_faults())

    async def patch(self, values: Mapping[str, Value | None], *, by: str = "HTTP") -> Revision:
        """As the interface says. Of an account the history has the name, whatever `by` says."""
        account = current().account
        return await self._runtime.configuration.patch(values, by=by if account is None else f"{account}/{by}")

    async def history(self, *, before: int | None = None, limit: int = 50) -> History:
        return History(changes=await self._runtime.configuration.record.history(before=before, limit=limit))

    async def reload(self) -> Reloaded:
        return await self._runtime.configuration.reload()
