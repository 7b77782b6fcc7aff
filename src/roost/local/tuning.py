"""Find the settings that are fastest on this machine. A trial runs once for a processor, an engine and a weights
file."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from roost.local import frames
from roost.local.cache import write_whole
from roost.local.library import EngineFailed
from roost.local.memory_budget import OutOfMemory, need_memory
from roost.local.process import Worker, WorkerEnded, readable
from roost.local.settings import Settings, cores

_PROMPT = "The harbour is quiet and the boats lie still. " * 20
_ANSWER_TOKENS = 24
_TYPICAL_PROMPT, _TYPICAL_ANSWER = 150, 40
"""Tokens of a call that is compared by: what is new in its prompt, and a short answer."""
_PATIENCE = 120.0
_SHARE = 0.7
"""Of its processors that a trial must have had, or it says nothing about the machine."""


class Tuned(msgspec.Struct, frozen=True):
    """The settings that a trial found. `machine`: the processor, engine and weights that they hold for."""

    machine: str
    threads: int
    batch: int
    repack: bool


class Disturbed(Exception):
    """Other work on the machine took the trial's processor time."""


class _Timings(msgspec.Struct):
    prompt_per_second: float
    predicted_per_second: float


class _Chunk(msgspec.Struct):
    timings: _Timings | None = None


def machine_of(identity: str) -> str:
    """Return a name for this processor and engine with these weights."""
    try:
        engine = importlib.metadata.version("xllamacpp")
    except importlib.metadata.PackageNotFoundError:
        engine = "?"
    return hashlib.sha256(repr((_processor(), cores(), engine, identity)).encode()).hexdigest()[:32]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return "".join(line for line in lines[:40] if line.startswith(("model name", "flags", "Features", "CPU part")))


def read_tuned(file: Path, machine: str) -> Tuned | None:
    """Return the result of an earlier trial on this machine, if any."""
    try:
        tuned = msgspec.json.decode(file.read_bytes(), type=Tuned)
    except (OSError, msgspec.MsgspecError):
        return None
    return tuned if tuned.machine == machine else None


def applied(settings: Settings, tuned: Tuned | None) -> Settings:
    """Return the settings with the measured values in place of the fields that no user chose."""
    if tuned is None:
        return settings
    measured = {"threads": tuned.threads, "batch": tuned.batch, "repack": tuned.repack}
    return msgspec.structs.replace(
        settings, **{name: value for name, value in measured.items() if name not in settings.chosen}
    )


def tune(
    weights: Path, identity: str, file: Path, settings: Settings, report: Callable[[int, int], None]
) -> Tuned | None:
    """Try the settings that may be fastest, and keep the best in `file`. Takes a minute; `report` hears how many trials
    are done. Raises `Disturbed` when the machine has other work, `OutOfMemory`, `EngineFailed`."""
    tried = list(_candidates(settings))
    best: tuple[float, Settings] | None = None
    for number, candidate in enumerate(tried):
        report(number, len(tried))
        seconds = _measure(weights, identity, candidate)
        if best is None or seconds < best[0]:
            best = seconds, candidate
    report(len(tried), len(tried))
    if best is None:
        return None
    tuned = Tuned(machine_of(identity), best[1].threads, best[1].batch, best[1].repack)
    write_whole(file, msgspec.json.encode(tuned))
    return tuned


def _candidates(settings: Settings) -> Iterator[Settings]:
    """Half the processors too, where two may be one core or share a path to memory."""
    for threads in dict.fromkeys((cores(), max(2, cores() // 2) if cores() > 2 else cores())):
        for repack in (False, True):
            yield msgspec.structs.replace(settings, threads=threads, repack=repack)


def _measure(weights: Path, identity: str, settings: Settings) -> float:
    """Return the seconds of a load and a typical call."""
    need_memory(weights, settings.context)
    began = time.monotonic()
    worker = Worker(
        frames.Load(
            path=os.fspath(weights),
            weights=identity,
            context=settings.context,
            threads=settings.threads,
            batch=settings.batch,
            repack=settings.repack,
            states=None,
        )
    )
    try:
        _await(worker, lambda frame: isinstance(frame, frames.Loaded))
        loaded, spent = time.monotonic(), worker.spent()
        timings = _call(worker)
        _need_quiet(worker, spent, time.monotonic() - loaded, settings.threads)
    except WorkerEnded as ended:
        raise EngineFailed(f"the process of the local model ended ({ended})", code="crashed") from ended
    finally:
        worker.kill()
    call = _TYPICAL_PROMPT / timings.prompt_per_second + _TYPICAL_ANSWER / timings.predicted_per_second
    return loaded - began + call


def _call(worker: Worker) -> _Timings:
    body = {
        "messages": [{"role": "user", "content": _PROMPT}],
        "stream": True,
        "max_tokens": _ANSWER_TOKENS,
        "temperature": 0.0,
        "ignore_eos": True,
    }
    worker.send(frames.Call(1, msgspec.Raw(msgspec.json.encode(body))))
    timings_so_far: list[_Timings] = []

    def over(frame: frames.Up) -> bool:
        if isinstance(frame, frames.Chunk) and (timings := msgspec.json.decode(frame.data, type=_Chunk).timings):
            timings_so_far.append(timings)
        return isinstance(frame, frames.Ended)

    _await(worker, over)
    if not timings_so_far:
        raise EngineFailed("llama.cpp gave no times for a trial")
    return timings_so_far[-1]


def _await(worker: Worker, over: Callable[[frames.Up], bool]) -> None:
    until = time.monotonic() + _PATIENCE
    while (left := until - time.monotonic()) > 0:
        if readable(worker.link, timeout=left) and any(over(frame) for frame in worker.receive()):
            return
    raise Disturbed


def _need_quiet(worker: Worker, before: float | None, seconds: float, threads: int) -> None:
    after = worker.spent()
    if before is not None and after is not None and after - before < _SHARE * seconds * threads:
        raise Disturbed


TROUBLES = (Disturbed, EngineFailed, OutOfMemory, OSError)
"""What may become of a trial, after which everything goes on as it was."""
