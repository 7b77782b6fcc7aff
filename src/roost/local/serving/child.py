"""Run an engine's plan: start its server, run the commands after its start, and end it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from roost.errors import RoostError
from roost.local.serving.engines import MODELFILE, Plan, program
from roost.local.serving.wanted import base_url

_POLL = 0.2
_GRACE = 15.0
"""Seconds that an engine has to end after it was asked to."""
_SET_PDEATHSIG = 1
"""Linux's prctl: the signal that a process gets when its parent dies."""


class EngineEnded(RoostError):
    """The engine is not serving. The message says in what state it ended."""

    code, status = "engine_failed", 503


def run(plan: Plan, host: str, port: int, *, stop: threading.Event, ready: Callable[[], None]) -> None:
    """Run the engine until `stop` is set or it ends by itself. Calls `ready` when it serves. Its output goes to this
    process's output. No process of it outlives the call, nor, on Linux, this process. Raises `EngineEnded`, and
    `ConfigError` if the engine is not installed."""
    start = program(plan.engine)
    environ = {**os.environ, **plan.environ}
    with tempfile.TemporaryDirectory(prefix="roost-serve-") as folder:
        modelfile = Path(folder) / "Modelfile"
        modelfile.write_text(plan.modelfile or "")
        server = _spawn((*start, *plan.command[1:]), environ)
        try:
            _await(server, plan, host, port, stop)
            for command in plan.after:
                if not stop.is_set():
                    words = [str(modelfile) if word == MODELFILE else word for word in command[1:]]
                    _finish(_spawn((*start, *words), environ), plan, stop)
            if not stop.is_set():
                ready()
            while not stop.wait(_POLL):
                _need_running(server, plan)
        finally:
            _end(server)


def _spawn(command: tuple[str, ...], environ: dict[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command, env=environ, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_with_parent()
        )
    except OSError as error:
        raise EngineEnded(f"{command[0]} cannot be started: {error.strerror}") from error


def _with_parent() -> Callable[[], None] | None:
    """End the child with this process, however that ends."""
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    return lambda: prctl(_SET_PDEATHSIG, signal.SIGTERM)


def _await(server: subprocess.Popen[bytes], plan: Plan, host: str, port: int, stop: threading.Event) -> None:
    """Wait until the server answers, with any status."""
    url = f"{base_url(host, port)}/models"
    # A proxy of the environment would answer in its place.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while not stop.wait(_POLL):
        _need_running(server, plan)
        try:
            with opener.open(url, timeout=2.0):
                return
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            continue


def _finish(step: subprocess.Popen[bytes], plan: Plan, stop: threading.Event) -> None:
    try:
        while step.poll() is None:
            if stop.wait(_POLL):
                return
        if step.returncode:
            raise EngineEnded(f"{plan.engine} could not prepare {plan.name!r} (exit code {step.returncode})")
    finally:
        _end(step)


def _need_running(server: subprocess.Popen[bytes], plan: Plan) -> None:
    if (code := server.poll()) is not None:
        raise EngineEnded(f"{plan.engine} ended by itself (exit code {code}); what it said is above")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and all processes that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
