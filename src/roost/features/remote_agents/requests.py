"""Requests to one remote agent: to checked addresses, with its token, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from roost.agent.remote_agent_options import RemoteAgent
from roost.tools.checked_http import Answer, ask, judged, parts_of, place_of
from roost.tools.errors import ToolError

_HEADERS = {"A2A-Version": "1.0", "Accept": "application/json, application/a2a+json"}
_SHOWN = 500


class Requests:
    """secret: returns the value of a secret by its name."""

    def __init__(self, agent: RemoteAgent, secret: Callable[[str], str]) -> None:
        self._agent, self._secret = agent, secret

    async def fetch(self, url: str, *, cap: int) -> bytes:
        """Raises `ToolError`."""
        answer = await self._ask("GET", url, None, cap)
        if answer.status != 200:
            raise ToolError(f"{url} answered {answer.status}")
        return answer.body

    async def call(self, method: str, url: str, body: Any, *, cap: int) -> tuple[int, dict[str, Any]]:
        """Return the status and the object of the answer. Raises `ToolError` (`NotSent` if it did not arrive)."""
        answer = await self._ask(method, url, body, cap)
        try:
            return answer.status, msgspec.json.decode(answer.body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ToolError(f"{self._agent.name} answered {answer.status} without a JSON object") from None

    async def _ask(self, method: str, url: str, body: Any, cap: int) -> Answer:
        parts = parts_of(url)
        host, port = place_of(parts)
        headers = dict(_HEADERS)
        if self._agent.secret is not None:
            if parts.scheme != "https" and f"{host}:{port}" not in self._agent.private:
                raise ToolError(f"the token of {self._agent.name} is not sent without TLS to {host}:{port}")
            headers["Authorization"] = f"Bearer {self._secret(self._agent.secret)}"
        addresses = await judged(host, port, allowed=self._agent.private)
        answer = await ask(method, url, addresses, cap=cap, headers=headers, json=body)
        if answer.cut:
            raise ToolError(f"{self._agent.name} answered with more than {cap} bytes")
        return answer


def error_text(error: Any) -> str:
    """Return what an error of A2A says, short: a stranger wrote it."""
    if isinstance(error, dict):
        said = error.get("message")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        code = error.get("code")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return f"{code}: {str(said)[:_SHOWN]}"  # pyright: ignore[reportUnknownArgumentType]
    return str(error)[:_SHOWN]
