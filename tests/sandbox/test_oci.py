"""Level 1 by an OCI runtime: the contract, and what only a container does."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from roost.errors import SandboxError
from roost.sandbox.backend import Backend, Bounds, Network, SandboxSpec
from roost.sandbox.containers.oci import OciBackend
from roost.sandbox.guest.linked_guest import LinkedGuest
from roost.testing.backends import BackendContract
from roost.testing.sandbox import SandboxContract

RUNTIMES = [name for name in ("crun", "runc") if shutil.which(name)] or ["crun"]


@pytest.fixture(params=RUNTIMES)
async def backend(request: pytest.FixtureRequest) -> OciBackend:
    made = OciBackend(shutil.which(request.param) or request.param)
    probe = await made.probe()
    if not probe.able:
        pytest.skip(f"{request.param}: {probe.why}")
    return made


def spec(workspace: Path, **more: object) -> SandboxSpec:
    return SandboxSpec(session="s", workspace=workspace, marker=f"test-{secrets.token_hex(4)}", **more)  # pyright: ignore[reportArgumentType]


@pytest.fixture
async def sandbox(backend: OciBackend, tmp_path: Path) -> AsyncIterator[LinkedGuest]:
    asked = spec(tmp_path, bounds=Bounds(pids=256))
    made = await backend.create(asked)
    yield made
    await made.close()
    assert await backend.reap(asked.marker) == 0


@pytest.mark.parametrize("backend", RUNTIMES[:1], indirect=True)
class TestContract(SandboxContract):
    pass


@pytest.mark.parametrize("backend", RUNTIMES[:1], indirect=True)
class TestBackend(BackendContract):
    maker = "roost.sandbox.containers.oci:OciBackend"


@pytest.mark.soak
@pytest.mark.parametrize("backend", RUNTIMES[1:], indirect=True)
class TestContractOfTheOther(SandboxContract):
    pass


@pytest.mark.soak
@pytest.mark.parametrize("backend", RUNTIMES[1:], indirect=True)
class TestBackendOfTheOther(BackendContract):
    maker = "roost.sandbox.containers.oci:OciBackend"
    not_held = frozenset({"user"})
    """runc's containers need a user 0."""

    def arguments(self, backend: Backend) -> Sequence[str]:
        return [shutil.which(RUNTIMES[1]) or RUNTIMES[1]]


@pytest.mark.parametrize("backend", RUNTIMES[1:], indirect=True)
class TestShortContractOfTheOther:
    """One backend drives both runtimes, so crun has the whole contract; here is what the runtime itself does."""

    test_output = SandboxContract.test_output_and_exit_code
    test_what_cannot_start = SandboxContract.test_what_cannot_start_is_data
    test_a_cancel = SandboxContract.test_nothing_outlives_a_cancel
    test_the_environment = SandboxContract.test_the_environment_is_clean
    test_close = SandboxContract.test_close_ends_what_runs
    test_memory = BackendContract.test_memory
    test_what_is_left = BackendContract.test_what_a_killed_process_left_is_reaped
    test_network = BackendContract.test_no_network
    test_no_way_out = BackendContract.test_no_way_out_on_another_event_loop
    maker, not_held = TestBackendOfTheOther.maker, TestBackendOfTheOther.not_held
    arguments = TestBackendOfTheOther.arguments


async def test_a_machine_without_a_runtime_says_so(tmp_path: Path) -> None:
    probe = await OciBackend("/no/such/crun").probe()
    assert not probe.able
    assert probe.why
    assert probe.fix
    with pytest.raises(SandboxError):
        await OciBackend("/no/such/crun").create(spec(tmp_path))


_FLOOD = """
import socket, time
held = []
for _ in range(600):
    held.append(socket.create_connection(("127.0.0.1", 3128), 20))
    time.sleep(0.001)
open("there", "w").close()
time.sleep(1000)
"""


@pytest.mark.parametrize("backend", RUNTIMES[:1], indirect=True)
async def test_connections_that_a_command_holds_keep_no_other_from_its_start(
    backend: OciBackend, tmp_path: Path
) -> None:
    guest = await backend.create(spec(tmp_path, network=Network(hosts=("localhost",))))
    flood = [os.path.realpath(sys.executable), "-I", "-c", _FLOOD]
    holding = asyncio.create_task(guest.exec(flood, cwd=str(tmp_path)))
    while not (tmp_path / "there").exists() and not holding.done():
        await asyncio.sleep(0.02)
    assert (await guest.exec(["echo", "on"], cwd=str(tmp_path))).stdout == "on\n"
    assert not holding.done()
    await guest.close()
    await holding
