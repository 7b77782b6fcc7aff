"""Say in each model request inside which tool call it is made, whatever client makes it."""

from __future__ import annotations

import functools
import sys
from typing import Any

from .gate import scope

_HEADER = "x-roost-scope"


def install() -> None:
    """Wrap the HTTP clients that have been imported."""
    for name in ("httpx", "httpx2"):
        module = sys.modules.get(name)
        if module is not None and not hasattr(module, "_roost"):
            module._roost = True  # type: ignore[attr-defined]
            _wrap(module.Client)
            _wrap(module.AsyncClient)


def _wrap(client: Any) -> None:
    send = client.send

    @functools.wraps(send)
    def marked(self: Any, request: Any, *given: Any, **named: Any) -> Any:
        if inner := scope():
            request.headers[_HEADER] = inner
        return send(self, request, *given, **named)

    client.send = marked
