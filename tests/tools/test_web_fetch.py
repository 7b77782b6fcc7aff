"""`web_fetch`, against a server on the loopback and addresses that nobody may reach."""

from __future__ import annotations

import gzip
import importlib.util
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from roost.policy.gate import GateCall, LayeredGate
from roost.policy.rules import Rule
from roost.tools.base import ToolContext
from roost.tools.builtin import builtin_tools
from roost.tools.run_tool import run_tool

from .web import Reply, Server, serving

TOOL = builtin_tools()["web_fetch"]
_FILLER = "<p>" + "Words that make a page long enough to be one. " * 8 + "</p>"


async def fetch(ctx: ToolContext, url: str, **more: Any) -> tuple[str, str]:
    outcome, parts = await run_tool(TOOL, ctx, json.dumps({"url": url, **more}))
    return outcome, "".join(part.text for part in parts)  # pyright: ignore


def allow(monkeypatch: pytest.MonkeyPatch, *servers: Server) -> None:
    """As the operator would, for servers of his own network."""
    monkeypatch.setenv("ROOST_WEB_ALLOW", ", ".join(f"127.0.0.1:{server.port}" for server in servers))


async def test_the_text_of_a_page(ctx: ToolContext, monkeypatch: pytest.MonkeyPatch) -> None:
    page = f"""<!doctype html><html><head><title>A  page
    </title><style>p {{color: red}}</style><script>var secret = "<p>no</p>";</script></head><body>
    <nav><a href="/other">Elsewhere</a></nav><main><h1>Head &amp; shoulders</h1>{_FILLER}
    <ul><li>one</li><li>two <a href="deep?x=1#y">link</a></li></ul>
    <table><tr><th>a</th><td>b</td></tr></table><pre>  kept
    as is</pre></main><footer>All rights</footer></body></html>"""
    with serving({"/dir/page": Reply(page.encode())}) as server:
        allow(monkeypatch, server)
        outcome, text = await fetch(ctx, f"{server.url}/dir/page#part", links=True)
    assert outcome == "ok", text
    assert text.startswith(f"[{server.url}/dir/page · text/html]\n\nA page\n\n")
    assert "# Head & shoulders" in text
    assert "- one\n- two" in text
    assert f"{server.url}/dir/deep?x=1" in text
    assert "as is" in text
    for gone in ("Elsewhere", "All rights", "secret", "color: red"):
        assert gone not in text
    assert server.asked[0].headers["user-agent"].startswith("roost/")
    assert "cookie" not in server.asked[0].headers


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        ("größe".encode("latin-1"), "text/plain; charset=ISO-8859-1", "größe"),
        (b"<meta charset='iso-8859-1'><p>gr\xf6\xdfe</p>", "text/html", "größe"),
        (b'{"a": 1}', "application/json", '{"a": 1}'),
        (b"<a/>", "application/atom+xml", "<a/>"),
        (b"plain", None, "plain"),
        (b"", "text/html", "(no text)"),
        (b"\xff\xfe", "text/plain; charset=none-such", "\ufffd"),
        (b"hex", "text/plain; charset=base64", "hex"),
        (b"<nav><p>only a menu", "text/html", "only a menu"),
        (b"<p>" * 3000 + b"deep", "text/html", "deep"),
        (b"<![endif]--><a href='<p>&#xffffffff;", "text/html", ""),
    ],
)
async def test_kinds_of_text(
    ctx: ToolContext, monkeypatch: pytest.MonkeyPatch, body: bytes, kind: str | None, expected: str
) -> None:
    with serving({"/": Reply(body, kind)}) as server:
        allow(monkeypatch, server)
        outcome, text = await fetch(ctx, server.url + "/")
    assert outcome == "ok", text
    assert expected in text


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(b"%PDF-1.7\0", "application/pdf"), "application/pdf of 9 bytes, not text"),
        (Reply(b"\x89PNG\0", "image/png"), "image/png"),
        (Reply(b"MZ\0\0", "text/plain"), "not text"),
        (Reply(b"gone", status=404), "answered 404"),
        (Reply(b"x", headers={"Content-Encoding": "br"}), "encoded with 'br'"),
        (Reply(b"no gzip", headers={"Content-Encoding": "gzip"}), "damaged"),
        (Reply(b"short", headers={"Content-Length": "50"}), "cannot be fetched"),
        (Reply(status=302, headers={"Location": "ftp://127.0.0.1/"}), "is not an address"),
        (Reply(status=302, headers={"Location": "http://me:pw@127.0.0.1/"}), "user name or a password"),
    ],
)
async def test_what_cannot_be_read_is_said(
    ctx: ToolContext, monkeypatch: pytest.MonkeyPatch, reply: Reply, why: str
) -> None:
    with serving({"/": reply}) as server:
        allow(monkeypatch, server)
        outcome, text = await fetch(ctx, server.url + "/")
    assert (outcome, why in text) == ("error", True), text


async def test_redirects_within_a_host_are_followed_and_others_told(
    ctx: ToolContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving({"/b": Reply(b"inner secret", "text/plain")}) as inner:
        table = {
            "/": Reply(status=302, headers={"Location": "/a"}),
            "/a": Reply(status=307, headers={"Location": "b"}),
            "/b": Reply(b"here", "text/plain"),
            "/port": Reply(status=302, headers={"Location": f"{inner.url}/b"}),
            "/other": Reply(status=301, headers={"Location": "https://elsewhere.example/x#y"}),
            "/meta": Reply(status=301, headers={"Location": "http://169.254.169.254/latest/"}),
            "/loop": Reply(status=302, headers={"Location": "/loop"}),
        }
        with serving(table) as server:
            allow(monkeypatch, server)
            outcome, text = await fetch(ctx, server.url + "/")
            assert (outcome, text) == ("ok", f"[{server.url}/b · text/plain]\n\nhere")
            outcome, text = await fetch(ctx, server.url + "/other")
            assert (outcome, text.endswith("https://elsewhere.example/x")) == ("ok", True)
            assert (await fetch(ctx, server.url + "/meta"))[1].endswith("http://169.254.169.254/latest/")
            outcome, text = await fetch(ctx, server.url + "/port")
            assert (outcome, "not a public address" in text) == ("error", True)
            outcome, text = await fetch(ctx, server.url + "/loop")
            assert (outcome, "more than 5 redirects" in text) == ("error", True)
        assert inner.asked == []


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "localhost",
            "0.0.0.0",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "2130706433",
            "0x7f.1",
            "127.1",
            "0177.1",
        ),
        *("169.254.169.254", "[64:ff9b::a9fe:a9fe]", "[::7f00:1]", "10.0.0.1", "[fe80::1]", "192.0.0.192"),
        *("localhost.", "LOCALHOST", "①②⑦.0.0.1"),
    ],
)
async def test_private_addresses_are_refused(ctx: ToolContext, host: str) -> None:
    with serving(lambda asked: Reply(b"secret", "text/plain")) as server:
        for url in (f"http://{host}:{server.port}/", f"https://{host}:{server.port}/"):
            outcome, text = await fetch(ctx, url)
            assert outcome == "error"
            assert "public address" in text or "cannot be found" in text, text
        assert server.asked == []


@pytest.mark.parametrize(
    "url",
    [
        *(
            "file:///etc/passwd",
            "ftp://example.com/",
            "gopher://x/",
            "example.com",
            "",
            "http://",
            "http://[::1",
            "//x",
        ),
        *("http://u:p@example.com/", "http://example.com:99999/", "http://example.com:0/", "http://x/" + "a" * 5000),
        *("http://exa\nmple.com/", "http://" + "a" * 300 + ".example/", "javascript:alert(1)", "http://a..b/"),
    ],
)
async def test_what_is_no_address(ctx: ToolContext, url: str) -> None:
    assert TOOL.reach is not None
    assert TOOL.reach({"url": url}, Path("/")).outside
    assert (await fetch(ctx, url))[0] == "error"


async def test_long_pages_come_in_pieces(ctx: ToolContext, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "".join(f"{number:07}\n" for number in range(10_000)).encode()
    with serving({"/": Reply(body, "text/plain"), "/huge": Reply(b"x" * 6_000_000, "text/plain")}) as server:
        allow(monkeypatch, server)
        _, first = await fetch(ctx, server.url + "/")
        assert "[characters 0 to 30000 of 80000; continue with offset=30000]" in first
        _, last = await fetch(ctx, server.url + "/", offset=60_000)
        assert "[characters 60000 to 80000 of 80000]" in last
        assert last.endswith("0009999\n")
        assert (await fetch(ctx, server.url + "/", offset=80_000))[0] == "error"
        _, huge = await fetch(ctx, server.url + "/huge")
        assert "[only its first 5 MB were read]" in huge


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_bomb_is_cut(ctx: ToolContext, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    bomb = (gzip.compress if encoding == "gzip" else zlib.compress)(b"x" * 100_000_000)
    with serving({"/": Reply(bomb, "text/plain", headers={"Content-Encoding": encoding})}) as server:
        allow(monkeypatch, server)
        outcome, text = await fetch(ctx, server.url + "/")
    assert (outcome, "[only its first 5 MB were read]" in text) == ("ok", True)


@pytest.mark.skipif(importlib.util.find_spec("trafilatura") is None, reason="the extra `web` is not installed")
async def test_with_trafilatura(ctx: ToolContext, monkeypatch: pytest.MonkeyPatch) -> None:
    page = f"<html><body><div class='menu'>Buy now</div><article><h1>Head</h1>{_FILLER * 4}</article></body></html>"
    with serving({"/": Reply(page.encode())}) as server:
        allow(monkeypatch, server)
        outcome, text = await fetch(ctx, server.url + "/")
    assert (outcome, "Words that make" in text, "Buy now" in text) == ("ok", True, False)


def test_the_gate_judges_host_and_taint() -> None:
    def decide(url: str, *rules: Rule, tainted: bool = False) -> str:
        assert TOOL.reach is not None
        touches = TOOL.reach({"url": url}, Path("/"))
        one = GateCall(
            session="s",
            call="c",
            tool=TOOL.name,
            arguments="{}",
            safety=TOOL.safety,
            inside=TOOL.inside,
            private_workspace=True,
            touches=touches,
            tainted=tainted,
        )
        return LayeredGate("workspace", {"user": rules}).decide(one).decision

    deny = Rule(effect="deny", host="*.example.com")
    assert decide("https://a.example.com/", deny) == "deny"
    assert decide("https://A.EXAMPLE.COM./", deny) == "deny"
    assert decide("https://example.org/", deny) == "allow"
    assert decide("http://[::1", deny) == "ask"
    assert decide("https://example.org/", tainted=True) == "ask"
    assert decide("https://example.org/", Rule(effect="allow", host="example.org"), tainted=True) == "allow"
