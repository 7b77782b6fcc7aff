"""A store that refuses: the client hears a stable code, nothing is half done, and it works again with the store."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.harness.wrapping import each_method

from roost.errors import StoreFailed
from roost.log.store import Store
from roost.server.problems import Refused
from roost.server.responses import from_error
from roost.stores.sqlite.store import open_sqlite


class FullDisk:
    """A store whose disk is full while `full`."""

    def __init__(self, store: Store) -> None:
        self.store = each_method(store, self._wrap)
        self.full = False

    def _wrap(self, name: str, real):
        if name not in ("sessions.create", "logs.append", "inboxes.accept", "dispatch.beat"):
            return real

        async def write(*args, **kwargs):
            if self.full:
                raise StoreFailed("the disk is full: free some space, then try again", code="disk_full")
            return await real(*args, **kwargs)

        return write


@pytest.fixture
def disk(tmp_path: Path):
    disks: list[FullDisk] = []

    async def open_journal():
        disks.append(FullDisk(await open_sqlite(tmp_path / "home" / "roost.db")))
        return disks[-1].store

    open_journal.disks = disks
    return open_journal


def test_a_full_disk_is_said_and_survived(serve, wait, disk):
    served = serve(store=disk)
    session = served.session()
    served.say(session, "before")
    before = served.history(session)
    disk.disks[0].full = True
    for method, path, body in (
        ("POST", f"/sessions/{session}/messages", {"text": "lost?"}),
        ("POST", f"/sessions/{session}/emit", {"name": "x"}),
        ("POST", f"/sessions/{session}/pause", None),
        ("PUT", f"/sessions/{session}/timers/t", {"text": "x", "in": 1}),
        ("POST", "/sessions", {"agent": "clerk"}),
    ):
        answer = served.request(method, path, body)
        assert (answer.status, answer.code) == (507, "disk_full"), path
    streamed = served.post(f"/sessions/{session}/messages", {"text": "x"}, Accept="text/event-stream")
    assert (streamed.status, streamed.code) == (507, "disk_full")
    wait(lambda: served.request("GET", "/health").status == 503)
    assert served.request("GET", "/health").json["status"] == "degraded"
    assert served.history(session) == before
    disk.disks[0].full = False
    wait(lambda: served.request("GET", "/health").status == 200)
    assert served.say(session, "after")[-1].data["outcome"] == "answered"
    texts = [m["parts"][0]["text"] for m in served.get(f"/sessions/{session}/messages")["messages"]]
    assert texts == ["before", "yes", "after", "yes"]


def test_what_was_accepted_before_the_disk_filled_is_answered_when_it_has_room(serve, disk):
    served = serve(store=disk)
    session = served.session()
    served.post(f"/sessions/{session}/pause")
    accepted = served.post(f"/sessions/{session}/messages", {"text": "kept"})
    assert accepted.status == 202
    with served.stream("GET", f"/sessions/{session}/events") as stream:
        served.post(f"/sessions/{session}/resume")
        stream.until("turn.started")
        disk.disks[0].full = True
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.3), served.loop).result(5)
        disk.disks[0].full = False
        assert stream.until("turn.completed")[-1].data["outcome"] == "answered"


def test_a_defect_is_a_500_that_says_nothing_of_the_inside(serve, tmp_path, caplog):
    async def find(query):
        raise KeyError("secret inside")

    async def open_journal():
        store = await open_sqlite(tmp_path / "home" / "roost.db")
        return each_method(store, lambda name, method: find if name == "sessions.find" else method)

    served = serve(store=open_journal)
    answer = served.request("GET", "/sessions")
    assert (answer.status, answer.code) == (500, "internal")
    assert b"secret" not in answer.body
    assert "GET /sessions failed" in caplog.text
    assert "secret inside" in caplog.text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Refused(503, "shutting_down", "the daemon is stopping"), False),
        (StoreFailed("the journal is closed", code="store_closed"), False),
        (StoreFailed("the disk is full", code="disk_full"), True),
    ],
)
def test_to_be_stopped_is_no_error_of_the_log(caplog, error, said):
    from_error(error, {"method": "GET", "path": "/sessions"})
    assert bool(caplog.records) is said
