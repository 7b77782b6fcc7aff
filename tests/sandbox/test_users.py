"""A sandbox whose workspace belongs to a user of its own, made by a daemon that is root."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from roost.sandbox.as_user import fault
from roost.sandbox.backend import Backend, Guest, Network, SandboxSpec
from roost.sandbox.base import User
from roost.sandbox.containers.bwrap import BwrapBackend
from roost.sandbox.containers.docker import DockerBackend
from roost.sandbox.containers.gvisor import GvisorBackend
from roost.sandbox.containers.oci import OciBackend
from roost.sandbox.host_process import ProcessSandbox
from roost.testing.backends import FETCH, answer, attempt, target

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a session a user of its own")

MINE, OTHER = User(2100000001, 2100000001), User(2100000002, 2100000002)
WAYS = ("process", "bwrap", "crun", "runc", "gvisor", "docker")
SHARES = ("process", "bwrap", "crun", "runc")
"""Where a path leads to a socket of this machine."""


def backend_of(way: str) -> Backend:
    if way == "bwrap":
        return BwrapBackend()
    if way == "gvisor":
        return GvisorBackend()
    if way == "docker":
        return DockerBackend()
    program = shutil.which(way)
    if program is None:
        pytest.skip(f"there is no {way}")
    return OciBackend(program)


@asynccontextmanager
async def inside(way: str, workspace: Path, **more: object) -> AsyncGenerator[Guest | ProcessSandbox]:
    marker = f"test-{secrets.token_hex(6)}"
    if way == "process":
        if (why := fault(MINE, workspace, ["true"])) is not None:
            pytest.skip(f"no command runs as another user here: {why}")
        sandbox = ProcessSandbox(marker=marker)
        yield sandbox.as_user(MINE, workspace)
        await sandbox.close()
        return
    backend = backend_of(way)
    probe = await backend.probe()
    if not probe.able:
        pytest.skip(f"no {way} here: {probe.why}")
    guest = await backend.create(SandboxSpec(session="s", workspace=workspace, marker=marker, user=MINE, **more))  # type: ignore[arg-type]
    try:
        yield guest
    finally:
        await guest.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """In a home that only root may enter."""
    (home := tmp_path / "home").mkdir(mode=0o700)
    return owned(home / "work space", MINE)


def owned(folder: Path, user: User) -> Path:
    folder.mkdir(mode=0o700)
    (folder / "secret").write_text("the secret")
    for place in (folder / "secret", folder):
        os.chown(place, *user)
    return folder


async def sh(sandbox: Guest | ProcessSandbox, folder: Path, script: str) -> str:
    result = await sandbox.exec(["sh", "-c", script], cwd=str(folder))
    return result.stdout + result.stderr


@pytest.mark.parametrize("way", WAYS)
async def test_what_a_command_makes_belongs_to_the_user(way: str, workspace: Path) -> None:
    make = f"id -u; id -g; pwd; echo x > '{workspace}/file'; mkdir folder; ln -s file link; cat secret"
    async with inside(way, workspace) as sandbox:
        assert (await sh(sandbox, workspace, make)).split("\n")[:4] == [*map(str, MINE), str(workspace), "the secret"]
        held = await sh(
            sandbox, workspace, "grep -E '^Cap(Inh|Prm|Eff|Bnd)' /proc/self/status; grep Groups /proc/self/status"
        )
        assert set(held.replace("Groups:", "").split()[1::2]) == {"0" * 16}
        job = await sandbox.spawn(["sh", "-c", "echo $$ > job"], cwd=str(workspace))
        assert await asyncio.wait_for(job.wait(), 30) == 0
        await job.close()
    found = {name: os.lstat(workspace / name) for name in ("file", "folder", "link", "job")}
    assert {name: (each.st_uid, each.st_gid) for name, each in found.items()} == dict.fromkeys(found, MINE)


@pytest.mark.parametrize("way", WAYS)
async def test_a_setuid_file_is_worth_nothing(way: str, workspace: Path) -> None:
    """Of whatever a command makes, none belongs to root and has the bit."""
    async with inside(way, workspace) as sandbox:
        await sh(sandbox, workspace, "cp $(command -v id) mine; chmod 4755 mine; chown 0:0 mine")
    assert os.stat(workspace / "mine").st_uid == MINE.uid


@pytest.mark.parametrize("way", WAYS)
async def test_another_session_s_files_are_closed_even_where_the_path_leads_there(way: str, workspace: Path) -> None:
    other = owned(workspace.parent / "other", OTHER)
    look = f"cat {other}/secret; ls {other}; echo x > {other}/new; ls /root; cat /etc/shadow"
    more = {} if way == "process" else {"reads": (other,)}
    async with inside(way, workspace, **more) as sandbox:
        said = await sh(sandbox, workspace, look)
    assert "the secret" not in said
    assert os.listdir(other) == ["secret"]
    if way != "process":
        assert "Permission denied" in said


@pytest.mark.parametrize("way", WAYS[1:])
async def test_the_way_out_is_reached(way: str, workspace: Path) -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    run = [os.path.realpath(sys.executable), "-I", "-c", FETCH, f"http://localhost:{port}/"]
    async with server, inside(way, workspace, network=Network(hosts=(f"localhost:{port}",))) as guest:
        assert (await guest.exec(run, cwd=str(workspace))).stdout == "hello\n"


@pytest.mark.parametrize("way", SHARES)
async def test_a_socket_that_root_binds_later_cannot_be_connected_to(way: str, workspace: Path) -> None:
    connect = "import socket; socket.socket(socket.AF_UNIX).connect('late')"
    async with inside(way, workspace) as sandbox:
        with socket.socket(socket.AF_UNIX) as late:
            os.chdir(workspace)
            late.bind("late")
            late.listen()
            got = await sandbox.exec([os.path.realpath(sys.executable), "-I", "-c", connect], cwd=str(workspace))
    assert "PermissionError" in got.stderr


@pytest.mark.parametrize("way", WAYS[1:4])
async def test_no_way_out(way: str, tmp_path: Path, workspace: Path) -> None:
    with target(tmp_path, workspace) as setting:
        async with inside(way, workspace) as guest:
            got = await attempt(guest, workspace, {**setting, "pid": os.getpid()})
    assert len(got) >= 60
    assert {name: what for name, what in got.items() if what is not None} == {}
