"""Addresses that lead to this machine or its network, from a list: no tool and no sandbox reaches them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from roost.addresses import is_own, is_public
from roost.sandbox.egress import Blocked, Egress
from roost.tools.base import ToolContext
from roost.tools.builtin import builtin_tools
from roost.tools.checked_http import ask
from roost.tools.errors import ToolError
from roost.tools.run_tool import run_tool

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


@pytest.mark.parametrize(
    "address",
    [
        # IANA's registries of special-purpose addresses, a first and a last one of each.
        "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1",
        "127.255.255.255", "169.254.169.254", "172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.9", "192.0.0.192",
        "192.0.2.1", "192.88.99.1", "192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.7", "203.0.113.255",
        "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
        "::", "::1", "::7f00:1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:a00:1", "::ffff:169.254.169.254",
        "::ffff:0:7f00:1", "::ffff:0:808:808", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254",
        "64:ff9b:1::1", "64:ff9b:1:ffff::808:808", "100::1", "100:0:0:1::1", "2001::1", "2001:0:4136:e378::",
        "2001:1::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:1ff:ffff::1", "2001:db8::1", "2002:7f00:1::",
        "2002:a00:1::1", "2002:808:808::1", "3fff::1", "3fff:fff:ffff::1", "4000::1", "5f00::1", "5f00:ffff::1",
        "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "ff02::1", "ff0e::1",
        "", "localhost", "127.1", "0x7f.0.0.1", "1.2.3.4.5", "12345",
    ],
)  # fmt: skip
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0",
        "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700::1111", "2001:200::1", "2001:4860:4860::8888",
        "2620:fe::fe", "3ffe:ffff::1", "2003::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
    ],
)  # fmt: skip
def test_others_are_public(address: str) -> None:
    assert is_public(address)
    assert not is_own(address)


def test_private_addresses_are_not_this_machine() -> None:
    own = [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "fe80::1%1",
        "0.0.0.0",
        "::",
        "100.100.100.200",
        "x",
    ]
    assert [address for address in own if not is_own(address)] == []
    assert [address for address in ("10.0.0.7", "192.168.1.1", "fd00::1", "100.64.0.1") if is_own(address)] == []


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
            said = await asyncio.wait_for(reader.read(), 30)
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
