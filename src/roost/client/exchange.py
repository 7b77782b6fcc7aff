"""Export and import sessions over HTTP: neither end holds a whole file in memory."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import IO

import msgspec

from roost.client.daemon_address import Locate, Unreachable
from roost.client.socket_transport import connect, headers_of, refusal, target
from roost.kernel.exchange.conversation_items import Brought, Format, Report, Source

_CHUNK = 256 * 1024
_PATIENCE = 600.0
"""Seconds for which a daemon may work on a file without sending anything."""


def export_session(locate: Locate, session: str, out: IO[bytes], format: Format) -> Report:
    """Write a session to `out`. Raises `ApiError`, `Unreachable`."""
    report = _fetch(locate, target(f"/sessions/{session}/export", {"format": format}), out)
    return msgspec.json.decode(report, type=Report)


def export_files(locate: Locate, session: str, out: IO[bytes]) -> int:
    """Write a tar of a session's files to `out`; returns their number. Raises `ApiError`, `Unreachable`."""
    return msgspec.json.decode(_fetch(locate, f"/sessions/{session}/files", out), type=dict[str, int])["files"]


def _fetch(locate: Locate, path: str, out: IO[bytes]) -> str:
    """Download to `out` and return the report header."""
    endpoint = locate()
    connection = connect(endpoint, _PATIENCE)
    try:
        connection.request("GET", path, headers=headers_of(endpoint))
        answer = connection.getresponse()
        if answer.status >= 400:
            raise refusal(answer.status, answer.read())
        while chunk := answer.read(_CHUNK):
            out.write(chunk)
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)
        return answer.headers.get("roost-report") or "{}"
    except (http.client.HTTPException, OSError) as error:
        raise Unreachable(f"the connection to {endpoint.url} broke: {error}") from error
    finally:
        connection.close()


def import_session(
    locate: Locate,
    path: Path,
    *,
    format: Source | None = None,
    id: str | None = None,
    agent: str | None = None,
    title: str | None = None,
    workspace: str | None = None,
    user: str | None = None,
    key: str | None = None,
) -> Brought:
    """Import a session from a file. Raises `ApiError`, `Unreachable`; with a `key` it may then be called again."""
    endpoint = locate()
    query = {"format": format, "id": id, "agent": agent, "title": title, "workspace": workspace, "user": user}
    headers = headers_of(endpoint, Content_Type="application/x-ndjson", Idempotency_Key=key)
    connection = connect(endpoint, _PATIENCE)
    try:
        with path.open("rb") as file:
            headers["Content-Length"] = str(path.stat().st_size)
            connection.request("POST", target("/import", query), body=file, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise Unreachable(f"the connection to {endpoint.url} broke: {error}") from error
    finally:
        connection.close()
    if answer.status >= 400:
        raise refusal(answer.status, body)
    return msgspec.json.decode(body, type=Brought)
