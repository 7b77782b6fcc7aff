"""Sockets of programs outside, in a folder that a sandbox sees."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from roost.errors import SandboxError
from roost.sandbox import sockets
from roost.sandbox.containers.bwrap import BwrapBackend
from roost.sandbox.sockets import MOST, living_sockets
from roost.testing.backends import made, python


@pytest.fixture
def at(tmp_path: Path) -> Iterator[ExitStack]:
    before = Path.cwd()
    with ExitStack() as stack:
        yield stack
    os.chdir(before)


def listen(at: ExitStack, folder: Path, name: str, kind: int = socket.SOCK_STREAM) -> Path:
    """By a relative name, so that a long path is no hindrance and no list of the system has the whole of it."""
    folder.mkdir(parents=True, exist_ok=True)
    end = at.enter_context(socket.socket(socket.AF_UNIX, kind))
    os.chdir(folder)
    end.bind(name)
    if kind != socket.SOCK_DGRAM:
        end.listen()
    return folder / name


def test_those_that_are_alive_are_found(tmp_path: Path, at: ExitStack) -> None:
    living = {
        listen(at, tmp_path, "stream"),
        listen(at, tmp_path, "mail", socket.SOCK_DGRAM),
        listen(at, tmp_path, "packets", socket.SOCK_SEQPACKET),
        listen(at, tmp_path / ("d" * 100) / ("e" * 100), "far"),
    }
    listen(at, tmp_path / "home", "hidden")
    with ExitStack() as ended:
        listen(ended, tmp_path, "left")
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("left")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert set(living_sockets([tmp_path, tmp_path / "none"], [tmp_path / "home"])) == living


def test_more_than_can_be_covered_is_refused(tmp_path: Path, at: ExitStack) -> None:
    for number in range(MOST):
        listen(at, tmp_path / "many", str(number), socket.SOCK_DGRAM)
    assert len(living_sockets([tmp_path], [])) == MOST
    listen(at, tmp_path, "one more", socket.SOCK_DGRAM)
    with pytest.raises(SandboxError, match=f"more than {MOST} Unix sockets in .*give the session another folder"):
        living_sockets([tmp_path], [])


def test_a_folder_of_too_many_names_is_told(
    tmp_path: Path, at: ExitStack, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is bound by its whole path is found all the same."""
    monkeypatch.setattr(sockets, "LOOKED_AT", 20)
    folder = tmp_path
    for _ in range(8):
        (folder := folder / "d").mkdir()
        for name in range(5):
            (folder / str(name)).touch()
    end = at.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    end.bind(str(folder / "s"))
    assert living_sockets([tmp_path], []) == (folder / "s",)
    assert "more than 20 names" in caplog.text
    assert living_sockets([tmp_path], [folder]) == ()


async def test_what_a_program_left_behind_can_be_used_anew(tmp_path: Path, at: ExitStack) -> None:
    backend = BwrapBackend()
    if not (await backend.probe()).able:
        pytest.skip("bwrap cannot run here")
    with ExitStack() as ended:
        listen(ended, tmp_path, "left")
    listen(at, tmp_path, "living")
    program = """
import os, socket
os.unlink("left")
server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
server.bind("left"); server.listen(); client.connect("left")
print("connected")
try: socket.socket(socket.AF_UNIX).connect("living")
except OSError as error: print("refused")
"""
    async with made(backend, tmp_path) as guest:
        assert (await python(guest, tmp_path, program)).stdout == "connected\nrefused\n"
    assert (tmp_path / "living").is_socket()
