"""Messages that stand for requests to the routes of an adapter of termo-agent.

The door makes them and signs them for their session. Any other text of the same look is words: else whoever may say
something to an agent, such as a stranger in a chat, could ask for a route that takes a higher right."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

BEGIN = '{"http":'
_PROOF = ',"proof":"'


class RouteMessages:
    """secret: returns the cluster's."""

    def __init__(self, secret: Callable[[], Awaitable[bytes]]) -> None:
        self._secret = secret

    async def made(self, session: str, request: str) -> str:
        """Return the message of a request, which is JSON."""
        return f'{BEGIN}{request}{_PROOF}{await self._sign(session, request)}"}}'

    async def is_one(self, session: str, text: str) -> bool:
        """Whether a text is a message that was made for this session."""
        request, _, proof = text.removeprefix(BEGIN).rpartition(_PROOF)
        wanted = f'{await self._sign(session, request)}"}}'
        return text.startswith(BEGIN) and hmac.compare_digest(proof.encode("utf-8", "replace"), wanted.encode())

    async def _sign(self, session: str, request: str) -> str:
        signed = f"{session}\0{request}".encode("utf-8", "surrogatepass")
        key = hmac.digest(await self._secret(), b"roost adapter route", "sha256")
        return hmac.digest(key, signed, "sha256").hex()
