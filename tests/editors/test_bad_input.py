"""What is no request, or not one that is possible now, is refused in the protocol's own shape."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from tests.editors.conftest import Home


class Raw:
    """`roost acp`, spoken to by lines."""

    def __init__(self, home: Home) -> None:
        self.process = home.acp()
        self.input, self.output = os.fdopen(self.process.input, "wb"), os.fdopen(self.process.output, "rb")
        self._next = 0

    def send(self, line: bytes) -> None:
        self.input.write(line + b"\n")
        self.input.flush()

    def read(self) -> dict[str, Any]:
        return json.loads(self.output.readline())

    def answer(self) -> dict[str, Any]:
        """Read up to the next answer."""
        while "method" in (message := self.read()):
            pass
        return message

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._next += 1
        self.send(json.dumps({"jsonrpc": "2.0", "id": self._next, "method": method, "params": params}).encode())
        answer = self.answer()
        assert answer["id"] == self._next, answer
        return answer

    def code(self, method: str, **params: Any) -> int:
        return self.call(method, **params)["error"]["code"]


@pytest.fixture
def raw(home: Home) -> Iterator[Raw]:
    raw = Raw(home)
    try:
        yield raw
    finally:
        raw.process.kill()
        raw.process.wait()
        for pipe in (raw.input, raw.output):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def test_bad_input_is_refused_and_the_connection_goes_on(raw: Raw, home: Home) -> None:
    place = str(home.work)
    assert raw.code("session/new", cwd=place, mcpServers=[]) == -32600  # before `initialize`
    for line, id, code in (
        (b"{not json", None, -32700),
        (b"\xff\xfe", None, -32700),
        (b'{"jsonrpc":"2.0","id":3,"method":"\xff"}', None, -32700),
        (b'{"jsonrpc":"2.0","id":4,"method":"initialize","params":{"clientInfo":{"name":"\xff"}}}', 4, -32602),
        (b"[1, 2]", None, -32600),
        (b'"text"', None, -32600),
        (b'{"jsonrpc":"2.0","id":7,"method":5}', 7, -32600),
        (b'{"jsonrpc":"2.0"}', None, -32600),
        (b'{"x":' * 100_000, None, -32700),
        (b'{"jsonrpc":"2.0","id":"x","method":"no/such"}', "x", -32601),
        (b'{"jsonrpc":"2.0","id":null,"method":"initialize","params":[]}', None, -32602),
        (b'{"jsonrpc":"2.0","id":9,"method":"initialize","params":null}', 9, -32602),
    ):
        raw.send(line)
        answer = raw.answer()
        assert (answer["id"], answer["error"]["code"]) == (id, code), line[:80]
    for line in (b"", b"  ", b'{"jsonrpc":"2.0","id":99,"result":{}}', b'{"jsonrpc":"2.0","method":"no/such"}'):
        raw.send(line)  # nothing to answer
    assert raw.call("initialize", protocolVersion=7)["result"]["protocolVersion"] == 1
    assert raw.code("authenticate", methodId="card") == -32602
    assert raw.code("session/new", cwd="work", mcpServers=[]) == -32602
    assert raw.code("session/new", cwd=place + "/none", mcpServers=[]) == -32002
    assert raw.code("session/load", sessionId="ses_none", cwd=place, mcpServers=[]) == -32002
    assert raw.code("session/prompt", sessionId="ses_none", prompt=[]) == -32002
    session = raw.call("session/new", cwd=place, mcpServers=[])["result"]["sessionId"]
    assert raw.code("session/prompt", sessionId=session, prompt=[]) == -32602
    assert raw.code("session/prompt", sessionId=session, prompt=[{"type": "smell"}]) == -32602
    assert raw.code("session/prompt", sessionId=session, prompt=[{"type": "text", "text": 5}]) == -32602
    assert raw.code("session/set_config_option", sessionId=session, configId="none", value="x") == -32602
    assert raw.code("session/set_mode", sessionId=session, modeId="custom") == -32602
    for id in ("", "../x", f"{session}/timers/t", "nul\0"):
        assert raw.code("session/delete", sessionId=id) == -32002
    assert raw.code("session/load", sessionId="\ud800", cwd=place) == -32700  # which no store can keep
    for block in (
        {"type": "image", "data": "not base64!", "mimeType": "image/png"},
        {"type": "image", "data": "", "mimeType": "image/png"},
        {"type": "resource", "resource": {"uri": "file://["}},
        {"type": "text", "text": "x" * 2_000_000},
    ):
        assert raw.code("session/prompt", sessionId=session, prompt=[block]) == -32602
    said = [{"type": "resource_link", "uri": "file://[", "name": "x"}, {"type": "text", "text": "nul \0"}]
    assert "result" in raw.call("session/prompt", sessionId=session, messageId="mine", prompt=said)
    assert raw.code("session/prompt", sessionId=session, messageId="mine", prompt=said[1:]) == -32600
    raw.send(b'{"jsonrpc":"2.0","method":"session/cancel","params":{"sessionId":"ses_none"}}')
    done = raw.call("session/prompt", sessionId=session, prompt=[{"type": "text", "text": "hello"}])
    assert done["result"]["stopReason"] == "end_turn"


def test_a_huge_line_is_refused(raw: Raw) -> None:
    piece = b"x" * (1024 * 1024)
    for _ in range(65):
        raw.input.write(piece)
    raw.send(b"")
    answer = raw.answer()
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)
    assert "result" in raw.call("initialize", protocolVersion=1)


def test_it_ends_with_its_input_and_prints_nothing_else(raw: Raw) -> None:
    raw.call("initialize", protocolVersion=1)
    raw.input.close()
    assert raw.process.wait() == 0
    assert raw.output.read() == b""


def test_an_editor_that_does_not_read_ends_its_process_by_leaving(raw: Raw, home: Home) -> None:
    raw.call("initialize", protocolVersion=1)
    session = raw.call("session/new", cwd=str(home.work), mcpServers=[])["result"]["sessionId"]
    again = {"sessionId": session, "cwd": str(home.work)}
    for number in range(100, 180):  # more answers than a pipe holds
        line = json.dumps({"jsonrpc": "2.0", "id": number, "method": "session/resume", "params": again})
        raw.send(line.encode())
    prompt = {"sessionId": session, "prompt": [{"type": "text", "text": "hello"}]}
    raw.send(json.dumps({"jsonrpc": "2.0", "id": 50, "method": "session/prompt", "params": prompt}).encode())
    raw.input.close()
    assert raw.process.wait() == 0


def test_a_request_is_withdrawn(raw: Raw, home: Home) -> None:
    raw.call("initialize", protocolVersion=1)
    session = raw.call("session/new", cwd=str(home.work), mcpServers=[])["result"]["sessionId"]
    prompt = {"sessionId": session, "prompt": [{"type": "text", "text": "a long one"}]}
    raw.send(json.dumps({"jsonrpc": "2.0", "id": 50, "method": "session/prompt", "params": prompt}).encode())
    while raw.read().get("params", {}).get("update", {}).get("sessionUpdate") != "agent_message_chunk":
        pass
    raw.send(b'{"jsonrpc":"2.0","method":"$/cancel_request","params":{"requestId":50}}')
    answer = raw.answer()
    assert (answer["id"], answer["error"]["code"]) == (50, -32800)
    done = raw.call("session/prompt", sessionId=session, prompt=[{"type": "text", "text": "hello"}])
    assert done["result"]["stopReason"] == "end_turn"
