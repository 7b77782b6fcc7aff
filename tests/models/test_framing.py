"""A wire names its framing: newline-delimited JSON streams as server-sent events do."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.log.content import Text
from roost.models.framing import Framing, LineParser, is_document
from roost.models.http import HttpOversized
from roost.models.http_model import HttpModel
from roost.models.request import Completed, Failed, ModelEvent, TextDelta
from roost.models.wire import Endpoint
from roost.models.wires.openai_chat import OpenAIChat
from roost.stub.dialects.openai_chat import DIALECT
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply
from roost.testing.models import ask, run

LINES = b'{"a": 1}\n\r\n  \n{"b": "\xc3\xa9"}\r\n{"last": true}'
FRAMES = [b'{"a": 1}', b'{"b": "\xc3\xa9"}\r', b'{"last": true}']


@given(cuts=st.lists(st.integers(0, len(LINES)), max_size=20))
def test_any_split_gives_the_same_lines(cuts: list[int]) -> None:
    parser = LineParser()
    edges = [0, *sorted(cuts), len(LINES)]
    frames = [frame for a, b in pairwise(edges) for frame in parser.feed(LINES[a:b])] + parser.finish()
    assert [frame.data for frame in frames] == FRAMES
    assert {frame.event for frame in frames} == {b"message"}


def test_a_line_without_end_is_bounded() -> None:
    parser = LineParser(max_line=1000)
    parser.feed(b"x" * 900)
    with pytest.raises(HttpOversized):
        parser.feed(b"x" * 200)


@pytest.mark.parametrize(
    ("framing", "head", "kind", "stream", "document"),
    [
        ("sse", b"data: {}", "text/event-stream", True, False),
        ("sse", b"{}", "text/event-stream", True, True),
        ("ndjson", b"{}", "application/x-ndjson", True, False),
        ("ndjson", b"{}", "application/x-ndjson; charset=utf-8", False, False),
        ("ndjson", b"{}", "application/json; charset=utf-8", True, True),
        ("ndjson", b"{}", "text/plain", True, False),
        ("ndjson", b"{}", "", False, True),
    ],
)
def test_a_body_is_lines_or_a_document(framing: Any, head: bytes, kind: str, stream: bool, document: bool) -> None:
    assert is_document(framing, head, kind, stream=stream) is document


class LineDialect:
    """OpenAI's protocol, with lines in place of events."""

    name, path, framing = "lines", DIALECT.path, "ndjson"
    key, check, asked, document, error = DIALECT.key, DIALECT.check, DIALECT.asked, DIALECT.document, DIALECT.error

    def frames(self, reply: Reply, asked: Any, *, finish: bool = True) -> list[bytes]:
        frames = [frame.removeprefix(b"data: ").strip() for frame in DIALECT.frames(reply, asked, finish=finish)]
        return [frame + b"\n" for frame in frames if frame != b"[DONE]"]

    def error_frame(self, status: int, message: str) -> bytes:
        return DIALECT.error_frame(status, message).removeprefix(b"data: ").strip() + b"\n"


class Lines(OpenAIChat):
    framing: Framing = "ndjson"


async def heard(reply: Reply, *, stream: bool = True) -> tuple[list[ModelEvent], Completed | Failed, dict[str, str]]:
    with ProviderServer(lambda _: reply, speaks=[LineDialect()]) as server:
        model = HttpModel(model="scripted", endpoint=Endpoint(base_url=server.url), wire=Lines())
        events, end = await run(model, ask(stream=stream))
        await model.close()
        return events, end, server.provider.headers


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", [None, "json", "stream", "plain", "trickle"])
async def test_lines_stream(kind: Any, stream: bool) -> None:
    fault = Fault(kind=kind, seconds=0.1) if kind else None
    events, end, headers = await heard(Reply(text="one two three", piece=4, fault=fault), stream=stream)
    assert isinstance(end, Completed), end
    assert end.parts == (Text("one two three"),)
    lines = kind == "stream" or (stream and kind != "json")
    assert len([event for event in events if isinstance(event, TextDelta)]) == (4 if lines else 1)
    assert headers["accept"] == ("application/x-ndjson" if stream else "application/json")


async def test_noise_between_lines_is_ignored() -> None:
    fault = Fault(kind="flood", at=1, size=1 << 20)
    _, end, _ = await heard(Reply(text="one two three", piece=4, fault=fault))
    assert isinstance(end, Completed), end


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(kind="malformed", at=1), "malformed"),
        (Fault(kind="error", at=1, status=429), "rate_limited"),
        (Fault(kind="no_finish"), "malformed"),
        (Fault(kind="empty"), "empty"),
        (Fault(kind="html"), "malformed"),
        (Fault(kind="short", at=20), "malformed"),
        (Fault(kind="reset", at=20), "connection"),
    ],
)
async def test_broken_lines_are_failures(fault: Fault, code: str) -> None:
    _, end, _ = await heard(Reply(text="one two three", piece=4, fault=fault))
    assert isinstance(end, Failed), end
    assert end.error.code == code, end.error
