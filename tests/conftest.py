"""One PostgreSQL server for the whole run; each test that asks for `database` gets the URL of one of its own."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator

import pytest

from tests.harness.postgres.server import PostgresServer

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs behind it with Ctrl-C ignored, and programs that are started from there inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    """Processes that tests start keep what they compile, also where PYTHONDONTWRITEBYTECODE says otherwise: a start
    costs twice the CPU without."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None) is None:
        yield
        return
    os.environ["PYTHONPYCACHEPREFIX"] = folder = tempfile.mkdtemp(prefix="roost-pycache-")
    yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _users() -> Iterator[None]:
    """Where tests run as root, the users that they give to sessions are registered for this run alone."""
    with tempfile.TemporaryDirectory(prefix="roost-users-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROOST_USERS", folder)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer.shared() as server:
        yield server


@pytest.fixture
async def database(postgres: PostgresServer) -> str:
    return await postgres.database()


@pytest.fixture(autouse=True)
def _same_folder() -> Iterator[None]:
    """Whatever folder a test goes into, the next one begins where the run began: programs are found from there."""
    before = os.getcwd()
    yield
    os.chdir(before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Worker processes tell of a test in UTF-8: what it printed or logged may hold what cannot be said in it."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "replace").decode()) for name, text in report.sections]
    return report
