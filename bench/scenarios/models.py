"""Models: what a streamed request costs beside the providers' own SDKs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.contest import Contestant, Played, contest, rounds
from bench.numbers import figure, median, percentile
from bench.proc import ROOT, environment, running
from bench.report import Bar, Section, Table
from bench.servers.models_stub import SLOW_DELTAS
from bench.settings import Settings
from bench.wire import free_port, wait_for

ABOUT = """\
One stub provider in a process of its own speaks every protocol; every client asks it for the same answer, {deltas} \
pieces of 5 characters, one request after the other over a kept connection. CPU is that of the client's process, \
imports not counted. The adapter turns the bytes into unified events; around it the stack puts ledger, breaker, \
limits, retry, continuation and repair; charged, each call also reserves money in SQLite (synced) before it is sent. \
The raw socket sends the same request and looks for the first token, and understands nothing."""

ADAPTER, STACK, CHARGED = "Roost, adapter", "Roost, whole stack", "Roost, whole stack, charged"
SDKS = {
    "openai_chat": {"openai SDK": "openai", "LiteLLM": "litellm"},
    "anthropic": {"anthropic SDK": "anthropic"},
    "gemini": {"google-genai SDK": "google"},
}
BOUNDS = {"openai SDK": 10.0, "anthropic SDK": 10.0, "google-genai SDK": 10.0, "LiteLLM": 30.0}
_MODULES = {"openai": "openai", "litellm": "litellm", "anthropic": "anthropic", "google": "google.genai"}
_IMPORT = """
import sys, time
began = time.process_time()
import roost.providers.accounts, roost.models.http_model, roost.providers.auto_model, roost.providers.model_stack
spent = time.process_time() - began
assert not {"aiohttp", "numpy", "PIL"} & set(sys.modules), "the HTTP client was loaded"
print(spent * 1e3)
"""


def run(settings: Settings) -> Section:
    deltas = settings.pick(200, 20)
    section = Section("Models", ABOUT.format(deltas=deltas))
    with _stub(deltas, settings.pick(10, 1)) as port:
        url = f"http://127.0.0.1:{port}/v1"
        for wire, sdks in SDKS.items():
            _cpu(section, settings, url, wire, sdks, deltas)
        _latency(section, settings, url, deltas)
        _streams(section, settings, url)
    _imports(section, settings)
    return section


@contextmanager
def _stub(deltas: int, seconds: int) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "bench.servers.models_stub", str(port), str(deltas), str(seconds)]
    with tempfile.TemporaryDirectory(prefix="roost-bench-") as folder:
        log = Path(folder) / "log"
        with running(command, env=environment(HOME=folder), log=log):
            wait_for(port)
            yield port


def _cpu(section: Section, settings: Settings, url: str, wire: str, sdks: dict[str, str], deltas: int) -> None:
    own = {ADAPTER: "adapter", STACK: "stack", CHARGED: "charged"}
    contestants = [
        Contestant(name, "bench.workers.models_roost", job="cpu", wire=wire, layers=layers)
        for name, layers in own.items()
    ]
    if settings.peers:
        contestants += [
            Contestant(name, "bench.workers.peer_models", peer=_MODULES[client], client=client)
            for name, client in sdks.items()
        ]
    with contest(contestants) as (ready, absent):
        section.notes += [f"{name}: {why}" for name, why in absent.items()]
        played = rounds(ready, settings.pick(5, 1), url=url, requests=settings.pick(100, 3), deltas=deltas)
    table = Table([f"{wire}, {deltas} deltas", "CPU ms a request", "wall ms", "CPU against the adapter's"])
    for name, answers in played.items():
        good = [answer for answer in answers if "error" not in answer]
        section.notes += [f"{name}: failed: {one['error']}" for one in answers if "error" in one]
        cost = [figure(median([a[what] / a["steps"] * 1e3 for a in good])) for what in ("cpu", "wall")]
        table.rows.append([name, *cost, f"{figure(_times(played, name))} ×"])
    section.tables.append(table)
    section.bars += [
        Bar(
            f"CPU of a streamed request, {name} against Roost's adapter: at least {bound:.0f} times",
            _times(played, name),
            bound,
            at_least=True,
            unit=" ×",
        )
        for name, bound in BOUNDS.items()
        if name in played
    ]
    section.data[wire] = played


def _times(played: Played, name: str) -> float:
    """CPU against the adapter's: the median of the rounds' ratios."""
    pairs = zip(played[name], played[ADAPTER], strict=False)
    return median([a["cpu"] / b["cpu"] for a, b in pairs if "error" not in a and "error" not in b])


def _latency(section: Section, settings: Settings, url: str, deltas: int) -> None:
    one = Contestant("latency", "bench.workers.models_roost", job="latency", wire="openai_chat")
    with contest([one]) as (ready, _):
        played = rounds(ready, 1, url=url, requests=settings.pick(400, 5), deltas=deltas)
    found: dict[str, list[float]] = played["latency"][0]["ms"]
    names = {"raw": "raw socket", "adapter": ADAPTER, "stack": STACK, "charged": CHARGED}
    table = Table(["time to the first token", "p50 ms", "p99 ms"])
    for key, name in names.items():
        table.rows.append([name, figure(median(found[key])), figure(percentile(found[key], 99))])
    section.tables.append(table)
    added = median(found["stack"]) - median(found["raw"])
    section.bars.append(Bar("added to the first token, p50: at most 1 ms", added, 1.0, unit=" ms"))
    section.data["latency"] = found


def _streams(section: Section, settings: Settings, url: str) -> None:
    count = settings.pick(1000, 20)
    one = Contestant("streams", "bench.workers.models_roost", job="streams", wire="openai_chat")
    with contest([one]) as (ready, _):
        answer: dict[str, Any] = rounds(ready, 1, url=url, streams=count, deltas=SLOW_DELTAS)["streams"][0]
    if "error" in answer:
        raise RuntimeError(answer["error"])
    section.notes.append(
        f"{count} streams of {SLOW_DELTAS} pieces at once, on one core: {figure(answer['wall'])} s, of which"
        f" {figure(answer['cpu'])} s CPU, {answer['failed']} without an answer"
        + (f" ({'; '.join(answer['said'])})" if answer["said"] else "")
    )
    section.bars.append(
        Bar(f"of {count} concurrent streams on one core have no answer: at most 0", answer["failed"], 0)
    )
    section.data["streams"] = answer


def _imports(section: Section, settings: Settings) -> None:
    found: list[float] = []
    for _ in range(settings.pick(9, 2)):
        command = [sys.executable, "-c", _IMPORT]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment(), check=True)
        found.append(float(done.stdout))
    section.bars.append(Bar("import of roost.models, CPU: at most 100 ms", median(found), 100.0, unit=" ms"))
    section.data["import_ms"] = found
