"""Secrets in requests through the egress proxy: to their hosts only, over TLS only, in headers and declared bodies."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.yardstick import slowness

from roost.sandbox.egress import Blocked, Egress, Secret
from roost.sandbox.injection import Mask
from roost.testing.clock import MovedClock

VALUE = "s3cr3t-value-0123"


class Wire:
    """A server that keeps every byte of each connection, and answers once with what `answer` makes of it."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.answer = b"hello"
        self.headers = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at = len(self.seen)
        self.seen.append(await reader.readuntil(b"\r\n\r\n"))
        size = len(self.answer)
        writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (self.headers, size, self.answer))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(30) as limit:
                while True:
                    if _is_whole(self.seen[at]):
                        limit.reschedule(loop.time() + 0.5)  # for what must not come
                    if not (data := await reader.read(65536)):
                        break
                    self.seen[at] += data
        except (TimeoutError, OSError):
            pass
        writer.close()

    @property
    def all(self) -> bytes:
        return b"\n".join(self.seen)


def _is_whole(request: bytes) -> bool:
    """Whether all of the body has come that the head of a request promises."""
    head, _, body = request.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    length = re.search(rb"(?im)^content-length: *(\d+)", head)
    return length is None or len(body) >= int(length[1])


class Place(NamedTuple):
    wire: Wire
    port: int
    path: Path
    blocked: list[Blocked]

    async def ask(self, *parts: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        for part in parts:
            writer.write(part)
        writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.close()


@asynccontextmanager
async def proxied(folder: Path, *, tls: bool = False, **how: Any) -> AsyncIterator[Place]:
    """An egress that lets `localhost:PORT` pass, where a server keeps what it gets."""
    wire, blocked = Wire(), list[Blocked]()
    server_side, trusted = certified(folder) if tls else (None, None)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0, ssl=server_side)
    port = server.sockets[0].getsockname()[1]
    hosts = [f"localhost:{port}", f"127.0.0.1:{port}", *how.pop("hosts", ())]
    egress = Egress(hosts, blocked=blocked.append, tls=trusted, **how)
    await egress.start(folder / "s")
    try:
        yield Place(wire, port, folder / "s", blocked)
    finally:
        await egress.close()
        server.close()


def certified(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificate with openssl")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    argv = ["openssl", *made.split(), "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*argv, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, ssl.create_default_context(cafile=str(certificate))


def ours(*, hosts: Sequence[str] = ("localhost",), **how: bool) -> dict[str, Secret]:
    return {"KEY": Secret(value=VALUE, hosts=tuple(hosts), **how)}


async def test_a_secret_of_bodies_goes_into_no_header(tmp_path: Path) -> None:
    secrets = ours(loopback=True, body=True, header=False)
    async with proxied(tmp_path, secrets=secrets) as place:
        target = f"http://localhost:{place.port}/"
        answer = await place.ask(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nX: {{{{secret:KEY}}}}\r\n\r\n".encode())
        assert b"403" in answer.split(b"\r\n")[0]
        assert not place.wire.seen
        secrets.clear()  # a session's own secrets change while the proxy serves
        answer = await place.ask(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b"200" in answer.split(b"\r\n")[0]


async def test_a_secret_for_all_hosts_leaves_those_without_tls_within_reach(tmp_path: Path) -> None:
    async with proxied(tmp_path, secrets=ours(hosts=["*"])) as place:
        target = f"http://localhost:{place.port}/"
        answer = await place.ask(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b"200" in answer.split(b"\r\n")[0]
        answer = await place.ask(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nX: {{{{secret:KEY}}}}\r\n\r\n".encode())
        assert b"502" in answer.split(b"\r\n")[0], "with the secret it is called by TLS only"
        assert VALUE.encode() not in place.wire.all


FOREIGN = {"KEY": Secret(value=VALUE, hosts=("api.example.com",))}


@pytest.mark.parametrize(
    "target",
    [
        "/path/{{secret:KEY}}", "/?q={{secret:KEY}}", "/%7B%7Bsecret:KEY%7D%7D", "/%7b%7Bsecret%3AKEY%7d%7d",
        "/%257B%257Bsecret:KEY%257D%257D", "/{{secret:UNKNOWN}}", "/{{SECRET:KEY}}", "?{{secret:KEY}}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("secrets", [FOREIGN, ours(loopback=True), {}])
async def test_no_secret_enters_an_address(tmp_path: Path, target: str, secrets: dict[str, Secret]) -> None:
    async with proxied(tmp_path, secrets=secrets) as place:
        answer = await place.ask(f"GET http://localhost:{place.port}{target} HTTP/1.1\r\n\r\n".encode())
        assert b" 403 " in answer.partition(b"\r\n")[0]
        assert b"never goes into an address" in answer
        assert place.wire.seen == []
        assert len(place.blocked) == 1


@pytest.mark.parametrize(
    "request_text",
    [
        "GET http://{to}/ HTTP/1.1\r\nX: {{{{secret:KEY}}}}\r\n\r\n",
        "GET http://{to}/ HTTP/1.1\r\nHost: api.example.com\r\nX: {{{{secret:KEY}}}}\r\n\r\n",
        "GET http://{to}/ HTTP/1.0\r\nX: {{{{secret:KEY}}}}\r\n\r\n",
        "GET http://{to}/ HTTP/1.1\r\nX: a,\r\n {{{{secret:KEY}}}}\r\n\r\n",
        "GET http://{to}/ HTTP/1.1\r\n{{{{secret:KEY}}}}: x\r\n\r\n",
        "GET http://{to}/ HTTP/1.1\r\nX: {{{{secret:OTHER}}}}\r\n\r\n",
        "GET http://{to}/ HTTP/1.1\r\nX: a\rY: {{{{secret:KEY}}}}\r\n\r\n",
        "GET http://api.example.com@{to}/ HTTP/1.1\r\nX: {{{{secret:KEY}}}}\r\n\r\n",
        "GET http://{to}/#@api.example.com/ HTTP/1.1\r\nX: {{{{secret:KEY}}}}\r\n\r\n",
    ],
)
async def test_a_header_to_another_host_gets_nothing(tmp_path: Path, request_text: str) -> None:
    async with proxied(tmp_path, secrets=FOREIGN) as place:
        answer = await place.ask(request_text.format(to=f"localhost:{place.port}").encode())
        assert answer.split(b" ")[1] in (b"400", b"403"), answer
        assert place.wire.seen == []
        assert VALUE.encode() not in answer


async def test_without_tls_a_secret_goes_only_to_this_machine_where_it_says_so(
    tmp_path: Path, clock: MovedClock
) -> None:
    asked = b"GET http://localhost:%d/ HTTP/1.1\r\nAuthorization: Bearer {{secret:KEY}}\r\n\r\n"
    async with proxied(tmp_path, secrets=ours()) as place:
        # it speaks TLS to a server that does not
        assert b"does not answer" in await clock.hurry(place.ask(asked % place.port))
        assert VALUE.encode() not in place.wire.all
    (tmp_path / "s").unlink(missing_ok=True)
    async with proxied(tmp_path, secrets=ours(loopback=True)) as place:
        place.wire.answer = f"you said {VALUE}!".encode()
        answer = await place.ask(asked % place.port)
        assert f"Authorization: Bearer {VALUE}\r\n".encode() in place.wire.seen[0]
        assert answer.endswith(b"you said " + b"*" * len(VALUE) + b"!")
        other = f"GET http://127.0.0.1:{place.port}/ HTTP/1.1\r\nX: {{{{secret:KEY}}}}\r\n\r\n".encode()
        assert b" 403 " in await place.ask(other)


async def test_a_name_for_this_machine_that_means_another_gets_no_secret_in_clear(tmp_path: Path) -> None:
    async def elsewhere(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1", "93.184.216.34"]

    async with proxied(tmp_path, secrets=ours(loopback=True), resolve=elsewhere) as place:
        asked = f"GET http://localhost:{place.port}/ HTTP/1.1\r\nX: {{{{secret:KEY}}}}\r\n\r\n".encode()
        assert b"is not this machine" in await place.ask(asked)
        assert place.wire.seen == []


async def test_the_port_of_a_secret_counts(tmp_path: Path) -> None:
    async with proxied(tmp_path, secrets=ours(hosts=["localhost:1"], loopback=True)) as place:
        asked = f"GET http://localhost:{place.port}/ HTTP/1.1\r\nX: {{{{secret:KEY}}}}\r\n\r\n".encode()
        assert b" 403 " in await place.ask(asked)


async def test_a_tunnel_carries_no_secret(tmp_path: Path) -> None:
    async with proxied(tmp_path, secrets=ours(loopback=True)) as place:
        tunnel = f"CONNECT localhost:{place.port} HTTP/1.1\r\n\r\n".encode()
        await place.ask(tunnel, b"GET /{{secret:KEY}} HTTP/1.1\r\nX: {{secret:KEY}}\r\n\r\n")
        assert b"{{secret:KEY}}" in place.wire.all
        assert VALUE.encode() not in place.wire.all


async def test_one_connection_carries_one_request(tmp_path: Path) -> None:
    """A second request on the connection would reach the first one's server unchecked."""
    async with proxied(tmp_path, secrets=ours(loopback=True)) as place:
        first = f"POST http://localhost:{place.port}/one HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".encode()
        second = b"GET http://other.example/two HTTP/1.1\r\nHost: other.example\r\nX: {{secret:KEY}}\r\n\r\n"
        assert (await place.ask(first, second)).endswith(b"hello")
        assert place.wire.all.endswith(b"\r\n\r\nabc")
        assert b"two" not in place.wire.all


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 3\r\nTransfer-Encoding: chunked", "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: +3", "Content-Length: 3, 3", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "Content-Length : 3", "Content-Length: -1",
    ],
)  # fmt: skip
async def test_an_unclear_length_is_refused(tmp_path: Path, framing: str) -> None:
    async with proxied(tmp_path) as place:
        answer = await place.ask(f"POST http://localhost:{place.port}/ HTTP/1.1\r\n{framing}\r\n\r\nabc".encode())
        assert b" 400 " in answer
        assert place.wire.seen == []


CHUNKED = b"POST http://localhost:%d/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n"


async def test_a_chunked_body_is_passed_on_and_ends_where_it_ends(tmp_path: Path) -> None:
    async with proxied(tmp_path, secrets=ours(loopback=True)) as place:
        body = b"5;x=y\r\n{{sec\r\n9\r\nret:KEY}}\r\n0\r\nTrailer: x\r\n\r\nGET /two HTTP/1.1\r\n\r\n"
        await place.ask(CHUNKED % place.port, body)
        head, _, sent = place.wire.seen[0].partition(b"\r\n\r\n")
        assert b"Transfer-Encoding: chunked" in head
        assert sent == b"5\r\n{{sec\r\n9\r\nret:KEY}}\r\n0\r\n\r\n"
        bad = await place.ask(CHUNKED % place.port, b"5\r\nabcdefgh\r\n0\r\n\r\n")
        assert b"hello" not in bad or b"abcdefgh" not in place.wire.all


async def test_a_body_carries_a_secret_where_its_definition_says_so(tmp_path: Path) -> None:
    secrets = ours(loopback=True, body=True) | {"HEAD": Secret(value="h" * 12, hosts=("localhost",), loopback=True)}
    async with proxied(tmp_path, secrets=secrets) as place:
        text = b'{"key": "{{secret:KEY}}", "head": "{{secret:HEAD}}", "none": "{{secret:NONE}}"}'
        whole = text.replace(b"{{secret:KEY}}", VALUE.encode())
        sized = b"POST http://localhost:%d/ HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (place.port, len(text))
        await place.ask(sized, text)
        await place.ask(CHUNKED % place.port, b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text))
        for seen in place.wire.seen:
            head, _, sent = seen.partition(b"\r\n\r\n")
            assert b"Content-Length: %d\r\n" % len(whole) in head
            assert sent == whole
        large = b"x" * (2 * 1024**2)
        sized = b"POST http://localhost:%d/ HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (place.port, len(large))
        await place.ask(sized, large)
        assert place.wire.seen[-1].endswith(b"\r\n\r\n" + large)
        await place.ask(CHUNKED % place.port, b"%x\r\n%b\r\n0\r\n\r\n" % (len(large), large))
        assert place.wire.seen[-1].count(b"x") == len(large)


async def test_a_redirect_is_a_new_request_to_its_own_host(tmp_path: Path) -> None:
    """The proxy follows none; a client that repeats the header at another host is refused there."""
    async with proxied(tmp_path, tls=True, secrets=ours()) as place:
        place.wire.headers = f"Location: http://127.0.0.1:{place.port}/{VALUE}\r\n".encode()
        asked = "GET http://{}:{}/ HTTP/1.1\r\nAuthorization: {{{{secret:KEY}}}}\r\n\r\n"
        answer = await place.ask(asked.format("localhost", place.port).encode())
        assert VALUE.encode() in place.wire.seen[0]
        assert VALUE.encode() not in answer
        assert b" 403 " in await place.ask(asked.format("127.0.0.1", place.port).encode())
        assert len(place.wire.seen) == 1


@pytest.mark.parametrize("method", ["TRACE", "get", "PRI"])
async def test_methods_that_send_headers_back_or_are_none(tmp_path: Path, method: str) -> None:
    async with proxied(tmp_path, secrets=ours(loopback=True)) as place:
        answer = await place.ask(f"{method} http://localhost:{place.port}/ HTTP/2.0\r\nX: y\r\n\r\n".encode())
        assert answer.split(b" ")[1] in (b"400", b"405")
        assert place.wire.seen == []


@pytest.mark.parametrize(
    "target",
    [
        "localhost:{port}#x:1", "localhost:{port}?x:1", "localhost:{port}/x", "x@localhost:{port}",
        "localhost:{port}:1", "localhost", "localhost:", ":{port}", "localhost:0{port}99", "localhost:-1",
        "localhost:0", "[localhost]:{port}",
        "localhost:{port}\t", "http://localhost:{port}", "localhost%00.x:{port}", "::1:{port}",
    ],
)  # fmt: skip
async def test_the_target_of_a_tunnel_is_a_host_and_a_port(tmp_path: Path, target: str) -> None:
    async with proxied(tmp_path) as place:
        answer = await place.ask(f"CONNECT {target.format(port=place.port)} HTTP/1.1\r\n\r\n".encode(), b"GET / x\r\n")
        assert answer.split(b" ")[1] in (b"400", b"403"), answer
        assert place.wire.seen == []


@pytest.mark.parametrize("name", ["localhost", "other.example", None])
async def test_the_name_in_tls_is_the_tunnels(tmp_path: Path, name: str | None) -> None:
    async with proxied(tmp_path, tls=True) as place:
        reader, writer = await asyncio.open_unix_connection(str(place.path))
        writer.write(f"CONNECT localhost:{place.port} HTTP/1.1\r\n\r\n".encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = outgoing.read()
        for at in range(0, len(hello), 100):  # in pieces, as a network may bring it
            writer.write(hello[at : at + 100])
            await asyncio.sleep(0.002)
        answer = await asyncio.wait_for(reader.read(5), 30)
        writer.close()
        if name == "other.example":
            assert answer == b""
            assert "its TLS is for 'other.example'" in place.blocked[0].reason
        else:
            assert answer[:1] == b"\x16"  # the server's part of the handshake
            assert place.blocked == []


async def test_a_hello_in_many_records_is_read_whole(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="other.example")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    message = outgoing.read()[5:]
    cut = [message[at : at + 50] for at in range(0, len(message), 50)]
    records = b"".join(b"\x16\x03\x01" + len(each).to_bytes(2, "big") + each for each in cut)
    async with proxied(tmp_path) as place:
        await place.ask(f"CONNECT localhost:{place.port} HTTP/1.1\r\n\r\n".encode(), records)
        assert "other.example" in place.blocked[0].reason
        assert place.wire.seen == []


async def test_a_hello_in_endless_small_records_is_refused_at_once(tmp_path: Path) -> None:
    message = b"\x01" + (60_000).to_bytes(3, "big") + bytes(10_000)
    records = b"".join(b"\x16\x03\x01\x00\x01" + bytes([each]) for each in message)
    async with proxied(tmp_path) as place:
        began = time.process_time()
        for _ in range(20):
            with contextlib.suppress(ConnectionError):  # it is cut off while it sends
                await place.ask(f"CONNECT localhost:{place.port} HTTP/1.1\r\n\r\n".encode(), records)
        assert (time.process_time() - began) / slowness() < 1
        assert "too many records" in place.blocked[0].reason
        assert place.wire.seen == []


@pytest.mark.parametrize("tunnel", [True, False])
async def test_a_long_answer_to_a_silent_client_is_not_cut_off(tmp_path: Path, tunnel: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(10):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.4)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    place = f"localhost:{server.sockets[0].getsockname()[1]}"
    egress = Egress([place], idle_seconds=3)
    await egress.start(tmp_path / "s")
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
    if tunnel:
        writer.write(f"CONNECT {place} HTTP/1.1\r\n\r\n".encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    writer.write(f"GET http://{place}/ HTTP/1.1\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 30)
    assert answer.endswith(b"\r\n\r\n" + b"x" * 10)
    writer.close()
    await egress.close()
    server.close()


async def test_a_tunnel_in_which_nothing_moves_ends(tmp_path: Path) -> None:
    async with proxied(tmp_path, idle_seconds=0.3) as place:
        reader, writer = await asyncio.open_unix_connection(str(place.path))
        writer.write(f"CONNECT localhost:{place.port} HTTP/1.1\r\n\r\n".encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


async def test_a_tunnel_to_the_port_of_tls_carries_nothing_else(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read())
        writer.close()

    try:
        server = await asyncio.start_server(serve, "127.0.0.1", 443)
    except OSError:
        pytest.skip("port 443 cannot be had")
    async with proxied(tmp_path, hosts=["localhost:443"]) as place:
        await place.ask(b"CONNECT localhost:443 HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n")
        assert "is for TLS" in place.blocked[0].reason
    server.close()
    assert seen in ([], [b""])


def test_a_value_is_masked_across_pieces() -> None:
    mask = Mask([b"secret-1", b"crown"])
    said = b"a secret-1 b secre c secret-1crown sec"
    for size in (1, 2, 3, 7, 100):
        mask = Mask([b"secret-1", b"crown"])
        out = b"".join(mask.feed(said[at : at + size]) for at in range(0, len(said), size)) + mask.end()
        assert out == b"a ******** b secre c ************* sec"
    assert Mask([b"secret-1"]).feed(b"no end of it") == b"no end of it"
