"""Kill the daemon while it streams the answers of models to clients of every gateway, and its list of sessions to the
console: each sends its request again.
Every answer is whole then, no session is made, and the ledger has each call once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, NamedTuple

import httpx2
import msgspec
import pytest
from tests.doors.managed_support import TOML
from tests.doors.test_openai_killed import LONG, Node

from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script

_SLOW = Script(rules=(Rule(answers=(Reply(text=LONG, pace=0.02, piece=5),)),))
_HELLO = [{"role": "user", "content": "hello"}]
_ASKED: dict[str, Any] = {"model": "one/m", "stream": True}
_GEMINI = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}


class Gateway(NamedTuple):
    """A streamed request for a model call. text: where the pieces of the answer are in an event."""

    path: str
    body: dict[str, Any]
    text: tuple[str | int, ...]
    headers: dict[str, str] = {}


GATEWAYS = {
    "chat": Gateway("/v1/chat/completions", {**_ASKED, "messages": _HELLO}, ("choices", 0, "delta", "content")),
    "responses": Gateway("/v1/responses", {**_ASKED, "input": "hello"}, ("delta",)),
    "anthropic": Gateway(
        "/v1/messages",
        {**_ASKED, "max_tokens": 999, "messages": _HELLO},
        ("delta", "text"),
        {"anthropic-version": "2023-06-01"},
    ),
    "gemini": Gateway(
        "/v1beta/models/one%2Fm:streamGenerateContent?alt=sse",
        _GEMINI,
        ("candidates", 0, "content", "parts", 0, "text"),
    ),
}


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setenv("ONE_KEY", "k")
    with ProviderServer(_SLOW) as provider:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "models.toml").write_text(TOML.format(url=provider.url))
        made = Node(tmp_path, provider.url)
        yield made
        made.kill()


def text_of(event: Any, path: tuple[str | int, ...]) -> str:
    for step in path:
        try:
            event = event[step]
        except (KeyError, IndexError, TypeError):
            return ""
    return event if isinstance(event, str) else ""


def _listen(node: Node, gateway: Gateway, begun: Barrier | None = None) -> str:
    """Return the text of an answer, as far as it comes. begun: told once the answer is under way."""
    url, heard = f"http://127.0.0.1:{node.port}{gateway.path}", ""
    headers = {"authorization": f"Bearer {node.token}", **gateway.headers}
    try:
        with httpx2.stream("POST", url, json=gateway.body, headers=headers, timeout=60) as reply:
            assert reply.status_code == 200, reply.read()
            for line in reply.iter_lines():
                if line.startswith("data: {"):
                    heard += text_of(msgspec.json.decode(line[6:]), gateway.text)
                if begun is not None and len(heard) > 20:
                    begun.wait(60)
                    begun = None
    except httpx2.HTTPError:
        assert begun is None
    return heard


def _follow(node: Node, begun: Barrier | None = None) -> None:
    """Follow the console's list of sessions until it is told from its beginning. begun: then stay until the end."""
    url = f"http://127.0.0.1:{node.port}/console/changes"
    with httpx2.stream("GET", url, headers={"authorization": f"Bearer {node.token}"}, timeout=60) as reply:
        lines = reply.iter_lines()
        assert next(lines) == "event: begin"
        if begun is None:
            return
        begun.wait(60)
        with pytest.raises(httpx2.HTTPError):
            list(lines)


def test_each_gateway_answers_a_request_that_a_kill_cut_off(node: Node) -> None:
    begun = Barrier(len(GATEWAYS) + 2)
    with ThreadPoolExecutor(len(GATEWAYS) + 1) as threads:
        followed = threads.submit(_follow, node, begun)
        cut = {name: threads.submit(_listen, node, one, begun) for name, one in GATEWAYS.items()}
        begun.wait(60)
        node.kill()
        followed.result(60)
        for name, one in cut.items():
            heard = one.result(60)
            assert 0 < len(heard) < len(LONG), name
            assert LONG.startswith(heard), name
        node.up()
        _follow(node)
        again = {name: threads.submit(_listen, node, one) for name, one in GATEWAYS.items()}
        assert {name: one.result(60) for name, one in again.items()} == dict.fromkeys(GATEWAYS, LONG)
    assert node.get("/sessions")["sessions"] == []
    month = node.get("/costs")["month"]
    assert month["spent"] > 0
    assert month["reserved"] or month["lost_calls"] == len(GATEWAYS)  # charged once the dead node's lease is over
