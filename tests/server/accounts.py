"""Accounts of a served daemon, for tests of what their tokens may do."""

from __future__ import annotations

import http.client
import json
from typing import Any

from tests.server.conftest import Answer, Served, Stream, ask


class Tenant:
    """The holder of a token of an account."""

    def __init__(self, served: Served, token: str, id: str = "") -> None:
        self.served, self.token, self.id = served, token, id

    def headers(self, **more: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", **{k.replace("_", "-"): v for k, v in more.items()}}

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=60)
        try:
            return ask(connection, method, path, body, headers=self.headers(**headers))
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Any:
        answer = self.request("GET", path, **headers)
        assert answer.status == 200, answer
        return answer.json

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.request("POST", path, body, **headers)

    def session(self, agent: str = "clerk", **fields: Any) -> str:
        answer = self.post("/sessions", {"agent": agent, **fields})
        assert answer.status == 201, answer
        return answer.json["id"]

    def stream(self, method: str, path: str, body: Any = None) -> Stream:
        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=60)
        data = None if body is None else json.dumps(body).encode()
        connection.request(
            method, path, data, self.headers(Accept="text/event-stream", Content_Type="application/json")
        )
        response = connection.getresponse()
        assert response.status == 200, response.read()
        return Stream(connection, response)

    def say(self, session: str, text: str) -> list[Any]:
        with self.stream("POST", f"/sessions/{session}/messages", {"text": text}) as stream:
            return list(stream)


def tenant(served: Served, name: str, *, token: dict[str, Any] | None = None, **account: Any) -> Tenant:
    """Make an account, if it is new, and a token of it."""
    made = served.request("PUT", f"/accounts/{name}", account)
    assert made.status == 200, made
    answer = served.post(f"/accounts/{name}/tokens", token or {})
    assert answer.status == 201, answer
    return Tenant(served, answer.json["token"], answer.json["id"])
