"""Agents that do not repeat themselves: one has the time in its instructions, one a random word in its question, and
two pay another amount than before."""

import random
import time
from pathlib import Path

import counting


def drifting(text: str, history: list) -> str:
    now = time.strftime("%Y-%m-%dT%H:%M:%S") + f".{time.perf_counter_ns() % 1000:03d}"
    return counting.work([{"role": "system", "content": f"Now: {now}"}, {"role": "user", "content": text}])


def diverging(text: str, history: list) -> str:
    return counting.work([{"role": "user", "content": f"{text} {random.SystemRandom().random()}"}])


def paying_more(text: str, history: list) -> str:
    """Pay what the model says, and one more if there is a payment already."""
    counting.FUNCTIONS["pay"] = lambda amount: counting.pay(amount + Path("paid.txt").exists())
    return counting.answer(text, [])


def paying_anything(text: str, history: list) -> str:
    counting.FUNCTIONS["pay"] = lambda amount: counting.pay(random.SystemRandom().randrange(1_000_000))
    return counting.answer(text, [])
