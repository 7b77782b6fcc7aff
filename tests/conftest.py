"""One PostgreSQL server for the whole run; each test that asks for `database` gets the URL of one of its own."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from roost.agent.feature import check_features
from roost.sandbox import as_user
from roost.sandbox.base import User
from roost.testing.clock import MovedClock
from tests.harness.postgres.server import PostgresServer
from tests.harness.processes import Prefork, prefork_process
from tests.harness.s3 import NoWeed, S3Server

sys.dont_write_bytecode = False  # each process would take the tests apart again, for 15 s
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs behind it with Ctrl-C ignored, and programs that are started from there inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


os.environ.setdefault("ROOST_USER_SKILLS", "off")  # a developer's own skills are no part of a test
_TIERS = {
    "tests/crash/": "crash",
    "tests/cluster/": "cluster",
    "tests/local/": "local",
    "tests/bench/": "bench",
    "tests/deploy/": "deploy",
    "tests/models/test_matrix.py": "matrix",  # every wire × every behaviour; each wire has tests of its own besides
    "tests/models/test_faults.py": "matrix",  # every wire × every fault × streamed or whole
    "tests/models/test_minimax_ends.py": "matrix",
    "tests/models/test_peers.py": "matrix",  # the same questions to servers that others wrote
    "tests/models/test_sdks.py": "matrix",  # what providers' own libraries make of the stub
    "tests/models/embed/test_sdks.py": "matrix",
    "tests/server/test_openapi.py": "matrix",  # generated requests to every operation
    "tests/console/": "daemon",
    "tests/cli/terminal/test_approving.py": "daemon",
    "tests/cli/terminal/test_conversation.py": "daemon",
    "tests/cli/terminal/test_slash.py": "daemon",
    "tests/cli/terminal/test_top.py": "daemon",
    "tests/cli/test_terminals.py": "daemon",
    "tests/bots/test_page.py": "daemon",
    "tests/doors/test_gemini_gateway.py": "matrix",  # importing Google's library takes seconds
    "tests/doors/test_lab_surface.py": "matrix",  # every method of two libraries
    "tests/doors/test_coding_agents": "daemon",  # programs of others, each with an interpreter of its own
    "tests/files/test_files_killed.py": "crash",
    "tests/frameworks/test_hosted_agents_killed.py": "crash",
    "tests/frameworks/test_aios_agents.py": "daemon",
    "tests/frameworks/test_termo_adapter.py": "daemon",
    "tests/frameworks/test_hosted_agents_shot.py": "crash",
    "tests/frameworks/test_conformance.py": "daemon",
    "tests/frameworks/test_quick_starts.py": "daemon",
    "tests/frameworks/test_hosted_agents.py": "daemon",  # each framework in an environment of its own
    "tests/cli/test_chat.py": "daemon",
    "tests/cli/test_costs.py": "daemon",
    "tests/cli/test_daemon.py": "daemon",
    "tests/cli/test_doctor.py": "daemon",
    "tests/cli/test_exchange.py": "daemon",
    "tests/replay/test_replay_page.py": "daemon",
    "tests/cli/test_mcp.py": "daemon",
    "tests/cli/test_nodes.py": "daemon",
    "tests/cli/test_pauses.py": "daemon",
    "tests/cli/test_questions.py": "daemon",
    "tests/cli/test_refresh.py": "daemon",
    "tests/cli/test_store.py": "daemon",
    "tests/cli/test_travel.py": "daemon",
    "tests/doors/test_mcp_conformance.py": "daemon",
    "tests/mcp_servers/test_conformance.py": "daemon",
    "tests/server/test_daemon.py": "daemon",
    "tests/server/test_nodes.py": "daemon",
    "tests/log/test_dbos.py": "postgres",
    "tests/models/test_anthropic.py::test_the_official_sdk": "matrix",  # importing a provider's library takes seconds
    "tests/models/test_gemini.py::test_the_official_sdk": "matrix",
    "tests/models/test_minimax.py::test_the_official_sdk": "matrix",
    "tests/models/test_openai_responses.py::test_the_official_sdk": "matrix",
    "tests/models/test_provider.py::test_the_official_sdk": "matrix",
    "tests/agent/test_schedule_times.py::test_what_has_a_star": "long",
    "tests/kernel/test_backoff.py::test_a_lone_node_tries_again_after_seconds": "long",
    "tests/kernel/test_jobs.py::test_a_sandbox_that_does_not_answer": "long",
    "tests/kernel/test_workspaces.py::test_many_sessions_at_once": "long",
    "tests/models/embed/test_http_embedder.py::test_many_jobs_share_the_connections": "long",
    "tests/models/media/test_fitting.py::test_a_picture_that_is_too_heavy": "long",
    "tests/models/media/test_fitting.py::test_scaling_does_not_hold_up_the_event_loop": "long",
    "tests/models/test_openai_chat.py::test_many_calls_in_parallel": "long",
    "tests/models/test_provider.py::test_faults_by_chance": "long",
    "tests/kernel/test_compaction_storm.py": "long",
    "tests/kernel/test_long_session.py": "long",
    "tests/kernel/test_schedules_year.py": "long",
    "tests/kernel/test_writes.py": "long",
    "tests/sandbox/test_bombs.py": "long",
    "tests/sandbox/test_bwrap.py::TestBackend::test_a_gigabyte": "long",
    "tests/sandbox/test_chaos.py": "long",
    "tests/sandbox/test_recall.py": "long",
    "tests/sandbox/test_cut_off.py": "long",
    "tests/sandbox/test_firecracker": "engines",
    "tests/sandbox/test_gvisor.py": "engines",
    "tests/sandbox/test_ninep.py": "engines",
    "tests/sandbox/test_oci.py": "engines",
    "tests/sandbox/test_qemu": "engines",
    "tests/sandbox/test_vmm.py": "engines",
}
"""The marker of all tests whose id begins so. `make test` leaves these out, and whatever needs PostgreSQL."""
_FIRST = ("cluster", "crash", "local", "bench", "deploy", "long", "daemon")
"""Files with tests that take long come first: at the end of a run each of its processes has something to do."""


_EXAMPLES = 30
"""Of a property test without a number of its own, in a quick run; 100 else."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out the tests of all tiers, as `make test` does")


def pytest_configure(config: pytest.Config) -> None:
    slow = [HealthCheck.too_slow]  # how fast examples are made says how busy the machine is
    number = _EXAMPLES if config.option.quick else settings().max_examples
    settings.register_profile("roost", max_examples=number, suppress_health_check=slow, deadline=None)
    settings.load_profile("roost")
    if config.option.quick:
        os.environ.setdefault("ROOST_TEST_STORES", "sqlite")  # before conftests make cases of it
    check_features()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import files that a quick run leaves out as a whole."""
    if not config.option.quick:
        return None
    path = collection_path.relative_to(config.rootpath).as_posix() + ("/" if collection_path.is_dir() else "")
    left_out = "postgres" in path or any("::" not in start and path.startswith(start) for start in _TIERS)
    return True if left_out and not path.startswith("tests/harness/") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test with its tier, and put the long ones first."""
    tiers: dict[str, list[tuple[str, str]]] = {}
    for item in items:
        path = item.nodeid.partition("::")[0]  # where it runs; `location` is where an inherited test is written
        if path not in tiers:
            tiers[path] = [
                (start, marker) for start, marker in _TIERS.items() if path.startswith(start.partition("::")[0])
            ]
        for start, marker in tiers[path]:
            if item.nodeid.startswith(start):
                item.add_marker(marker)
        if "killed" in path or "killed" in item.name.partition("[")[0]:
            item.add_marker("crash")
        if _needs_postgres(item):
            item.add_marker("postgres")
    items[:] = _one_on_postgres(items)
    if config.option.quick:
        left = {"soak", "postgres", "crash", *_TIERS.values()}
        out = {item: None for item in items if any(mark.name in left for mark in item.iter_markers())}
        config.hook.pytest_deselected(items=[*out])
        items[:] = [item for item in items if item not in out]
    first = {item.nodeid.partition("::")[0] for item in items if any(item.get_closest_marker(name) for name in _FIRST)}
    items.sort(key=lambda item: item.nodeid.partition("::")[0] not in first)


def pytest_collection_finish() -> None:
    """The collector of garbage need not look at a million objects of tests again and again: 0.4 s each time."""
    gc.freeze()


def _one_on_postgres(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Leave out, of each test or file with the marker of this name, the cases on PostgreSQL but for the first."""
    seen: set[str] = set()
    kept: list[pytest.Item] = []
    for item in items:
        for node, _ in item.iter_markers_with_node("one_on_postgres"):
            if item.get_closest_marker("postgres"):
                of = node.nodeid if isinstance(node, pytest.Module) else item.nodeid.partition("[")[0]
                if of in seen:
                    break
                seen.add(of)
        else:
            kept.append(item)
    return kept


def _needs_postgres(item: pytest.Item) -> bool:
    if not isinstance(item, pytest.Function):
        return False
    used = {"postgres", "database", "_postgres"} & set(item.fixturenames)
    chosen = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return bool(used) or "postgres" in item.nodeid.partition("::")[0] or any(value == "postgres" for value in chosen)


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    """Processes that tests start keep what they compile, also where PYTHONDONTWRITEBYTECODE says otherwise: a start
    costs twice the CPU without."""
    if not os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        yield
        return
    os.environ["PYTHONPYCACHEPREFIX"] = folder = tempfile.mkdtemp(prefix="roost-pycache-")
    yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _users() -> Iterator[None]:
    """Where tests run as root, the users that they give to sessions are registered for this run alone. That such a user
    can run a program is tried once with each `PATH`, not for each runtime: the trial costs seven processes."""
    held = set[tuple[str | None, ...]]()

    def fault(user: User, workspace: Path, program: Sequence[str]) -> str | None:
        key = (*program, os.environ.get("PATH"), os.environ.get("ROOST_USERS"))
        if key in held:
            (workspace / "file").touch()
            return None
        why = as_user.fault(user, workspace, program)
        if why is None:
            held.add(key)
        return why

    with tempfile.TemporaryDirectory(prefix="roost-users-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROOST_USERS", folder)
        patch.setattr("roost.workspace.owners.fault", fault)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer.shared() as server:
        yield server


@pytest.fixture
async def database(postgres: PostgresServer) -> str:
    return await postgres.database()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """An object store for the whole run; each test takes a prefix of its own."""
    try:
        server = S3Server()
        server.__enter__()
    except NoWeed as error:
        pytest.skip(str(error))
    yield server
    server.close()


@pytest.fixture(scope="session")
def prefork() -> Prefork:
    return prefork_process()


@pytest.fixture
def clock() -> Iterator[MovedClock]:
    """The clock of the process, for a test that would sleep until a lease, a linger or a timer is over."""
    clock = MovedClock()
    with clock.everywhere():
        yield clock


@pytest.fixture(autouse=True)
def _same_folder() -> Iterator[None]:
    """Whatever folder a test goes into, the next one begins where the run began: programs are found from there."""
    before = os.getcwd()
    yield
    os.chdir(before)


@pytest.fixture(autouse=True)
def _same_logging() -> Iterator[None]:
    """A command that a test runs in this process silences the log; the next test may look into it."""
    log = logging.getLogger("roost")
    before = log.propagate, log.level, list(log.handlers)
    yield
    log.propagate, level, log.handlers[:] = before
    log.setLevel(level)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Worker processes tell of a test in UTF-8: what it printed or logged may hold what cannot be said in it."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "replace").decode()) for name, text in report.sections]
    return report
