"""Sign in to an account in the browser: OAuth's authorization code with PKCE (RFC 7636) and a callback on loopback.

For accounts that allow this for any program. The result is a key, which the caller stores in a file.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from roost.errors import RoostError
from roost.models.catalog.facts import SignIn
from roost.models.http import HttpClient, HttpFailed

CALLBACK_SECONDS = 300.0
_HEAD_BYTES = 16 * 1024
_PAGE = "<!doctype html><meta charset=utf-8><title>Roost</title><p>{}</p><p>You can close this page.</p>"


class SignInFailed(RoostError):
    """No person signed in, or the provider refused. No key was stored."""

    code, status = "sign_in_failed", 401


async def sign_in(place: SignIn, *, show: Callable[[str], None], seconds: float = CALLBACK_SECONDS) -> str:
    """Sign in and return the provider's key. `show` gets the address for a person to open in a browser on this machine.
    Raises `SignInFailed`, also after `seconds` without a callback."""
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    loop = asyncio.get_running_loop()
    came: asyncio.Future[str] = loop.create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(10):
                head = (await reader.readuntil(b"\r\n"))[:_HEAD_BYTES].decode("latin-1")
            status, text = _took(head, state, came)
            body = _PAGE.format(text).encode()
            line = (
                f"HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
            )
            writer.write(line.encode() + b"\r\n" + body)
            await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, limit=_HEAD_BYTES) as server:
        port = server.sockets[0].getsockname()[1]
        back = f"http://localhost:{port}/callback?{urlencode({'state': state})}"
        asked = {"callback_url": back, "code_challenge": challenge, "code_challenge_method": "S256"}
        show(f"{place.authorize}?{urlencode(asked)}")
        try:
            async with asyncio.timeout(seconds):
                code = await came
        except TimeoutError:
            raise SignInFailed(f"nobody signed in within {seconds:.0f} s; try again") from None
    return await _exchanged(place, code, verifier)


def _took(head: str, state: str, came: asyncio.Future[str]) -> tuple[str, str]:
    """Return the status and text for the browser. A request without the right `state` is a stranger's."""
    parts = urlsplit([*head.split(" "), "", ""][1])
    query = parse_qs(parts.query)
    if parts.path != "/callback" or not secrets.compare_digest(query.get("state", [""])[0].encode(), state.encode()):
        return "404 Not Found", "There is nothing here."
    if "code" not in query:
        why = query.get("error_description", query.get("error", ["it sent no code"]))[0][:200]
        if not came.done():
            came.set_exception(SignInFailed(f"the provider refused: {why}"))
        return "400 Bad Request", "The provider refused."
    if not came.done():
        came.set_result(query["code"][0])
    return "200 OK", "Roost is signed in."


async def _exchanged(place: SignIn, code: str, verifier: str) -> str:
    body = msgspec.json.encode({"code": code, "code_verifier": verifier, "code_challenge_method": "S256"})
    client = HttpClient()
    try:
        async with client.stream("POST", place.token, {"Content-Type": "application/json"}, body) as response:
            data = await response.read_all(64 * 1024)
            document: Any = msgspec.json.decode(data) if response.status == 200 else None
    except (HttpFailed, msgspec.DecodeError) as error:
        raise SignInFailed(f"the provider gave no key: {error}") from error
    finally:
        await client.close()
    key = document.get("key") if isinstance(document, dict) else None  # type: ignore[union-attr]
    if not isinstance(key, str) or not key:
        raise SignInFailed(f"the provider gave no key: it answered {response.status}")
    return key
