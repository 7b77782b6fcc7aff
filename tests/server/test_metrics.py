"""`GET /metrics` of a real daemon, read by Prometheus' own parsers."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import sqlite3
import time
from collections.abc import Iterable
from typing import Any

import asyncpg
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_plain
from tests.harness.postgres.server import PostgresServer

from roost.agent.definition import Agent
from roost.kernel.config import KernelConfig
from roost.log.content import ErrorData, Usage
from roost.models.request import Price, Profile
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

from .conftest import Serve, Served, look, strike

# As Prometheus 3 sends it.
ACCEPT = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


TRICKY = 'said "x","usage":{"input":999999,"output":999999},"seconds":99.0}'


class Scrape:
    """Samples by name and labels."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = {family.name: family for family in families}
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """0 for an agent or a model that was not heard of."""
        assert name.removesuffix("_total") in self.families or not name.endswith("_total"), name
        if "agent" in labels:
            return self.samples.get((name, frozenset(labels.items())), 0.0)
        return self.samples[name, frozenset(labels.items())]

    def info(self, name: str) -> dict[str, str]:
        (labels,) = [dict(labels) for found, labels in self.samples if found == name]
        return labels


def scrape(served: Served) -> Scrape:
    answer = served.request("GET", "/metrics", Accept=ACCEPT)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    return Scrape(read_openmetrics(answer.body.decode()))


def priced(script: Any, price: Price | None = None) -> ScriptedModel:
    return ScriptedModel(script, profile=Profile(price=price))


def agents() -> list[Agent]:
    spent = Usage(input=1000, output=50, cached=400)
    worker = by_step([Answer(calls=(Call("look", {"what": "x"}), Call("nothing")), usage=spent), TRICKY])
    fails = Answer(error=ErrorData("bad_request", "no"))
    return [
        Agent("clerk", model=priced(worker, Price(input=1000, output=2000, cached=100)), tools=[look, strike]),
        Agent("free", model=priced(["one"])),
        Agent("broken", model=priced([fails])),
    ]


@pytest.fixture(params=["sqlite", "postgres"])
async def place(request: pytest.FixtureRequest) -> dict[str, str]:
    """Where the store is, as options of a daemon."""
    if request.param == "sqlite":
        return {}
    return {"store": await request.getfixturevalue("postgres").database()}


def test_real_turns(serve: Serve, place: dict[str, str]) -> None:
    served = serve(agents=agents(), **place, config=KernelConfig(linger=0.05))
    before = scrape(served)
    assert before("roost_tool_calls_total", outcome="ok") == 0
    assert before("roost_inputs_accepted_total", kind="message") == 0
    session = served.session()
    for _ in range(3):
        served.say(session, "go")
    served.say(served.session("free"), "go")
    served.say(served.session("broken"), "go")
    found = scrape(served)

    assert found("roost_turns_total", agent="clerk", outcome="answered") == 3
    assert found("roost_turns_total", agent="broken", outcome="failed") == 1
    assert found("roost_turns_total", agent="free", outcome="failed") == 0
    assert found("roost_tool_calls_total", outcome="ok") == 3
    assert found("roost_tool_calls_total", outcome="error") == 3
    assert found("roost_inputs_accepted_total", kind="message") == 5

    # An answer of the script without usage of its own says 100 and 20.
    tokens = {
        kind: found("roost_model_tokens_total", agent="clerk", kind=kind) for kind in ("input", "cached", "output")
    }
    assert tokens == {"input": 3 * 700, "cached": 3 * 400, "output": 3 * 70}
    nano = 3 * (700 * 1000 + 400 * 100 + 70 * 2000)
    assert found("roost_model_cost_dollars_total", agent="clerk") == pytest.approx(nano / 1e9)
    assert found("roost_model_calls_unpriced_total", agent="clerk") == 0
    assert found("roost_model_calls_unpriced_total", agent="free") == 1

    assert found("roost_model_call_duration_seconds_count", model="scripted", outcome="ok") == 7
    assert found("roost_model_call_duration_seconds_count", model="scripted", outcome="failed") == 1
    steps = found("roost_commit_duration_seconds_count")
    assert steps == found("roost_commit_duration_seconds_bucket", le="+Inf") >= 5
    assert 0 < found("roost_commit_duration_seconds_sum") < steps


def test_of_this_moment(serve: Serve, place: dict[str, str], wait: Any) -> None:
    """A slow turn, a reader, a node that is full, and what waits behind it."""
    model = ScriptedModel(lambda _: Answer(text="late", delay=1.5))
    served = serve(model, **place, grace=0.1, config=KernelConfig(linger=0.05, max_live=1))
    first, second = served.session(), served.session()
    served.post(f"/sessions/{first}/messages", {"text": "go"})
    wait(lambda: scrape(served)("roost_sessions_live") == 1)
    served.post(f"/sessions/{second}/messages", {"text": "go"})
    with served.events(first):
        wait(lambda: scrape(served)("roost_streams_open") == 1)
        wait(lambda: scrape(served)("roost_backlog_oldest_seconds") > 0.1)
        found = scrape(served)
    assert found("roost_backlog_sessions") == 1
    assert (found("roost_sessions_room"), found("roost_saturation_ratio")) == (0, 1.0)
    assert 0 <= found("roost_event_loop_busy_ratio") < 1
    assert found("roost_lease_remaining_seconds") > 0
    assert found("roost_draining") == 0
    assert found("process_resident_memory_bytes") > 1e6
    assert found("process_cpu_seconds_total") > 0
    assert time.time() - 86400 < found("process_start_time_seconds") < time.time()
    health = served.get("/health")
    assert found.info("roost_build_info") == {"version": health["version"], "node": health["node"]}
    wait(lambda: scrape(served)("roost_backlog_sessions") == 0, 10.0)
    wait(lambda: scrape(served)("roost_streams_open") == 0)


def test_a_session_that_a_node_left_in_the_middle(serve: Serve, place: dict[str, str], wait: Any) -> None:
    slow = ScriptedModel(lambda _: Answer(text="late", delay=30.0))
    first = serve(slow, **place)
    session = first.session()
    first.post(f"/sessions/{session}/messages", {"text": "go"})
    wait(lambda: scrape(first)("roost_commit_duration_seconds_count") > 0)
    first.daemon.stop()
    first.stop()
    second = serve(ScriptedModel(lambda _: "done"), **place)
    wait(lambda: scrape(second)("roost_turns_total", agent="clerk", outcome="answered") == 1)
    assert scrape(second)("roost_takeovers_total") == 1


def test_a_session_that_another_node_took(serve: Serve, place: dict[str, str], wait: Any) -> None:
    served = serve(ScriptedModel(lambda _: Answer(text="late", delay=0.5)), **place)
    session = served.session()
    served.post(f"/sessions/{session}/messages", {"text": "go"})
    wait(lambda: scrape(served)("roost_commit_duration_seconds_count") > 0)
    take_away(served, place.get("store"))
    wait(lambda: scrape(served)("roost_sessions_fenced_total") == 1)


def take_away(served: Served, url: str | None) -> None:
    """As a node does that believes this one dead."""
    sql = "UPDATE sessions SET epoch = epoch + 1"
    if url is None:
        with contextlib.closing(sqlite3.connect(served.home / "roost.db", isolation_level=None)) as file:
            file.execute(sql)
        return

    async def run() -> None:
        link = await asyncpg.connect(url, server_settings={"search_path": "roost"})
        await link.execute(sql)
        await link.close()

    asyncio.run(run())


@pytest.mark.long
def test_without_a_database_it_still_says_how_it_is(serve: Serve, wait: Any) -> None:
    with PostgresServer(fsync=False) as server:
        url = asyncio.run(server.database())
        served = serve(store=url, config=KernelConfig(lease=1.5))
        assert scrape(served)("roost_backlog_sessions") == 0
        server.stop("immediate")
        wait(lambda: scrape(served)("roost_lease_remaining_seconds") == 0)
        began = time.monotonic()
        found = scrape(served)
        assert time.monotonic() - began < 30.0
        assert "roost_backlog_sessions" not in found.families
        server.start()
        wait(lambda: scrape(served)("roost_lease_remaining_seconds") > 0, 20.0)
        wait(lambda: "roost_backlog_sessions" in scrape(served).families)
        served.stop()


def test_both_formats_say_the_same_and_need_the_token(shared: Served) -> None:
    answer = shared.request("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    plain = Scrape(read_plain(answer.body.decode()))
    new = scrape(shared)
    assert {name for name, _ in plain.samples} == {name for name, _ in new.samples}
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=60)
    connection.request("GET", "/metrics")
    assert connection.getresponse().status == 401
    connection.close()


def test_names_follow_the_rules(shared: Served) -> None:
    """OpenMetrics 1.0, 4.6; Prometheus' naming practices: a prefix, base units, the unit in the name."""
    for name, family in scrape(shared).families.items():
        assert name.startswith(("roost_", "process_")), name
        assert family.documentation
        assert not family.unit or name.endswith(f"_{family.unit}")
        assert "_ms" not in name
        assert "milli" not in name
        for sample in family.samples:
            assert set(sample.labels) <= {"agent", "kind", "outcome", "model", "code", "le", "version", "node"}


@pytest.mark.long
def test_a_hundred_agents_have_names_and_the_rest_is_other(serve: Serve) -> None:
    many = [Agent(f"a{number}", model=ScriptedModel(lambda _: "yes", name=f"m{number}")) for number in range(105)]
    served = serve(agents=many, config=KernelConfig(linger=0.01))
    for agent in many:
        served.say(served.session(agent.spec.name), "go")
    found = scrape(served)
    names = {sample.labels["agent"] for sample in found.families["roost_turns"].samples}
    assert len(names) == 101
    assert found("roost_turns_total", agent="other", outcome="answered") == 5
    models = {sample.labels["model"] for sample in found.families["roost_model_call_duration_seconds"].samples}
    assert len(models) == 101
    began = time.monotonic()
    scrape(served)
    assert time.monotonic() - began < 30.0
