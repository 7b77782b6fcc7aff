"""Addresses that lead to this machine or its network, from a list: no tool and no sandbox reaches them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from roost.sandbox.egress import Blocked, Egress
from roost.tools.base import ToolContext, ToolError
from roost.tools.builtin import builtin_tools
from roost.tools.run import run_tool
from roost.tools.web.http import ask

from .web import Reply, Server, serving

_CORPUS = Path(__file__).with_name("corpus") / "addresses.txt"
_ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|(.))")
_PLAIN = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}


def cases(kind: str) -> list[str]:
    lines = [line.partition("\t") for line in _CORPUS.read_text().splitlines() if line and not line.startswith("#")]
    assert {kind for kind, _, _ in lines} == {"private", "malformed", "redirect"}
    return [
        _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _PLAIN[m[2]], text)
        for one, _, text in lines
        if one == kind
    ]


async def fetch(ctx: ToolContext, url: str) -> tuple[str, str]:
    outcome, parts = await run_tool(builtin_tools()["web_fetch"], ctx, json.dumps({"url": url}))
    return outcome, "".join(part.text for part in parts)  # pyright: ignore


def at_a_server(kind: str) -> list[tuple[str, Callable[[Server], str]]]:
    return [(text, lambda server, text=text: text.replace("{port}", str(server.port))) for text in cases(kind)]


async def test_web_fetch_reaches_none_of_them(ctx: ToolContext) -> None:
    with serving(lambda asked: Reply(b"the secret", "text/plain")) as server:
        for text, url in at_a_server("private") + at_a_server("malformed"):
            outcome, said = await fetch(ctx, url(server))
            assert outcome == "error", text
            assert "the secret" not in said, text
        assert server.asked == []


async def test_nor_by_a_redirect(ctx: ToolContext, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda asked: Reply(b"the secret", "text/plain")) as inner:
        for text, url in at_a_server("redirect"):
            place = url(inner)
            with serving(lambda asked, place=place: Reply(status=302, headers={"Location": place})) as outer:
                monkeypatch.setenv("ROOST_WEB_ALLOW", f"127.0.0.1:{outer.port}")
                _, said = await fetch(ctx, outer.url + "/")
                assert "the secret" not in said, text
        assert inner.asked == []


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
async def test_the_way_out_of_a_sandbox_lets_none_through(tmp_path: Path, method: str) -> None:
    blocked: list[Blocked] = []
    with serving(lambda asked: Reply(b"the secret", "text/plain")) as server:
        egress = Egress(["*", f"*:{server.port}"], blocked=blocked.append)
        await egress.start(tmp_path / "s")
        for text, url in at_a_server("private") + at_a_server("malformed"):
            target = url(server)
            if method == "CONNECT":
                target = target.partition("://")[2].partition("/")[0] or target
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            writer.write(f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            said = await asyncio.wait_for(reader.read(), 20)
            writer.close()
            assert b"the secret" not in said, text
            assert said.split(b" ")[1][:1] in (b"4", b"5"), (text, said)
        await egress.close()
        assert server.asked == []
    assert blocked


async def test_a_name_means_what_was_judged() -> None:
    """It is not looked up again: this one is in no directory of names."""
    with serving({"/": Reply(b"judged", "text/plain")}) as server:
        answer = await ask("GET", f"http://rebound.invalid:{server.port}/", ["127.0.0.1"], cap=100)
        assert answer.body == b"judged"
        assert server.asked[0].headers["host"] == f"rebound.invalid:{server.port}"
        with pytest.raises(ToolError):
            await ask("GET", f"http://rebound.invalid:{server.port}/", ["127.0.0.2"], cap=100)
