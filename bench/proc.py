"""Processes that the bench starts, and what the kernel says of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.peers import ROOT

_MODEL = {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
"""A key is set, so that no daemon fetches the local model for want of one; no contestant calls a provider."""
_TICK = os.sysconf("SC_CLK_TCK")


def environment(**extra: str) -> dict[str, str]:
    """Of a contestant: nothing of this shell's settings but the essential, so that no key and no proxy plays a part."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LC_ALL", "TMPDIR")}
    own = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return {**kept, "PYTHONPATH": own, "HOME": tempfile.gettempdir(), **_MODEL} | extra


@contextlib.contextmanager
def running(command: Sequence[str], *, env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in its own session, gone with everything it started when the block ends."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env=dict(env), stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True, cwd=ROOT
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all threads, at the resolution of a clock tick (10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def memory_mb(pid: int) -> tuple[float, float]:
    """(resident, proportional) memory in MB: the second counts pages shared with other processes in part."""
    found = {"Rss": 0.0, "Pss": 0.0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in found:
            found[name] = int(rest.split()[0]) / 1024
    return found["Rss"], found["Pss"]
