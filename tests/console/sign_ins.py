"""What a page of the console sends to sign in and when it is signed in, for tests without a browser."""

from __future__ import annotations

import http.client
import json
from typing import Any

from tests.server.conftest import Answer, Served, Stream

PAGE = {"Roost-Browser": "1"}


def ask(served: Served, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """Ask without a token."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    try:
        data = None if body is None else json.dumps(body)
        given = {} if body is None else {"Content-Type": "application/json"}
        connection.request(
            method, path, data, {**given, **{key.replace("_", "-"): one for key, one in headers.items()}}
        )
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def signed_in(served: Served, token: str | None = None, **headers: str) -> dict[str, str]:
    """Sign in, and return the headers of the page."""
    more = {"Authorization": f"Bearer {token or served.token}", **PAGE, **headers}
    return headers_of(ask(served, "POST", "/console/sign-in", **more))


def headers_of(answer: Answer) -> dict[str, str]:
    """Return the headers of a page that was signed in: the cookie, and what the page keeps."""
    assert answer.status == 200, answer
    assert answer.headers["cache-control"] == "no-store"
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0], "Roost-Browser": answer.json["page"]}


def opened(served: Served, page: dict[str, str]) -> Stream:
    """Open the stream of changes of a page."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.request("GET", "/console/changes", headers=page)
    response = connection.getresponse()
    assert response.status == 200, response.read()
    return Stream(connection, response)
