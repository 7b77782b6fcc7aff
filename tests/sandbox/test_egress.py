"""The way out of a sandbox: what it lets through, and to whom."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from roost.policy.vault import SecretSource, Vault
from roost.sandbox.egress import Blocked, Egress, Secret


class Site:
    """A server that remembers what it was sent and says hello."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        await writer.drain()
        writer.close()


@pytest.fixture
async def site() -> AsyncIterator[tuple[Site, int]]:
    made = Site()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    yield made, server.sockets[0].getsockname()[1]
    server.close()


async def through(path: Path, request: bytes, more: bytes = b"") -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(request)
    if more:
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(more)
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer


def get(url: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {url} HTTP/1.1", "Host: liar.example", *headers, "", ""]).encode()


async def test_a_named_host_is_reached_in_both_ways(tmp_path: Path, site: tuple[Site, int]) -> None:
    server, port = site
    egress = Egress([f"localhost:{port}"])
    await egress.start(tmp_path / "s")
    assert (await through(tmp_path / "s", get(f"http://localhost:{port}/x?y=1"))).endswith(b"hello")
    assert server.heads[-1].startswith(b"GET /x?y=1 HTTP/1.1\r\nHost: localhost:")
    assert b"liar" not in server.heads[-1]
    tunnel = f"CONNECT localhost:{port} HTTP/1.1\r\n\r\n".encode()
    assert (await through(tmp_path / "s", tunnel, get("/z"))).endswith(b"hello")
    assert server.heads[-1].startswith(b"GET /z")
    await egress.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example/", "http://example.com.evil.org/", "http://api.example.com:8080/", "http://169.254.169.254/",
        "http://127.0.0.1/", "http://[::1]/", "http://0x7f.1/", "http://user@api.example.com/", "https://api.example.com/",
        "ftp://api.example.com/", "/relative", "http://", "http://api.example.com:99999/",
    ],
)  # fmt: skip
async def test_others_are_refused_and_told(tmp_path: Path, url: str) -> None:
    seen: list[Blocked] = []
    egress = Egress(["api.example.com", "*.example.org"], blocked=seen.append)
    await egress.start(tmp_path / "s")
    answer = await through(tmp_path / "s", get(url))
    assert answer.split(b" ")[1] in (b"400", b"403"), answer
    assert len(seen) == 1
    await egress.close()


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fe80::1%1", "x"]
)
async def test_a_name_that_means_a_private_address_is_refused(tmp_path: Path, address: str) -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["93.184.216.34", address]

    seen: list[Blocked] = []
    egress = Egress(["*.example.com"], blocked=seen.append, resolve=resolve)
    await egress.start(tmp_path / "s")
    assert b"403" in await through(tmp_path / "s", b"CONNECT a.example.com:443 HTTP/1.1\r\n\r\n")
    assert asked == ["a.example.com"]
    assert "not a public address" in seen[0].reason
    await egress.close()


@pytest.mark.parametrize(
    ("host", "address", "reached"),
    [
        ("wiki.lan", "127.0.0.1", False), ("wiki.lan", "169.254.169.254", False),
        ("wiki.lan", "::ffff:127.0.0.1", False), ("wiki.lan", "fd00:ec2::254", False), ("wiki.lan", "0.0.0.0", False),
        ("app.localhost", "127.0.0.1", True), ("127.0.0.1", "127.0.0.1", True),
    ],
)  # fmt: skip
async def test_a_name_on_the_list_cannot_lead_to_this_machine(
    tmp_path: Path, host: str, address: str, reached: bool
) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return [address]

    seen: list[Blocked] = []
    egress = Egress([f"{host}:1"], blocked=seen.append, resolve=resolve)
    await egress.start(tmp_path / "s")
    answer = await through(tmp_path / "s", f"CONNECT {host}:1 HTTP/1.1\r\n\r\n".encode())
    assert (b" 502 " in answer) == reached
    assert any("not a public address" in event.reason for event in seen) != reached
    await egress.close()


async def test_a_secret_goes_to_its_host_alone(tmp_path: Path, site: tuple[Site, int]) -> None:
    server, port = site
    secrets = {"KEY": Secret(value="s3cr3t-value", hosts=("api.example.com",))}
    egress = Egress([f"localhost:{port}"], secrets=secrets)
    await egress.start(tmp_path / "s")
    answer = await through(tmp_path / "s", get(f"http://localhost:{port}/", "Authorization: Bearer {{secret:KEY}}"))
    assert b"403" in answer
    assert b"s3cr3t" not in answer
    assert server.heads == []
    assert "s3cr3t" not in repr(secrets)
    unknown = await through(tmp_path / "s", get(f"http://localhost:{port}/", "X: {{secret:OTHER}}"))
    assert b"403" in unknown
    await egress.close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
async def test_the_value_is_put_in_outside_and_sent_encrypted(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    argv = ["openssl", *made.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    trusted = ssl.create_default_context(cafile=str(certificate))
    sources = {
        "KEY": SecretSource(source="env:KEY", hosts=("localhost",)),
        "OTHER": SecretSource(source="env:OTHER"),
    }
    vault = Vault({"KEY": "s3cr3t-value", "OTHER": "other-value"}, sources=sources)
    egress = Egress([f"localhost:{port}"], secrets=vault.for_egress(), tls=trusted)
    await egress.start(tmp_path / "s")
    asked = get(f"http://localhost:{port}/", "Authorization: Bearer {{secret:KEY}}")
    assert (await through(tmp_path / "s", asked)).endswith(b"hello")
    assert b"Authorization: Bearer s3cr3t-value\r\n" in site.heads[0]
    assert b"403" in await through(tmp_path / "s", get(f"http://localhost:{port}/", "X: {{secret:OTHER}}"))
    await egress.close()
    server.close()


@pytest.mark.parametrize("bad", [b"hello\r\n\r\n", b"GET http://a/ HTTP/1.1\r\n bad: x\r\n\r\n", b"\x00\xff\r\n\r\n"])
async def test_what_is_no_request(tmp_path: Path, bad: bytes) -> None:
    egress = Egress(["a"])
    await egress.start(tmp_path / "s")
    assert b"400" in await through(tmp_path / "s", bad)
    await egress.close()


async def test_an_endless_head_and_a_flood_of_connections_end(tmp_path: Path) -> None:
    egress = Egress(["a"])
    await egress.start(tmp_path / "s")
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
    writer.write(b"GET http://a/ HTTP/1.1\r\n" + b"x: y\r\n" * 40_000)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 30) == b""
    writer.close()
    pairs = [await asyncio.open_unix_connection(str(tmp_path / "s")) for _ in range(140)]
    assert b"503" in await asyncio.wait_for(pairs[-1][0].read(), 30)
    for _, one in pairs:
        one.close()
    await egress.close()
