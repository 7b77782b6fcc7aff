"""Rounds between contestants, taking turns: A B C A B C. What disturbs the machine disturbs them all."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

from bench import peers
from bench.peers import ROOT
from bench.proc import environment

_LONGEST = 900.0
"""Seconds of a round; then its process is ended, and the others go on."""
Around: TypeAlias = Callable[[], AbstractContextManager[dict[str, Any]]]


class Contestant:
    """A worker module in its own process. `peer`: it runs in the peers' environment, which must have that module.
    `around` makes a context for each round: what it yields goes into the order, and into the answer what it put into
    the yielded dictionary's `answer`."""

    def __init__(
        self, name: str, module: str, *, peer: str | None = None, around: Around | None = None, **order: Any
    ) -> None:
        self.name = name
        self._module = module
        self._peer = peer
        self._around = around
        self._order = order
        self._process: subprocess.Popen[str] | None = None

    @property
    def is_peer(self) -> bool:
        return self._peer is not None

    def start(self) -> str | None:
        """What is wrong, if it cannot be started."""
        if self._peer is not None and not peers.has(self._peer):
            return "not installed"
        interpreter = sys.executable if self._peer is None else peers.python(self._peer)
        assert interpreter is not None
        self._process = subprocess.Popen(
            [interpreter, "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env=environment(),
        )
        return None if self._answer().get("ready") else "it does not start"

    def play(self, **order: Any) -> dict[str, Any]:
        if self._around is None:
            return self._play(order)
        with self._around() as more:
            answer = self._play(order | {name: value for name, value in more.items() if name != "answer"})
        return answer | more.get("answer", {})

    def _play(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        late = threading.Timer(_LONGEST, self._process.kill)
        late.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(self._order | order) + "\n")
                self._process.stdin.flush()
            return self._answer()
        finally:
            late.cancel()

    def stop(self) -> None:
        if self._process is not None:
            try:
                self._process.communicate(timeout=10)  # the end of its input is the end of its work
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": "its process ended"}


Played = dict[str, list[dict[str, Any]]]


@contextlib.contextmanager
def contest(contestants: Sequence[Contestant]) -> Iterator[tuple[list[Contestant], dict[str, str]]]:
    """Those that started, and why peers did not. Raises `RuntimeError` when one of ours does not."""
    ready: list[Contestant] = []
    absent: dict[str, str] = {}
    try:
        for one in contestants:
            problem = one.start()
            if problem is None:
                ready.append(one)
            else:
                absent[one.name] = problem
                if not one.is_peer:
                    raise RuntimeError(f"{one.name}: {problem}")
        yield ready, absent
    finally:
        for one in contestants:
            one.stop()


def rounds(ready: Sequence[Contestant], count: int, **order: Any) -> Played:
    """`count` rounds of everybody. A contestant that fails is not asked again; its answers then hold the error."""
    played: Played = {one.name: [] for one in ready}
    for number in range(count):
        for one in ready:
            if played[one.name] and "error" in played[one.name][-1]:
                continue
            began = time.monotonic()
            answer = one.play(**order)
            played[one.name].append(answer)
            what = answer.get("error") or f"{answer.get('wall', time.monotonic() - began):.2f} s"
            print(f"  round {number + 1}/{count}  {one.name}: {what}", flush=True)
    return played
