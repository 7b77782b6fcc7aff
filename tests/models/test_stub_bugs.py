"""A bug of a dialect or of a script is shown as one, with its line: not as a fault of the provider, nor of the wire."""

from __future__ import annotations

from typing import Any

from roost.models.http_model import HttpModel
from roost.models.request import Failed
from roost.models.wire import Endpoint
from roost.models.wires.openai_chat import OpenAIChat
from roost.stub.dialects.openai_chat import DIALECT
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply
from roost.testing.models import ask, run


class Dialect:
    """OpenAI's, with a bug in one method."""

    name, path = "buggy", DIALECT.path
    key, check, asked, error = DIALECT.key, DIALECT.check, DIALECT.asked, DIALECT.error
    frames, document, error_frame = DIALECT.frames, DIALECT.document, DIALECT.error_frame


class Check(Dialect):
    def check(self, body: dict[str, Any], headers: Any) -> None:
        assert body["turns"]


class Frames(Dialect):
    def frames(self, reply: Reply, asked: Any, *, finish: bool = True) -> list[bytes]:
        return {}["nothing here"]


async def failed(dialect: Any, path: str = "") -> tuple[Failed, ProviderServer]:
    with ProviderServer(lambda _: Reply(text="hi"), speaks=[dialect]) as server:
        model = HttpModel(model="scripted", endpoint=Endpoint(base_url=server.url + path), wire=OpenAIChat())
        _, end = await run(model, ask())
        await model.close()
        assert isinstance(end, Failed)
        return end, server


async def test_a_field_that_the_check_misses_is_an_invalid_request() -> None:
    end, server = await failed(Check())
    assert (end.error.code, end.error.retryable) == ("bad_request", False)
    assert "KeyError: 'turns' at test_stub_bugs.py:" in end.error.message
    assert server.stats.violations == 1
    assert "KeyError: 'turns'" in server.stats.reasons[0]


async def test_a_bug_names_its_line_and_is_not_retried() -> None:
    end, _ = await failed(Frames())
    assert not end.error.retryable
    assert "KeyError: 'nothing here' at test_stub_bugs.py:" in end.error.message
    assert "dialect or script failed" in end.error.message


async def test_an_unknown_path_names_the_known_ones() -> None:
    end, _ = await failed(Dialect(), "/elsewhere")
    assert "the stub serves nothing at /v1/elsewhere/chat/completions" in end.error.message
    assert f"its protocols: {DIALECT.path}" in end.error.message
