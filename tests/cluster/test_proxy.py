"""The network that can be broken."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from tests.harness.proxy import Address, TcpProxy


class Echo:
    """Answers every line with its name in front, and remembers what it heard."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[str] = []
        self.ends: list[str] = []
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> Echo:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address: Address = ("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while line := await reader.readline():
                self.heard.append(line.decode().strip())
                writer.write(f"{self.name} {line.decode()}".encode())
            self.ends.append("fin")
        except ConnectionResetError:
            self.ends.append("reset")
        finally:
            self._open.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def network(count: int = 1) -> AsyncIterator[tuple[TcpProxy, list[Echo]]]:
    echoes = [await Echo(f"e{number}").start() for number in range(count)]
    proxy = TcpProxy(lambda: [echo.address for echo in echoes])
    async with proxy:
        yield proxy, echoes
    for echo in echoes:
        await echo.stop()
    while Line.opened:
        writer = Line.opened.pop()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Line:
    opened: ClassVar[list[asyncio.StreamWriter]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.opened.append(writer)

    @staticmethod
    async def to(proxy: TcpProxy) -> Line:
        return Line(*await asyncio.open_connection("127.0.0.1", proxy.port))

    async def say(self, text: str, seconds: float = 30.0) -> str:
        self.writer.write(f"{text}\n".encode())
        return (await asyncio.wait_for(self.reader.readline(), seconds)).decode().strip()


async def until(condition: object, seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


async def test_it_passes_on_and_a_reset_reaches_both_ends() -> None:
    async with network() as (proxy, [echo]):
        line = await Line.to(proxy)
        assert await line.say("hello") == "e0 hello"
        assert proxy.connections == 1
        assert proxy.cut() == 1
        with pytest.raises(ConnectionResetError):
            await line.reader.read()
        await until(lambda: echo.ends == ["reset"])
        assert await (await Line.to(proxy)).say("again") == "e0 again"


async def test_a_fin_reaches_both_ends() -> None:
    async with network() as (proxy, [echo]):
        line = await Line.to(proxy)
        await line.say("hello")
        proxy.cut(reset=False)
        assert await asyncio.wait_for(line.reader.read(), 30) == b""
        await until(lambda: echo.ends == ["fin"])


async def test_the_end_of_one_side_is_told_to_the_other() -> None:
    async with network() as (proxy, [echo]):
        line = await Line.to(proxy)
        await line.say("hello")
        line.writer.write_eof()
        assert await asyncio.wait_for(line.reader.read(), 30) == b""
        await until(lambda: echo.ends == ["fin"] and proxy.connections == 0)
        other = await Line.to(proxy)
        await other.say("hello")
        other.writer.transport.abort()
        await until(lambda: len(echo.ends) == 2 and proxy.connections == 0)


async def test_what_is_held_arrives_late_even_when_its_sender_has_given_up() -> None:
    async with network() as (proxy, [echo]):
        line = await Line.to(proxy)
        await line.say("hello")
        proxy.hold()
        with pytest.raises(TimeoutError):
            await line.say("late", 0.2)
        line.writer.close()
        new = await Line.to(proxy)  # the handshake is the system's: it succeeds
        with pytest.raises(TimeoutError):
            await new.say("new", 0.2)
        assert echo.heard == ["hello"]
        proxy.heal()
        await until(lambda: sorted(echo.heard) == ["hello", "late", "new"])
        assert (await new.reader.readline()).decode() == "e0 new\n"


async def test_one_way_may_be_held_alone() -> None:
    async with network() as (proxy, [echo]):
        line = await Line.to(proxy)
        await line.say("hello")
        proxy.hold(up=False)
        with pytest.raises(TimeoutError):
            await line.say("heard", 0.2)
        assert echo.heard == ["hello", "heard"]
        proxy.heal()
        assert (await line.reader.readline()).decode() == "e0 heard\n"


async def test_it_slows_down_and_refuses() -> None:
    async with network() as (proxy, _):
        line = await Line.to(proxy)
        proxy.delay(0.1)
        began = time.monotonic()
        await line.say("slow")
        assert time.monotonic() - began >= 0.2
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            await (await Line.to(proxy)).say("no")
        assert await line.say("still") == "e0 still"
        proxy.heal()
        assert await (await Line.to(proxy)).say("yes") == "e0 yes"


async def test_it_balances_and_passes_over_the_dead() -> None:
    async with network(3) as (proxy, echoes):
        names = [(await (await Line.to(proxy)).say("x"))[:2] for _ in range(6)]
        assert sorted(names) == ["e0", "e0", "e1", "e1", "e2", "e2"]
        await echoes[1].stop()
        names = [(await (await Line.to(proxy)).say("x"))[:2] for _ in range(6)]
        assert set(names) == {"e0", "e2"}
        await echoes[0].stop()
        await echoes[2].stop()
        line = await Line.to(proxy)
        with pytest.raises((ConnectionResetError, AssertionError)):
            assert await line.say("nobody")


async def test_urls_lead_through_it() -> None:
    async with TcpProxy.to("postgresql://me:secret@db.example:5432/roost?sslmode=disable") as proxy:
        url = proxy.through("postgresql://me:secret@db.example:5432/roost?sslmode=disable")
        assert url == f"postgresql://me:secret@127.0.0.1:{proxy.port}/roost?sslmode=disable"
        assert proxy.url == f"http://127.0.0.1:{proxy.port}"


async def test_closing_leaves_nothing_behind() -> None:
    async with network() as (proxy, [echo]):
        lines = [await Line.to(proxy) for _ in range(3)]
        for line in lines:
            await line.say("hello")
        proxy.hold()
        held = await Line.to(proxy)
        held.writer.write(b"x\n")
        await proxy.close()
        await until(lambda: len(echo.ends) == 3)
        assert proxy.connections == 0
        with pytest.raises(OSError):
            await Line.to(proxy)
