"""`GET /metrics`: the node's metrics, as OpenMetrics text or in the older Prometheus format.

Everything but the backlog is for this node alone: sum it over the nodes. Counters start at zero with the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from roost.kernel.meters import Histogram, NodeMetrics
from roost.log.dispatch import Backlog
from roost.operation import GET
from roost.server.app_state import Api
from roost.server.responses import Reply
from roost.server.row_handler import Call, alone
from roost.version import version

if TYPE_CHECKING:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

_OPENMETRICS = "application/openmetrics-text"
_NANO = 1e-9


class Now(NamedTuple):
    """Values read at the scrape. `saturation`: the higher of a node's two load ratios, its sessions and its event
    loop's core. `lease`: seconds left of it."""

    node: str
    live: int
    room: int
    busy: float
    saturation: float
    lease: float
    draining: bool
    streams: int
    backlog: Backlog | None

    @staticmethod
    async def of(api: Api) -> Now:
        node = api.runtime.node
        backlog = await node.meters.backlog()
        card, busy = node.membership.card(), node.meters.load.ratio()
        return Now(
            node=card.id,
            live=card.live,
            room=max(0, card.room),
            busy=busy,
            saturation=max(
                busy, card.live / node.membership.config.max_live if node.membership.config.max_live else 1.0
            ),
            lease=node.membership.lease_left,
            draining=card.draining,
            streams=len(api.streams),
            backlog=backlog,
        )


@GET("/metrics", texts=("text/plain", _OPENMETRICS), shown="str", right="operate")
async def metrics(call: Call) -> Reply:
    """Numbers for an operator, as OpenMetrics or Prometheus text."""
    now = await Now.of(call.api)
    openmetrics = _OPENMETRICS in (call.header(b"accept") or "")
    # In a thread: the first scrape imports a library, and each writes a few hundred lines.
    body, kind = await asyncio.to_thread(_write, call.api.runtime.node.meters, now, openmetrics)
    return Reply(200, body, content_type=kind.encode(), headers=[(b"cache-control", b"no-store")])


class _Families(NamedTuple):
    """The part of a registry that its writers need."""

    families: list[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families


def _write(meters: NodeMetrics, now: Now, openmetrics: bool) -> tuple[bytes, str]:
    from prometheus_client import PROCESS_COLLECTOR, exposition
    from prometheus_client.openmetrics import exposition as newer

    families = [*_turns(meters), *_calls(meters), *_store(meters, now), *_node(now), *PROCESS_COLLECTOR.collect()]
    if openmetrics:
        write = cast("Callable[[Any], bytes]", newer.generate_latest)  # pyright: ignore[reportUnknownMemberType]
        return write(_Families(families)), newer.CONTENT_TYPE_LATEST
    return exposition.generate_latest(_Families(families)), exposition.CONTENT_TYPE_PLAIN_0_0_4


def _turns(meters: NodeMetrics) -> Iterable[Metric]:
    turns = _counter("roost_turns", "Turns that ended, by outcome.", "agent", "outcome")
    tokens = _counter("roost_model_tokens", "Tokens as the providers counted them.", "agent", "kind", unit="tokens")
    cost = _counter("roost_model_cost_dollars", "What model calls cost, where it is known.", "agent", unit="dollars")
    unpriced = _counter("roost_model_calls_unpriced", "Model calls whose cost is not known.", "agent")
    for name, agent in list(meters.agents.items()):
        for outcome, count in agent.turns.items():
            turns.add_metric([name, outcome], count)
        for kind, count in (("input", agent.input), ("cached", agent.cached), ("output", agent.output)):
            tokens.add_metric([name, kind], count)
        cost.add_metric([name], agent.cost * _NANO)
        unpriced.add_metric([name], agent.unpriced)
    inputs = _counter("roost_inputs_accepted", "Inputs that this node put into an inbox.", "kind")
    _each(inputs, meters.inputs)
    return turns, tokens, cost, unpriced, inputs


def _calls(meters: NodeMetrics) -> Iterable[Metric]:
    calls = _histogram("roost_model_call_duration", "Model calls, from request to outcome.", "model", "outcome")
    for name, model in list(meters.models.items()):
        _fill(calls, [name, "ok"], model.ok)
        _fill(calls, [name, "failed"], model.failed)
    tools = _counter("roost_tool_calls", "Tool calls that ended, by outcome.", "outcome")
    _each(tools, {outcome.decode(): count for outcome, count in meters.tools.items()})
    return calls, tools


def _store(meters: NodeMetrics, now: Now) -> Iterable[Metric]:
    commits = _histogram("roost_commit_duration", "Durable steps: one append each, synced.")
    _fill(commits, [], meters.commits)
    failures = _counter("roost_commit_failures", "Appends that the store refused or did not answer.", "code")
    _each(failures, meters.commit_errors)
    fenced = _counter("roost_sessions_fenced", "Sessions that this node dropped: they are, or may be, another node's.")
    fenced.add_metric([], meters.fenced)
    takeovers = _counter("roost_takeovers", "Sessions that this node took up in the middle of a turn.")
    takeovers.add_metric([], meters.takeovers)
    yield from (commits, failures, fenced, takeovers)
    if now.backlog is not None:
        yield _gauge("roost_backlog_sessions", "Of the cluster: sessions with work and no owner.", now.backlog.sessions)
        oldest = "Of the cluster: for how long the oldest of the backlog has waited."
        yield _gauge("roost_backlog_oldest_seconds", oldest, now.backlog.seconds, unit="seconds")


def _node(now: Now) -> Iterable[Metric]:
    from prometheus_client.metrics_core import InfoMetricFamily

    yield InfoMetricFamily("roost_build", "This node.", {"version": version(), "node": now.node})
    yield _gauge("roost_sessions_live", "Sessions in this node's memory.", now.live)
    yield _gauge("roost_sessions_room", "Sessions that this node would take on top.", now.room)
    yield _gauge("roost_event_loop_busy_ratio", "Of a core: what the event loop uses.", now.busy, unit="ratio")
    fuller = "The fuller of: room for sessions, the event loop's core. What to scale by."
    yield _gauge("roost_saturation_ratio", fuller, now.saturation, unit="ratio")
    left = "Of this node's lease; without one it runs nothing."
    yield _gauge("roost_lease_remaining_seconds", left, now.lease, unit="seconds")
    yield _gauge("roost_draining", "1 while this node lets its sessions go to others.", now.draining)
    yield _gauge("roost_streams_open", "Event streams that this node serves.", now.streams)


def _counter(name: str, help: str, *labels: str, unit: str = "") -> CounterMetricFamily:
    from prometheus_client.metrics_core import CounterMetricFamily

    return CounterMetricFamily(name, help, labels=labels, unit=unit)


def _gauge(name: str, help: str, value: float, *, unit: str = "") -> GaugeMetricFamily:
    from prometheus_client.metrics_core import GaugeMetricFamily

    return GaugeMetricFamily(name, help, value=value, unit=unit)


def _histogram(name: str, help: str, *labels: str) -> HistogramMetricFamily:
    from prometheus_client.metrics_core import HistogramMetricFamily

    return HistogramMetricFamily(name, help, labels=labels, unit="seconds")


def _each(family: CounterMetricFamily, counts: Mapping[str, int]) -> None:
    for label, count in list(counts.items()):
        family.add_metric([label], count)


def _fill(family: HistogramMetricFamily, labels: list[str], found: Histogram) -> None:
    bounds = [*map(str, found.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, accumulate(found.counts), strict=True)), found.sum)


ENDPOINTS = [alone(metrics)]
