"""Several Roost nodes on one store: processes that each run their share of the sessions at the same time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.worker import serve


class Node:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.workers.roost_steps"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.answer()

    def order(self, **order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline() or '{"error": "a node ended"}')


def play(nodes: dict[int, list[Node]], sessions: int, steps: int, store: str, count: int) -> dict[str, Any]:
    here = nodes.setdefault(count, [])
    while len(here) < count:
        here.append(Node())
    for place, node in enumerate(here):
        share = sessions // count + (place < sessions % count)
        node.order(sessions=share, steps=steps, store=store)
    answers = [node.answer() for node in here]
    for answer in answers:
        if "error" in answer:
            return answer
    first, last = min(a["span"][0] for a in answers), max(a["span"][1] for a in answers)
    summed = {
        name: sum(answer[name] for answer in answers) for name in ("cpu", "steps", "commits", "appends", "events")
    }
    return {**summed, "wall": last - first, "ms": []}


if __name__ == "__main__":
    known: dict[int, list[Node]] = {}

    def one(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
        count = order.pop("nodes")
        return play(known, **order, count=count)

    serve(one)
