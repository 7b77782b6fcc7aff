"""System calls of an agent. They are answered in this program: the address is not needed."""

from __future__ import annotations

import importlib
from typing import Any

from ..config.config_manager import config

aios_kernel_url = config.get_kernel_url()


class Query:
    """What is asked of the kernel."""

    query_class = ""

    def __init__(self, **data: Any) -> None:
        self._data = data

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_data"][name]
        except KeyError:
            raise AttributeError(name) from None

    def model_dump(self) -> dict[str, Any]:
        return {"query_class": self.query_class, **self._data}


def send_request(agent_name: str, query: Any, base_url: str = aios_kernel_url) -> dict[str, Any]:
    kernel = importlib.import_module("roost_bridge.aios_kernel")
    return kernel.query(query.query_class, query.model_dump())
